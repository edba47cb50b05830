"""Steps that carry no code: where they get it from, and what they say when they get none."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.linked import environment
from tests.packaging.wheels import index_of
from tests.waiting import until
from tunepipe import __version__, components
from tunepipe.distribution import build_wheel, content_hash, describe_code, package_files
from tunepipe.packaging.component import component, thin

ROOT = Path(__file__).parents[2]


def command(unit, code: str, folder: Path, python=sys.executable) -> list[str]:
    """The command of the step that fingerprints a file, as a host would start it."""
    container = unit.component_spec.implementation.container
    rows = folder / "rows.jsonl"
    rows.write_text("{}\n")
    names = ("fingerprint", "generation", "files")
    executor_input = {
        "inputs": {"parameterValues": {"dataset_uri": str(rows)}},
        "outputs": {
            "parameters": {name: {"outputFile": str(folder / name)} for name in names},
            "outputFile": str(folder / "step" / "output.json"),
        },
    }
    given = {"{{$}}": json.dumps(executor_input), "{{$.inputs.parameters['code']}}": code}
    whole = [*container.command, *(given.get(part, part) for part in container.args)]
    return [part.replace("python3", str(python)) for part in whole]


def start(code: str, folder: Path, python=sys.executable, **variables: str):
    step = thin(components.fingerprint_dataset.python_func)
    return subprocess.run(
        command(step, code, folder, python), capture_output=True, text=True,
        env={"PATH": os.environ["PATH"], **variables}, cwd="/",
    )  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def index(wheel, tmp_path_factory):
    """An index of one's own, with the one package."""
    with index_of(*wheel, tmp_path_factory.mktemp("index")) as url:
        yield url


def test_equal_code_is_one_wheel_wherever_it_is_built(wheel, tmp_path):
    path, sha256 = wheel
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path)
        assert {name for name in archive.namelist() if ".dist-info" not in name} == set(
            package_files()
        )
    code = (
        "import sys; from pathlib import Path; from tunepipe.distribution import build_wheel;"
        "from tunepipe.distribution import content_hash;"
        "print(build_wheel(Path(sys.argv[1]))[1], content_hash())"
    )
    again = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True,
        cwd=tmp_path, env={"PYTHONPATH": str(tmp_path), "PATH": os.environ["PATH"]}, umask=0o077,
    )  # fmt: skip
    assert again.stdout.split() == [sha256, content_hash()]


def test_a_wheel_holds_what_setuptools_would_put_in():
    kept = {f"tunepipe/{path.relative_to(ROOT / 'tunepipe')}" for path in source_files()}
    assert kept <= set(package_files())


def source_files():
    for folder in ("steps", "packaging", "catalog", "reporting", "components", "pipelines"):
        yield from (ROOT / "tunepipe" / folder).rglob("*.py")
        yield from (ROOT / "tunepipe" / folder).rglob("*.toml")


@pytest.mark.parametrize("way", ["wheel", "url", "requirement", "installed", "empty"])
def test_a_step_runs_the_code_that_is_named(way, wheel, index, tmp_path):
    path, sha256 = wheel
    code = {
        "wheel": f"file://{path}#sha256={sha256}",
        "url": f"{index}/{path.name}#sha256={sha256}",
        "requirement": f"tunepipe=={__version__} --index-url={index}/simple",
        "installed": f"installed:{content_hash()}",
        "empty": "",
    }[way]
    done = start(code, tmp_path)
    assert done.returncode == 0, done.stderr
    outputs = json.loads((tmp_path / "step" / "output.json").read_text())
    assert outputs["parameterValues"]["fingerprint"] == hashlib.sha256(b"{}\n").hexdigest()
    place = done.stdout.partition("--component_module_path `")[2].partition("`")[0]
    assert place.endswith("/tunepipe/components/preparation.py")
    assert place.startswith(str(ROOT)) == (way in ("installed", "empty")), place


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("file://{path}#sha256=" + "0" * 64, "hash"),
        ("installed:" + "0" * 64, "the run was started with 0000000000000000"),
        ("tunepipe==9.9 --index-url={index}/simple", "No matching distribution"),
    ],
)
def test_a_step_whose_code_is_another_than_the_run_says_stops(
    code, message, wheel, index, tmp_path
):
    done = start(code.format(path=wheel[0], index=index), tmp_path)
    assert done.returncode
    assert message.lower() in done.stderr.lower()
    assert "component_module_path" not in done.stdout


def test_a_step_that_finds_no_tunepipe_says_so_in_one_line(tmp_path):
    python = environment(tmp_path / "venv", ["kfp==2.17.0"])
    done = start("", tmp_path, python)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert all(word in line for word in ("no tunepipe", "image", "wheel", "requirement", "docs/"))


@pytest.mark.parametrize("make", [thin, component])
def test_sigterm_reaches_the_step_itself(make, tmp_path):
    """The shells that come before hand their place over, so that a step can cancel its job."""
    shim = tmp_path / "shim"
    shim.write_text(
        '#!/bin/sh\ncase "$*" in *packaging.step*|*executor_main*) exec sleep 600 ;; esac\n'
        f'exec {sys.executable} "$@"\n'
    )
    shim.chmod(0o755)
    unit = make(components.fingerprint_dataset.python_func)
    container = unit.component_spec.implementation.container
    whole = command(unit, "", tmp_path, shim) if make is thin else [
        part.replace("python3", str(shim)) for part in container.command[3:]
    ]  # fmt: skip
    with subprocess.Popen(whole, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until(lambda: "sleep" in Path(f"/proc/{process.pid}/cmdline").read_text())
        process.send_signal(signal.SIGTERM)
        assert process.wait(240) == -signal.SIGTERM


def test_the_installs_of_a_component_hand_their_place_over_too():
    text = "".join(
        components.fingerprint_dataset.component_spec.implementation.container.command[:-1]
    )
    assert '&& exec "$0" "$@"' in text


def test_the_code_is_named_for_people():
    assert describe_code() == f"tunepipe {__version__}, sha256 {content_hash()[:16]}"


def test_a_step_that_takes_too_long_ends_with_a_word():
    code = (
        "import time; from tunepipe.packaging import step;"
        "step._HOURS_MAX['compare_models'] = 1 / 3600\n"
        "with step._time_limit('compare_models'): time.sleep(60)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert done.returncode
    assert "compare_models: the step has not ended within" in done.stderr
