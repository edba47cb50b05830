"""The recipe: the order of the steps, and what is cached, read from the compiled pipeline."""

import itertools
from inspect import signature

import pytest
import yaml

from tunepipe import components
from tunepipe.catalog.backends import BACKENDS
from tunepipe.evaluation.tasks import MAX_OUTPUT_TOKENS
from tunepipe.runs.compile import pipeline_text


@pytest.fixture(scope="module", params=BACKENDS)
def spec(request):
    return yaml.safe_load(pipeline_text(request.param))


def steps(spec):
    """The steps that the exit task waits for."""
    return of(spec, spec["root"]["dag"]["tasks"]["exit-handler-1"])["dag"]["tasks"]


def tasks(spec):
    """The steps of a run over data that are new, without the first one."""
    return of(spec, steps(spec)["condition-2"])["dag"]["tasks"]


def of(spec, task):
    return spec["components"][task["componentRef"]["name"]]


def named(spec, start):
    (name,) = (name for name in tasks(spec) if name.startswith(start))
    return name


def waits(spec, name):
    return set(tasks(spec)[name].get("dependentTasks", ()))


def inputs(spec, name):
    """What a step is given: the producer's name, the pipeline's parameter, or a constant."""
    given = {}
    for part in tasks(spec)[name]["inputs"].values():
        for port, source in part.items():
            artifact = source.get("taskOutputArtifact") or source.get("taskOutputParameter")
            constant = source.get("runtimeValue", {}).get("constant")
            given[port] = (
                artifact["producerTask"]
                if artifact
                else source.get("componentInputParameter", constant)
            )
    return given


@pytest.mark.parametrize("name", ["base_model", "options", "seed", "tables", "work_dir"])
def test_a_step_that_tunes_gets_the_pipelines_parameters(spec, name):
    tune = named(spec, "tune-")
    component = getattr(components, tune.replace("-", "_"))
    takes = name in signature(component.python_func).parameters
    assert inputs(spec, tune).get(name) == (f"pipelinechannel--{name}" if takes else None)


def test_a_run_has_nine_steps_one_after_the_other(spec):
    tune, evaluate = named(spec, "tune-"), named(spec, "evaluate-")
    order = [
        "validate-jsonl", "split-dataset", "compute-train-steps", tune, evaluate,
        "compare-models", "conclude-run",
    ]  # fmt: skip
    assert set(tasks(spec)) == set(order)
    assert set(steps(spec)) == {"prepare-run", "condition-2"}
    assert set(spec["root"]["dag"]["tasks"]) == {"exit-handler-1", "send-notice"}
    assert waits(spec, "validate-jsonl") == set()
    for before, name in itertools.pairwise(order):
        assert before in waits(spec, name)


def test_nothing_that_costs_money_begins_before_the_plan_allows_it(spec):
    for name in (named(spec, "tune-"), named(spec, "evaluate-"), "conclude-run"):
        reached, waiting = set(), [name]
        while waiting:
            for before in waits(spec, waiting.pop()) - reached:
                reached.add(before)
                waiting.append(before)
        assert "compute-train-steps" in reached


def test_what_later_steps_are_given_was_checked_by_the_first(spec):
    checked = {
        source.get("componentInputParameter", "").removeprefix("pipelinechannel--")
        for source in steps(spec)["prepare-run"]["inputs"]["parameters"].values()
    }
    names = {"task", "margin", "guard_margin", "max_output_tokens", "asking", "seed"}
    assert names | {"judge_model", "judge_prompt", "guard_uri"} <= checked
    channel = "pipelinechannel--prepare-run"
    plan = inputs(spec, "compute-train-steps")
    assert plan["scoring"] == inputs(spec, "compare-models")["settings"] == f"{channel}-scoring"
    evaluate = inputs(spec, named(spec, "evaluate-"))
    assert plan["asking"] == evaluate["settings"] == f"{channel}-asking"
    assert inputs(spec, "conclude-run")["judging"] == f"{channel}-judging"
    assert plan["eval"] == "split-dataset"
    defaults = spec["root"]["inputDefinitions"]["parameters"]
    assert defaults["max_output_tokens"]["defaultValue"] == MAX_OUTPUT_TOKENS


def test_champion_and_guard_are_texts_so_that_what_follows_can_be_cached(spec):
    evaluate = tasks(spec)[named(spec, "evaluate-")]["inputs"]
    assert {"champion", "guard_uri", "guard_fingerprint"} <= set(evaluate["parameters"])
    assert set(evaluate["artifacts"]) == {"model", "base", "eval"}


def test_a_run_over_data_that_were_seen_ends_with_the_first_step(spec):
    condition = steps(spec)["condition-2"]["triggerPolicy"]["condition"]
    assert condition.endswith("['pipelinechannel--prepare-run-Output'] == 'changed'")


def test_what_looks_outside_or_changes_it_is_never_cached(spec):
    every = [("send-notice", spec["root"]["dag"]["tasks"]["send-notice"])]
    for component in spec["components"].values():
        every += component.get("dag", {}).get("tasks", {}).items()
    cached = {name: "enableCache" in task.get("cachingOptions", {}) for name, task in every}
    fresh = {name for name, on in cached.items() if not on and name in (*tasks(spec), *steps(spec))}
    assert fresh == {"prepare-run", "condition-2", "conclude-run"}
    assert not cached["send-notice"]


def test_only_steps_that_cost_nothing_are_repeated_by_the_host(spec):
    every = {**tasks(spec), **steps(spec), **spec["root"]["dag"]["tasks"]}
    repeated = {name for name, task in every.items() if "retryPolicy" in task}
    assert repeated == {
        "prepare-run", "validate-jsonl", "split-dataset", "compute-train-steps", "compare-models",
        "send-notice",
    }  # fmt: skip
    policies = [every[name]["retryPolicy"] for name in repeated]
    assert policies == [policies[0]] * len(policies)
    assert policies[0] == {
        "maxRetryCount": 2,
        "backoffDuration": "30s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": "3600s",
    }


def test_steps_ask_for_the_machine_that_they_need(spec):
    limits = {
        name.removeprefix("exec-"): executor["container"].get("resources", {})
        for name, executor in spec["deploymentSpec"]["executors"].items()
    }
    cpus = {name: float(one.get("resourceCpuLimit", 0)) for name, one in limits.items()}
    assert cpus["prepare-run"] < cpus["validate-jsonl"] < cpus["compare-models"]
    own = {name for name, one in limits.items() if not one}
    assert own <= {"tune-local", "evaluate-model"}, "these take the accelerators they are given"
    # A small cluster has room for every step.
    requests = [one["resourceCpuRequest"] for one in limits.values() if one]
    assert set(requests) == {"250m"}


def test_people_are_told_however_the_steps_end(spec):
    notice = spec["root"]["dag"]["tasks"]["send-notice"]
    assert notice["dependentTasks"] == ["exit-handler-1"]
    assert notice["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    assert notice["inputs"]["parameters"]["status"]["taskFinalStatus"] == {
        "producerTask": "exit-handler-1"
    }


def test_vertex_mails_those_who_are_named_when_it_is_compiled():
    people = ("a@example.com", "b@example.com")
    root = yaml.safe_load(pipeline_text("gemini", people))["root"]["dag"]["tasks"]
    assert set(root) == {"exit-handler-1", "send-notice", "vertex-pipelines-notification-email"}
    mailed, told = root["vertex-pipelines-notification-email"], root["send-notice"]
    for part in ("dependentTasks", "triggerPolicy"):
        assert mailed[part] == told[part]
    given = mailed["inputs"]["parameters"]
    assert given["recipients"]["runtimeValue"]["constant"] == list(people)
    assert given["pipeline_task_final_status"] == told["inputs"]["parameters"]["status"]


def test_every_parameter_is_described(spec):
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert all(parameter.get("description") for parameter in parameters.values())


def test_the_pipeline_is_not_taken_for_one_of_its_components(spec):
    names = {name.removeprefix("comp-") for name in spec["components"]}
    assert spec["pipelineInfo"]["name"] not in names


def test_only_a_run_in_the_cloud_imports_its_evaluation(spec):
    job = inputs(spec, "conclude-run")["pipeline_job"]
    in_cloud = BACKENDS[spec["pipelineInfo"]["name"].removeprefix("tunepipe-")].in_cloud
    assert job == ("{{$.pipeline_job_resource_name}}" if in_cloud else "")
