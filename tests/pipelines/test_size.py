"""What a compiled pipeline weighs: open-source KFP stores each task several times over."""

import json
from pathlib import Path

import pytest

from tunepipe.catalog.backends import BACKENDS
from tunepipe.packaging.component import CODE_PLACEHOLDER
from tunepipe.runs.compile import render
from tunepipe.runs.kfp.workflow_size import estimate
from tunepipe.runs.pipeline_spec import read, thin_steps

ROOT = Path(__file__).parents[2]
# KFP 2.17 keeps a task's container and component eight times in the Argo Workflow, which may have
# 1 MiB; the rest of a run's status needs room too.
COPIES, WORKFLOW_BYTES = 8, 400_000
YAML_BYTES = 120_000
ARGUMENT_BYTES = 9_164  # the longest command that Google ships
PARAMETER_BYTES = 10_000  # KFP: of all parameters together

IMAGE = "europe-docker.pkg.dev/p/images/tunepipe@sha256:" + "0" * 64


@pytest.fixture(scope="module", params=["", IMAGE], ids=["code", "image"])
def texts(request):
    texts = render(request.param)
    return {path: text for path, text in texts.items() if path.startswith("pipelines/")}


def tasks_of(spec):
    """Every task that becomes a pod: its name, its component and its container."""
    for unit in (spec["root"], *spec["components"].values()):
        for name, task in unit.get("dag", {}).get("tasks", {}).items():
            component = spec["components"][task["componentRef"]["name"]]
            if label := component.get("executorLabel"):
                container = spec["deploymentSpec"]["executors"][label]["container"]
                yield name, task, component, container


def depth_of(spec, dag) -> int:
    """The longest chain of tasks, one waiting for the other."""
    tasks = dag["tasks"]

    def reach(name: str) -> int:
        below = spec["components"][tasks[name]["componentRef"]["name"]].get("dag")
        own = depth_of(spec, below) if below else 1
        return own + max(map(reach, tasks[name].get("dependentTasks", ())), default=0)

    return max(map(reach, tasks))


def test_every_backend_has_a_pipeline(texts):
    names = {f"pipelines/tune_{backend.identifier}.yaml" for backend in BACKENDS.values()}
    assert names | {"pipelines/validate_shards.yaml"} == set(texts)


def test_all_tasks_times_the_copies_stay_far_below_the_limit(texts):
    """A task with its component and its container; what its ports receive comes in addition."""
    for path, text in texts.items():
        size = sum(len(json.dumps(part)) for task in tasks_of(read(text)) for part in task)
        assert size * COPIES < WORKFLOW_BYTES, f"{path}: {size * COPIES:,}"


def test_a_run_of_each_pipeline_ends_below_the_limit(texts):
    """By our own estimate, which counts every input and a loop at least twice."""
    for path, text in texts.items():
        size = estimate(read(text))
        assert size.finished < 870_000, f"{path}: {size.finished:,}"
        assert size.created < 150_000, f"{path}: {size.created:,}"


def test_a_loop_counts_as_often_as_it_runs(texts):
    spec = read(texts["pipelines/validate_shards.yaml"])
    (loop,) = (task for name, task in spec["root"]["dag"]["tasks"].items() if "for-loop" in name)
    twice = estimate(spec).finished
    loop["parameterIterator"]["items"] = {"raw": json.dumps(["a"] * 6)}
    six = estimate(spec).finished
    assert six - twice > 4 * 30_000


def test_a_pipeline_is_readable_and_small(texts):
    for path, text in texts.items():
        assert len(text.encode()) < YAML_BYTES, path
        assert max(map(len, text.splitlines())) < 1000, f"{path} is text for people"


def test_a_tuning_pipeline_has_at_most_nine_tasks_eight_of_them_in_a_row(texts):
    for path, text in texts.items():
        spec = read(text)
        assert len(list(tasks_of(spec))) <= 9, path
        handler = spec["components"].get("comp-exit-handler-1")
        if handler:
            assert depth_of(spec, handler["dag"]) <= 8, path


def test_no_step_of_a_pipeline_holds_code(texts):
    for path, text in texts.items():
        assert "EMBEDDED_ARCHIVE" not in text, path
        assert "def " not in text, path
        for name, task, _, container in tasks_of(read(text)):
            parts = [*container["command"], *map(str, container["args"])]
            assert max(len(part) for part in parts) < ARGUMENT_BYTES, name
            assert container["args"][0] == CODE_PLACEHOLDER, name
            assert "code" in task["inputs"]["parameters"], name
        assert len(thin_steps(read(text))) == len(list(tasks_of(read(text))))


def test_the_defaults_leave_room_for_parameters(texts):
    for path, text in texts.items():
        inputs = read(text)["root"]["inputDefinitions"]["parameters"]
        defaults = {name: one.get("defaultValue") for name, one in inputs.items()}
        assert len(json.dumps(defaults)) < PARAMETER_BYTES / 4, path


def test_compiled_pipelines_are_text_for_git():
    attributes = ROOT / ".gitattributes"
    lines = attributes.read_text().splitlines() if attributes.exists() else []
    assert not [line for line in lines if "pipelines" in line and "binary" in line]
