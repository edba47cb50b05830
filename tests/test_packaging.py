"""What is installed: one top-level name, every module and data file, and the command."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from what git knows, without the network."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    for name in listed.stdout.decode().splitlines():
        if name.startswith(("tests/", "compiled/", "docs/")):
            continue
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():
            (source / name).symlink_to((ROOT / name).readlink())
        elif (ROOT / name).is_file():
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = ["-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([sys.executable, *command, "--wheel-dir", out, source], check=True)
    (built,) = out.glob("*.whl")
    return zipfile.ZipFile(built)


def test_the_wheel_holds_tunepipe_and_nothing_else(wheel):
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert tops == {"tunepipe", next(top for top in tops if top.endswith(".dist-info"))}


def test_every_module_and_data_file_is_in_it(wheel):
    suffixes = {".py", ".toml", ".j2", ".css", ".js", ".typed"}
    package = ROOT / "tunepipe"
    here = {
        file.relative_to(ROOT).as_posix()
        for folder in (package, package / "components", package / "pipelines")
        for file in folder.rglob("*")
        if file.suffix in suffixes or file.name == "py.typed"
    }
    assert here == {name for name in wheel.namelist() if name.startswith("tunepipe/")}


def test_it_is_typed_and_brings_the_command(wheel):
    assert "tunepipe/py.typed" in wheel.namelist()
    (entry,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "tunepipe = tunepipe.cli.main:main" in wheel.read(entry).decode()
