"""What is installed: one top-level name, every module and data file, and the command."""

import json
import re
import runpy
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from tests import linked
from tunepipe import __version__, extras
from tunepipe.extras import EXTRAS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BASE_MEGABYTES = 100


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from what git knows, without the network, where an old one was built."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    for name in listed.stdout.decode().splitlines():
        if name.startswith(("tests/", "docs/")):
            continue
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():
            (source / name).symlink_to((ROOT / name).readlink())
        elif (ROOT / name).is_file():
            (source / name).write_bytes((ROOT / name).read_bytes())
    stale = source / "build" / "lib" / "tunepipe" / "core" / "splitting.py"
    stale.parent.mkdir(parents=True)
    stale.touch()
    command = ["-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([sys.executable, *command, "--wheel-dir", out, source], check=True)
    (built,) = out.glob("*.whl")
    return zipfile.ZipFile(built)


def test_the_wheel_holds_tunepipe_and_nothing_else(wheel):
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert tops == {"tunepipe", next(top for top in tops if top.endswith(".dist-info"))}


def test_every_module_and_data_file_is_in_it(wheel):
    suffixes = {".py", ".toml", ".j2", ".css", ".js", ".sh", ".typed", ".yaml", ".lock"}
    package = ROOT / "tunepipe"
    links = ("components", "pipelines", "compiled")
    here = {
        file.relative_to(ROOT).as_posix()
        for folder in (package, *(package / link for link in links))
        for file in folder.rglob("*")
        if file.suffix in suffixes or file.name == "py.typed"
    }
    assert here == {name for name in wheel.namelist() if name.startswith("tunepipe/")}


def test_it_is_typed_and_brings_the_command(wheel):
    assert "tunepipe/py.typed" in wheel.namelist()
    (entry,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "tunepipe = tunepipe.cli.main:main" in wheel.read(entry).decode()


def test_its_metadata_have_the_version_and_no_address_that_nobody_named(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    text = wheel.read(name).decode()
    assert f"\nVersion: {__version__}\n" in text
    assert "Project-URL" not in text  # the source of this wheel is no clone


@pytest.mark.parametrize(
    ("origin", "url"),
    [
        ("https://github.com/someone/tunepipe.git", "https://github.com/someone/tunepipe"),
        ("https://me:secret@git.example.com/a/b/tunepipe", "https://git.example.com/a/b/tunepipe"),
        ("git@github.com:someone/tunepipe.git", "https://github.com/someone/tunepipe"),
        ("ssh://git@git.example.com:2222/a/tunepipe/", "https://git.example.com/a/tunepipe"),
        ("/srv/git/tunepipe", ""),
        ("../tunepipe.git", ""),
        ("file:///srv/git/tunepipe", ""),
    ],
)
def test_the_addresses_are_those_of_the_clone_without_credentials(tmp_path, origin, url):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run(["git", "-C", tmp_path, "remote", "add", "origin", origin], check=True)
    (tmp_path / "setup.py").write_bytes((ROOT / "setup.py").read_bytes())
    setup = runpy.run_path(str(tmp_path / "setup.py"))
    assert setup["repository"]() == url
    assert (setup["pages"](url) == {}) == (not url)


@pytest.mark.parametrize(
    ("receipt", "installer"),
    [
        ("pipx_metadata.json", "pipx install --force"),
        ("uv-receipt.toml", "uv tool install --force"),
        ("other", f"{sys.executable} -m pip install"),
    ],
)
def test_an_extra_is_added_where_the_command_is_installed(
    tmp_path, monkeypatch, receipt, installer
):
    (tmp_path / receipt).touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert extras._installer() == installer


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    """An environment with what the package requires, and no extra."""
    return linked.environment(tmp_path_factory.mktemp("light"), PROJECT["dependencies"])


def test_the_package_without_extras_is_light():
    sizes = {
        file.locate().resolve(): file.locate().stat().st_size
        for name in linked.closure(PROJECT["dependencies"])
        for file in metadata.files(name) or ()
        if file.locate().exists() and file.suffix != ".pyc"
    }
    assert sum(sizes.values()) < BASE_MEGABYTES * 1e6


TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("uv", ["", "uv"])
def test_the_recipes_of_make_are_valid_shell(target, uv, tmp_path):
    command = ["make", "-n", target, f"VENV={tmp_path}/venv", f"UV={uv}"]
    recipe = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    subprocess.run(["sh", "-n"], input=recipe, text=True, check=True)
    if target == "demo":
        assert len(re.findall(r" -e '\.\[local,tables\]'", recipe)) == 1 + bool(uv)


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("validate", "rows.jsonl", "--report", "problems.html"), ""),
        (("split", "rows.jsonl", "--train", "train.jsonl", "--eval", "eval.jsonl"), ""),
        (("plan", "rows.jsonl", "--region", "us-central1"), ""),
        (("convert", "rows.jsonl", "messages.jsonl", "--to", "messages"), ""),
        (("validate", "gs://bucket/rows.jsonl"), "vertex"),
        (("run", "--backend", "local", "--dataset", "none.jsonl"), "local"),
        # On a cluster no model is loaded here.
        (("run", "--backend", "local", "--dataset", "s3://b/o", "--kfp-host", "h"), "kfp"),
        (("run", "--backend", "gemini", "--dataset", "none.jsonl"), "vertex"),
        (("compile",), "kfp"),
        (("score", "none.jsonl"), "score"),
        (("status", "projects/p/locations/us-central1/pipelineJobs/r"), "vertex"),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, tuple) else value,
)
def test_without_extras_a_verb_works_or_names_the_extra(light, tmp_path, arguments, extra):
    rows = [{"input_text": f"question {n}", "output_text": f"answer {n}"} for n in range(120)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = subprocess.run(
        [light, "-m", "tunepipe", *arguments],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == (2 if extra else 0), done.stderr
    assert "Traceback" not in done.stderr
    if extra:
        assert "is not installed" in done.stderr
        assert f"[{extra}]" in done.stderr


def test_each_extra_brings_the_modules_that_it_is_said_to():
    installed = metadata.packages_distributions()
    for extra, modules in EXTRAS.items():
        names = {re.match(r"[\w.-]+", text)[0] for text in PROJECT["optional-dependencies"][extra]}
        packages = {name.lower() for name in linked.closure(names - {"tunepipe"})}
        for module in modules:
            found = {name.lower() for name in installed[module.partition(".")[0]]}
            assert found & packages, module


def test_the_lock_has_a_hash_for_every_package_and_the_tested_versions():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if "==" in line]
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", line) for line in lines)
    locked = dict(line.split(" ")[0].lower().split("==") for line in lines)
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    tested = dict(re.sub(r"[._]", "-", pin.lower()).split("==", 1) for pin in pins if "==" in pin)
    tested = {name: version.replace("-", ".") for name, version in tested.items()}
    assert {name for name in locked if locked[name] != tested.get(name, locked[name])} == set()
    needed = linked.closure(["tunepipe[all]"]) - {"tunepipe"}
    assert {re.sub(r"[._]", "-", name) for name in needed} <= set(locked)
