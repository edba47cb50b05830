"""The rules of the house, read from the syntax trees and from the packages."""

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tunepipe"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

# From the ground up; a folder imports what stands before it. One line is one floor: its folders
# may not import each other.
FLOORS = (
    ("errors",),
    ("files", "progress", "arguments", "extras", "disk_array"),
    ("decoding", "distribution"),
    ("catalog",),
    ("data",),
    ("validation",),
    ("splitting", "planning"),
    ("gcp",),
    ("stores",),
    ("notifications",),
    ("backends",),
    ("reporting", "registry"),
    ("evaluation",),
    ("steps",),
    ("packaging",),
    ("components",),
    ("pipelines",),
    ("runs",),
    ("cli",),
    ("api",),
)
FLOOR_OF = {folder: number for number, folders in enumerate(FLOORS) for folder in folders}
# Folders without a cloud, a network or kfp; of evaluation, all but the modules that ask a model.
PURE = ("catalog", "data", "validation", "splitting", "planning", "reporting", "evaluation")
ASKING = {"ask.py", "judge.py"}
CLOUD = {"google", "http", "httpx", "kfp", "requests", "socket", "urllib.request"}
HEAVY = {"kfp", "pandas", "peft", "torch", "transformers", "trl"}
MODULES_IN_A_FOLDER = 16


def modules() -> list[Path]:
    """Every module once; components/ and pipelines/ by their links inside the package."""
    linked = [PACKAGE / "components", PACKAGE / "pipelines"]
    found = {file for folder in (PACKAGE, *linked) for file in folder.rglob("*.py")}
    return sorted(file.relative_to(PACKAGE) for file in found)


def imports(file: Path):
    for node in ast.walk(ast.parse((PACKAGE / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node.level
            # `from tunepipe import x` names the folder in the alias.
            if node.module == "tunepipe":
                yield from ((f"tunepipe.{alias.name}", 0) for alias in node.names)


def top_level_imports(file: Path):
    for node in ast.parse((PACKAGE / file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module


def folder_of(file: Path) -> str:
    return file.parts[0].removesuffix(".py")


@pytest.mark.parametrize(
    "file", [file for file in modules() if file.name not in ("__init__.py", "__main__.py")], ids=str
)
def test_imports_point_one_way(file):
    floor = FLOOR_OF[folder_of(file)]
    for name, level in imports(file):
        if name.startswith("tunepipe."):
            folder = name.split(".")[1]
            if folder == "__version__" or folder == folder_of(file):
                continue
            assert FLOOR_OF[folder] < floor, f"{folder_of(file)} may not import {name}"
        assert level == 0 or folder_of(file) in ("components", "pipelines"), "import absolutely"


def test_backends_do_not_import_each_other():
    for file in modules():
        if file.parts[0] == "backends" and len(file.parts) == 3:
            used = {name.split(".")[2] for name, _ in imports(file) if name.count(".") > 2}
            others = {"local", "managed", "palm", "custom", "remote"} - {file.parts[1]}
            # The machines of a custom job and of a TrainJob run the local backend.
            allowed = {"custom": {"local", "remote"}, "remote": {"local"}}
            others -= allowed.get(file.parts[1], set())
            assert not used & others, f"{file} imports {used & others}"


@pytest.mark.parametrize(
    "file",
    [f for f in modules() if f.parts[0] in PURE and f.name not in ASKING],
    ids=str,
)
def test_pure_folders_know_no_cloud_and_no_network(file):
    names = {name for name, level in imports(file) if not level}
    used = names | {name.partition(".")[0] for name in names}
    assert not used & CLOUD
    assert not {name.partition(".")[0] for name in top_level_imports(file)} & HEAVY


@pytest.mark.parametrize("file", modules(), ids=str)
def test_nothing_heavy_is_imported_until_it_is_used(file):
    light = ("cli", "gcp", "stores", "registry", "notifications", "catalog", "planning")
    if file.parts[0] in light:
        heavy = HEAVY | {"google.cloud.aiplatform_v1", "google.genai", "numpy", "scipy"}
        assert not set(top_level_imports(file)) & heavy


def test_no_folder_is_crowded():
    folders = {file.parent for file in modules()}
    for folder in folders:
        inside = [f for f in modules() if f.parent == folder and f.name != "__init__.py"]
        assert len(inside) <= MODULES_IN_A_FOLDER, f"{folder} holds {len(inside)} modules"


def test_packages_hold_a_docstring_and_nothing_else():
    """They travel with every component; the package itself brings the public API."""
    for file in modules():
        if file.name == "__init__.py" and len(file.parts) > 1 and file.parts[0] != "components":
            (only,) = ast.parse((PACKAGE / file).read_text(encoding="utf-8")).body
            assert isinstance(only, ast.Expr), file


def test_each_error_says_how_to_fix_it():
    errors = {"UsageError", "DataError", "LimitError", "CloudError"}
    silent = []
    for file in modules():
        for node in ast.walk(ast.parse((PACKAGE / file).read_text(encoding="utf-8"))):
            is_error = isinstance(node, ast.Call) and getattr(node.func, "id", "") in errors
            if is_error and not {"fix", None} & {keyword.arg for keyword in node.keywords}:
                silent.append(f"{file}:{ast.unparse(node.args[0])}")
    # What a type's own check says holds its remedy.
    assert silent == ["decoding.py:str(cause or error)"]


def test_tests_mirror_the_folders():
    extra = {"chaos", "fixtures", "mutants", "pages", "standin"}
    for folder in (path for path in (ROOT / "tests").iterdir() if path.is_dir()):
        if folder.name not in extra and not folder.name.startswith(("_", ".")):
            assert (PACKAGE / folder.name).is_dir(), f"tests/{folder.name} mirrors no folder"


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
    optional = [line for name, lines in extras.items() if name != "bench" for line in lines]
    wanted = [*project["dependencies"], *optional]
    names = {normal(re.match(r"[\w.-]+", line)[0]) for line in wanted}
    names -= {"pip", "setuptools", "tunepipe"}
    assert names <= set(pinned)
    for name in names:
        assert metadata.version(name).partition("+")[0] == pinned[name]


def test_steps_install_the_tested_versions():
    from tunepipe.packaging.requirements import PINS

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


def test_only_modules_of_the_standard_library_lie_below_the_ground_floor():
    ground = {
        "errors.py",
        "files.py",
        "progress.py",
        "arguments.py",
        "extras.py",
        "distribution.py",
    }
    light = set(sys.stdlib_module_names) | {"tunepipe"}
    for file in modules():
        if str(file) in ground:
            assert {name.partition(".")[0] for name in top_level_imports(file)} <= light, file
