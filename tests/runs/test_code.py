"""How a run gets its code: by image, by a wheel in the bucket, from a wheelhouse, or by name."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from tests.linked import environment
from tests.packaging.wheels import index_of, repacked
from tests.standin.process import StandIn
from tests.standin.session import BUCKET, PROJECT, REGION
from tunepipe import __version__
from tunepipe.cli import main
from tunepipe.distribution import build_wheel, content_hash, describe_code
from tunepipe.errors import CloudError, LimitError, UsageError
from tunepipe.packaging.component import CODE_PLACEHOLDER
from tunepipe.packaging.requirements import locked
from tunepipe.packaging.step import requirements_of
from tunepipe.runs.code import Code, check_code_parameter, find_code
from tunepipe.runs.compile import pipeline_text
from tunepipe.runs.pipeline_spec import read, thin_steps

ROOT = Path(__file__).parents[2]
GS = f"gs://{BUCKET}/tunepipe"
URL = "https://example.com/tunepipe-0.2.0-py3-none-any.whl"
OFFLINE = ["unshare", "--net", "--map-root-user"]
if subprocess.run([*OFFLINE, "true"], capture_output=True).returncode:
    OFFLINE = []  # a kernel that lets us make no namespace: pip alone is cut off
IMAGE = "europe-docker.pkg.dev/p/images/tunepipe@sha256:" + "0" * 64


@pytest.fixture(scope="module")
def spec():
    return read(pipeline_text("gemini"))


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("code", "taken"),
    [
        (f"{URL}#sha256={'0' * 64}", True),
        ("tunepipe==0.2.0 --index-url=https://pypi.example.com/simple", True),
        (f"installed:{'0' * 64}", True),
        ("/gcs/bucket/tunepipe/code/abc/", True),
        (URL, False),
        ("tunepipe", False),
        ("tunepipe==0.2.0", False),
        ("tunepipe --index-url=https://pypi.example.com/simple", False),
        ("tunepipe==0.2.0 other --index-url=https://pypi.example.com/simple", False),
    ],
)
def test_code_is_named_exactly_or_refused(code, taken):
    if taken:
        assert check_code_parameter(code) == code
        return
    with pytest.raises(UsageError, match="exactly which code"):
        check_code_parameter(code)


def test_without_a_word_a_wheel_goes_into_the_bucket_under_its_hash(spec):
    found = find_code(spec, GS)
    ((path, uri),) = found.uploads.items()
    sha256 = found.parameters["code"].partition("#sha256=")[2]
    assert uri == f"{GS}/code/{sha256[:16]}/{Path(path).name}"
    assert found.parameters["code"].startswith(f"file:///gcs/{BUCKET}/tunepipe/code/{sha256[:16]}/")
    assert find_code(spec, GS) == found


def test_on_an_image_the_steps_check_that_it_holds_the_runs_code(spec):
    found = find_code(spec, GS, image=IMAGE)
    assert (found.parameters["code"], dict(found.uploads)) == (f"installed:{content_hash()}", {})


def test_one_way_is_enough(spec):
    with pytest.raises(UsageError, match="in one way"):
        find_code(spec, GS, image=IMAGE, code=f"{URL}#sha256=0")


def only(spec, *steps: str):
    """The pipeline as far as its code matters, with these steps alone."""
    executors = spec["deploymentSpec"]["executors"]
    kept = {name: executors[f"exec-{name}"] for name in steps}
    return {"deploymentSpec": {"executors": kept}}


def locked_names(spec) -> dict[str, set[str]]:
    """What the lock has for each step: its packages with what they need."""
    steps = {name: requirements_of(module, name) for name, module in thin_steps(spec).items()}
    return {
        name: set(
            re.findall("^([a-z0-9-]+)==", locked(p.partition("==")[0] for p in packages), re.M)
        )
        for name, packages in steps.items()
    }


def filled(house: Path, spec, folder: Path) -> Code:
    """Fill a wheelhouse, in a copy of the package whose lock has the hashes of our wheels."""
    copy = folder / "code" / "tunepipe"
    shutil.copytree(ROOT / "tunepipe", copy, ignore=shutil.ignore_patterns("__pycache__"))
    lock = copy / "packaging" / "requirements.lock"
    text = lock.read_text()
    for wheel in house.glob("*.whl"):
        name, sha256 = parse_wheel_filename(wheel.name)[0], hashlib.sha256(wheel.read_bytes())
        hashes = f"    --hash=sha256:{sha256.hexdigest()}\n"
        text, count = re.subn(
            rf"^({name}==.*\n)( +--hash=.*\n)+", rf"\g<1>{hashes}", text, flags=re.MULTILINE
        )
        assert count == 1, name
    lock.write_text(text)
    program = (
        "import json, sys; from tunepipe.runs.code import find_code;"
        "found = find_code(json.load(sys.stdin), sys.argv[1], wheelhouse=sys.argv[2]);"
        "wheel = [str(found.wheel[0]), found.wheel[1]];"
        "print(json.dumps([dict(found.parameters), dict(found.uploads), wheel]))"
    )
    done = subprocess.run(
        [*OFFLINE, sys.executable, "-c", program, GS, str(house)],
        input=json.dumps(spec), capture_output=True, text=True, cwd=copy.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Code(*json.loads(done.stdout))


def test_a_wheelhouse_names_every_wheel_of_every_step_by_its_hash(spec, tmp_path):
    house = tmp_path / "a house"
    spec = only(spec, "split-dataset", "compute-train-steps", "send-notice")
    steps = locked_names(spec)
    repacked(set().union(*steps.values()), house)
    found = filled(house, spec, tmp_path)
    lists = {Path(path).stem: Path(path).read_text() for path in found.uploads if "txt" in path}
    assert set(lists) == set(steps)
    for name, packages in steps.items():
        lines = [line.split(" --hash=sha256:") for line in lists[name].splitlines()]
        names = [canonicalize_name(Requirement(one).name) for one, _ in lines]
        assert sorted(names) == sorted([*packages, "tunepipe"])
        for requirement, sha256 in lines:
            (path,) = (p for p in found.uploads if p.endswith(requirement.rpartition("/")[2]))
            assert hashlib.sha256(Path(path).read_bytes()).hexdigest() == sha256
    wheel, sha256 = found.wheel  # a custom job takes it
    assert hashlib.sha256(Path(wheel).read_bytes()).hexdigest() == sha256
    assert wheel in found.uploads
    wheels = [uri for uri in found.uploads.values() if "/wheels/" in uri]
    assert len(wheels) == len(set(wheels)) > len(steps)


@pytest.mark.parametrize(
    ("packages", "message"),
    [
        (["kfp", "msgspec", "xxhash"], "DO NOT MATCH THE HASHES .* (kfp|msgspec|xxhash)=="),
        ([], "No matching distribution found for kfp=="),
    ],
)
def test_a_wheelhouse_takes_no_wheel_but_those_of_the_lock(
    spec, tmp_path, monkeypatch, packages, message
):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    repacked(packages, tmp_path / "house")
    with pytest.raises(CloudError, match=message) as refused:
        find_code(only(spec, "compute-train-steps"), GS, wheelhouse=str(tmp_path / "house"))
    assert len(refused.value.found) < 600
    assert len(list((tmp_path / "house").iterdir())) == len(packages)


def test_a_step_is_installed_whole_from_a_wheelhouse_and_runs_without_an_index(spec, tmp_path):
    """An environment with nothing but pip, in which no index and no other host is reached."""
    step = only(spec, "compute-train-steps")
    house, bucket = tmp_path / "house", tmp_path / "gcs"
    (names,) = locked_names(step).values()
    repacked(names, house, whole=True)
    found = filled(house, step, tmp_path)
    for path, uri in found.uploads.items():
        copy = bucket / uri.removeprefix("gs://")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(Path(path).read_bytes())
    python = environment(tmp_path / "venv", ["pip"])

    def run(**inputs):
        (executor,) = step["deploymentSpec"]["executors"].values()
        outputs = {
            name: {"artifacts": [{"name": name, "type": {"schemaTitle": "system.Artifact"},
                                  "uri": str(tmp_path / name), "metadata": {}}]}
            for name in ("plan", "summary")
        }  # fmt: skip
        files = {n: {"outputFile": str(tmp_path / n)} for n in ("train_steps", "batch_size")}
        files["cost_usd"] = {"outputFile": str(tmp_path / "cost_usd")}
        place = {"outputFile": str(tmp_path / "run" / "step" / "output.json")}
        executor_input = {
            "inputs": {"parameterValues": inputs},
            "outputs": {"artifacts": outputs, "parameters": files, **place},
        }
        code = found.parameters["code"].replace("/gcs/", f"{bucket}/")
        given = {"{{$}}": json.dumps(executor_input), CODE_PLACEHOLDER: code}
        container = executor["container"]
        words = [*container["command"], *(given.get(word, word) for word in container["args"])]
        return subprocess.run(
            [*OFFLINE, *(word.replace("python3", str(python)) for word in words)],
            capture_output=True, text=True, cwd="/", env={"PATH": os.environ["PATH"]},
        )  # fmt: skip

    done = run(rows=300, backend="gemini", region="us-central1", epochs=2.0)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((tmp_path / "plan").read_text())["rows"] == 300
    assert (tmp_path / "summary").read_text().startswith("- ")
    # The words of a failure lie next to the outputs, where the host's own say little.
    done = run(rows=300, backend="gemini", region="us-central1", epochs=2.0, max_cost_usd=0.001)
    assert done.returncode
    failure = json.loads((tmp_path / "run" / "step" / "error.json").read_text())
    assert failure["kind"] == "LimitError"
    # A wheel that was changed is not installed.
    (wheel,) = bucket.rglob("xxhash*.whl")
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("more.py", "")
    done = run(rows=300, backend="gemini", region="us-central1", epochs=2.0)
    assert done.returncode
    assert "DO NOT MATCH THE HASHES" in done.stderr


def submit(dataset: Path, *more: str) -> int:
    place = ["--project", PROJECT, "--region", REGION, "--bucket", f"gs://{BUCKET}"]
    quick = ["--option", "poll_seconds=0.2", "--param", 'asking={"requests_per_minute": 60000}']
    arguments = ["run", "--backend", "gemini", "--dataset", str(dataset), *place, *quick]
    return main.run([*arguments, "--epochs", "1", "--yes", "--json", *more])


@pytest.mark.parametrize("way", ["wheel", "url", "requirement"])
def test_a_whole_run_installs_the_code_that_it_names(
    cloud: StandIn, tmp_path: Path, capfd: pytest.CaptureFixture[str], way: str
) -> None:
    """The wheel from the mounted bucket; a URL with its hash; an index of one's own."""
    cloud.ask("install", {"on": True})
    rows = [{"input_text": f"{way} order {n}", "output_text": f"fig:{n}"} for n in range(120)]
    dataset = tmp_path / "rows.jsonl"
    dataset.write_text("".join(json.dumps(row) + "\n" for row in rows))
    earlier = set(cloud.folder.glob("jobs/*/log.txt"))  # of the session's other tests
    built, sha256 = build_wheel(tmp_path)
    with index_of(built, sha256, tmp_path / "index") as index:
        code = {
            "wheel": [],
            "url": ["--code", f"{index}/{built.name}#sha256={sha256}"],
            "requirement": ["--code", f"tunepipe=={__version__} --index-url={index}/simple"],
        }[way]
        assert submit(dataset, "--wait", *code) == 0, cloud.log()
    done = json.loads(capfd.readouterr().out)
    logs = [file.read_text() for file in set(cloud.folder.glob("jobs/*/log.txt")) - earlier]
    places = re.findall(r"component_module_path `([^`]*)`", "\n".join(logs))
    assert len(places) == 9
    assert not [place for place in places if place.startswith(str(ROOT))]
    report = cloud.buckets / done["results"]["report"].removeprefix("gs://")
    assert describe_code() in report.read_text(encoding="utf-8")
    if way != "wheel":
        assert not list((cloud.buckets / BUCKET / "tunepipe").rglob("*.whl"))
        return
    (wheel,) = (cloud.buckets / BUCKET / "tunepipe" / "code").rglob("*.whl")
    before = wheel.stat().st_mtime_ns
    assert submit(dataset, "--again") == 0
    (again,) = (cloud.buckets / BUCKET / "tunepipe" / "code").rglob("*.whl")
    assert again.stat().st_mtime_ns == before, "equal code is uploaded once"


def test_the_request_moves_the_steps_onto_the_image(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from tunepipe.runs import vertex_request

    dataset = tmp_path / "rows.jsonl"
    row = {"input_text": "q", "output_text": "a"}
    dataset.write_text("".join(json.dumps(row) + "\n" for _ in range(3)))
    run = vertex_request.VertexRun(
        backend="gemini", project=PROJECT, region=REGION, bucket=f"gs://{BUCKET}",
        parameters={"dataset_uri": str(dataset)}, image=IMAGE,
    )  # fmt: skip
    job = vertex_request.prepare(run, now=datetime(2026, 11, 26, tzinfo=UTC)).job
    executors = job["pipeline_spec"]["deploymentSpec"]["executors"].values()
    assert {executor["container"]["image"] for executor in executors} == {IMAGE}
    assert job["labels"]["tunepipe_code"] == content_hash()[:16]


def test_the_wheel_of_a_custom_run_is_built_once(tmp_path: Path) -> None:
    """Its steps and its jobs have the same."""
    from tunepipe.runs import vertex_request

    dataset = tmp_path / "rows.jsonl"
    dataset.write_text('{"input_text": "q", "output_text": "a"}\n')
    run = vertex_request.VertexRun(
        backend="custom", project=PROJECT, region=REGION, bucket=f"gs://{BUCKET}",
        parameters={"dataset_uri": str(dataset), "base_model": "team/model"},
    )  # fmt: skip
    builds = []
    sys.setprofile(lambda frame, event, _: frame.f_code is build_wheel.__code__
                   and event == "call" and builds.append(frame))  # fmt: skip
    try:
        request = vertex_request.prepare(run, now=datetime(2026, 11, 26, tzinfo=UTC))
    finally:
        sys.setprofile(None)
    assert len(builds) == 1
    sent = request.job["runtime_config"]["parameter_values"]
    (uri,) = (uri for path, uri in request.uploads.items() if path.endswith(".whl"))
    assert sent["options"]["code"] == uri
    assert uri.removeprefix("gs://") in sent["code"]


def test_an_image_runs_every_step_without_a_network(tmp_path: Path) -> None:
    """An environment with tunepipe in which no index, and no other host, can be reached."""
    rows = (ROOT / "examples" / "orders.jsonl").read_text().splitlines()[:60]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows) + "\n")
    pipeline, parameters = tmp_path / "pipeline.yaml", tmp_path / "parameters.json"
    pipeline.write_text(pipeline_text("local"))
    given = {
        "dataset_uri": str(tmp_path / "rows.jsonl"), "base_model": "tiny", "train_steps": 10,
        "max_output_tokens": 4, "code": f"installed:{content_hash()}",
    }  # fmt: skip
    parameters.write_text(json.dumps(given))
    arguments = ["-m", "tunepipe.runs.kfp_process", pipeline, parameters, tmp_path / "steps"]
    done = subprocess.run(
        [*OFFLINE, "env", "PIP_NO_INDEX=1", sys.executable, *arguments],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert len(re.findall("Looking for component", done.stdout)) == 9


def test_a_run_on_a_persistent_resource_is_submitted_as_v1beta1_takes_it(
    cloud: StandIn, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from tunepipe.gcp.clients import beta_pipelines

    cloud.ask("hold", {"on": True})
    dataset = tmp_path / "rows.jsonl"
    rows = ({"input_text": f"pear order {n}", "output_text": f"pear:{n}"} for n in range(120))
    dataset.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert submit(dataset, "--persistent-resource", "mine") == 0
    name = json.loads(capfd.readouterr().out)["run"]
    job = beta_pipelines(REGION).get_pipeline_job(name=name)
    detail = job.runtime_config.default_runtime.persistent_resource_runtime_detail
    assert detail.persistent_resource_name == (
        f"projects/{PROJECT}/locations/{REGION}/persistentResources/mine"
    )
    assert detail.task_resource_unavailable_timeout_behavior.name == "FALL_BACK_TO_ON_DEMAND"
    other = "projects/p/locations/us-east4/persistentResources/mine"
    assert submit(dataset, "--persistent-resource", other) == LimitError.exit_code
    assert "not in europe-west4" in capfd.readouterr().out
