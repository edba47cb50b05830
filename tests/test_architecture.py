"""The rules of the house, read from the syntax trees and from the packages."""

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("core", "backends", "components", "pipelines", "ops")
NETWORK = {"google", "http", "httpx", "requests", "socket", "urllib.request"}
HEAVY = {"kfp", "pandas", "peft", "torch", "transformers"}
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MODULES = sorted(file for layer in LAYERS for file in (ROOT / layer).glob("*.py"))


def imports(file: Path):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node.level


def top_level_imports(file: Path):
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module


@pytest.mark.parametrize("file", MODULES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_imports_point_one_way(file):
    layer = LAYERS.index(file.parent.name)
    for name, level in imports(file):
        assert level <= 1, f"{name}: folders stay flat"
        assert name.partition(".")[0] not in LAYERS or level, f"say tunepipe.{name}"
        if name.startswith("tunepipe."):
            below = LAYERS.index(name.split(".")[1])
            assert below < layer, f"{file.parent.name} may not import {name}"


@pytest.mark.parametrize("file", sorted((ROOT / "core").glob("*.py")), ids=lambda file: file.name)
def test_the_core_knows_no_cloud_and_no_network(file):
    names = {name for name, level in imports(file) if not level}
    used = names | {name.partition(".")[0] for name in names}
    # Tables come in through pandas, imported where a table is read.
    tables = {"pandas"} if file.name == "conversion.py" else set()
    assert not used & (NETWORK | HEAVY) - tables


def test_nothing_heavy_is_imported_until_it_is_used():
    light = set(sys.stdlib_module_names) | {"tunepipe"}
    for file in sorted((ROOT / "backends").glob("*.py")):
        if file.name in ("contract.py", "storage.py", "identity.py", "registry.py"):
            assert {name.partition(".")[0] for name in top_level_imports(file)} <= light, file.name


def test_the_folders_are_flat_and_all_packaged():
    assert PYPROJECT["tool"]["setuptools"]["packages"] == [f"tunepipe.{layer}" for layer in LAYERS]
    for layer in LAYERS:
        assert not list((ROOT / layer).glob("*/__init__.py"))
        assert (ROOT / layer / "py.typed").exists()


def test_bodies_of_components_are_short():
    for file in sorted((ROOT / "components").glob("[a-z]*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                lines = node.end_lineno - node.body[0].end_lineno
                assert lines < 16, f"{file.name}: {node.name} has a body of {lines - 1} lines"


def test_constraints_name_every_dependency_that_is_installed():
    pinned = constraints()
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["local"], *extras["dev"]]
    names = {normal(re.match(r"[\w.-]+", line)[0]) for line in wanted} - {"pip", "setuptools"}
    assert names <= set(pinned)
    for name in names:
        assert metadata.version(name).partition("+")[0] == pinned[name]


def test_steps_install_the_tested_versions():
    from tunepipe.components._packages import PINS

    pinned = constraints()
    for requirement in PINS.values():
        name, version = requirement.split("==")
        assert pinned[normal(name)] == version


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line)
    return {normal(name): version for name, version in pairs}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
