"""A component carries what its body imports, in bytes that depend on nothing else."""

import ast
import base64
import inspect
import io
import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import textwrap
import tomllib
from pathlib import Path

import pytest

from tunepipe import components
from tunepipe.errors import LimitError
from tunepipe.packaging.archive import archive, without_comments, without_docstrings
from tunepipe.packaging.carrying import MAX_ARGUMENT_BYTES
from tunepipe.packaging.component import component
from tunepipe.packaging.imports import data_files_of, third_party_of
from tunepipe.packaging.requirements import PINS, requirements

ROOT = Path(__file__).parents[2]
CATALOG = ROOT / "tunepipe" / "catalog"


def small(text: str) -> str:
    """Join a text with itself."""
    from tunepipe.data.fingerprint import combined

    return combined([text, text])


def embedded(made) -> dict[str, bytes]:
    source = made.component_spec.implementation.container.command[-1]
    text = re.search(r"__KFP_EMBEDDED_ARCHIVE_B64 = '([^']*)'", source)[1]
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(text))) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar}


def test_only_what_the_body_imports_goes_in():
    assert sorted(embedded(component(small))) == [
        "tunepipe/__init__.py",
        "tunepipe/data/__init__.py",
        "tunepipe/data/fingerprint.py",
    ]


@pytest.mark.parametrize("verb", components.__all__)
def test_the_public_api_stays_at_home(verb):
    """tunepipe/__init__.py holds the version and the API; a step gets an empty one."""
    files = embedded(getattr(components, verb))
    assert files["tunepipe/__init__.py"] == b""
    assert not [name for name in files if name.startswith(("tunepipe/api", "tunepipe/cli"))]


def test_imports_of_imports_go_in_and_bring_their_data():
    files = embedded(components.compute_train_steps)
    assert {"tunepipe/planning/plan.py", "tunepipe/catalog/tables.py"} <= set(files)
    prices = (CATALOG / "prices.toml").read_text(encoding="utf-8")
    assert files["tunepipe/catalog/prices.toml"].decode() == without_comments(prices)
    assert not [name for name in files if "metrics" in name or "local" in name]


def test_what_only_type_checkers_see_stays_out():
    tree_file = ROOT / "tunepipe" / "errors.py"
    modules = {"tunepipe.errors": tree_file}
    assert third_party_of(modules) == set()
    assert data_files_of(modules) == {}


def test_every_name_that_a_body_imports_is_there():
    """A body's imports are resolved when the step runs; here they are resolved before."""
    for verb in components.__all__:
        source = textwrap.dedent(inspect.getsource(getattr(components, verb).python_func))
        lines = [ast.unparse(node) for node in ast.walk(ast.parse(source)) if is_import(node)]
        assert lines, verb
        for line in lines:
            exec(line, {})


def is_import(node: ast.AST) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def test_the_archive_depends_on_names_and_bytes_alone(tmp_path):
    first = archive({"b.py": b"2", "a.py": b"1"})
    assert first == archive({"a.py": b"1", "b.py": b"2"})
    assert first != archive({"a.py": b"1", "b.py": b"3"})
    with tarfile.open(fileobj=io.BytesIO(first)) as tar:
        assert [(e.name, e.mtime, e.uid, e.gid, e.uname) for e in tar] == [
            ("a.py", 0, 0, 0, ""),
            ("b.py", 0, 0, 0, ""),
        ]


def test_docstrings_go_and_every_line_stays_where_it_was():
    source = (ROOT / "tunepipe" / "planning" / "plan.py").read_text(encoding="utf-8")
    lean = without_docstrings(source)
    assert "Args:" in source
    assert "Args:" not in lean
    for before, after in zip(source.split("\n"), lean.split("\n"), strict=True):
        assert before.startswith(after) or after.strip() == '""'


@pytest.mark.parametrize("path", sorted((ROOT / "tunepipe").rglob("*.toml")), ids=lambda p: p.name)
def test_without_its_comments_a_table_says_the_same(path):
    table = path.read_text(encoding="utf-8")
    lean = without_comments(table)
    assert tomllib.loads(lean) == tomllib.loads(table)
    assert len(lean) < len(table)


def test_without_its_docstrings_a_module_does_the_same():
    source = (ROOT / "tunepipe" / "planning" / "plan.py").read_text(encoding="utf-8")
    assert code_of(source) == code_of(without_docstrings(source))


def code_of(source: str) -> str:
    """The syntax tree, without positions and with every docstring emptied."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        first = getattr(node, "body", [None])
        first = first[0] if isinstance(first, list) and first else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            first.value.value = ""
    return ast.dump(tree)


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_every_python_at_hand_packs_the_same_bytes(version):
    code = (
        "import runpy; archive = runpy.run_path('tunepipe/packaging/archive.py')['archive'];"
        "print(archive({'a.py': b'x' * 5000, 'b/c.py': bytes(range(256))}).hex())"
    )
    python = shutil.which(f"python{version}")
    if not python or subprocess.run([python, "-c", ""], capture_output=True).returncode:
        pytest.skip(f"no python{version} on this machine")
    found = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    ours = archive({"a.py": b"x" * 5000, "b/c.py": bytes(range(256))}).hex()
    assert found.stdout.strip() == ours


def test_a_component_that_would_not_start_is_refused_when_it_is_used(tmp_path):
    file = tmp_path / "huge.py"
    file.write_text(f"def huge() -> str:\n    return {'x' * MAX_ARGUMENT_BYTES!r}\n")
    huge = runpy.run_path(str(file))["huge"]
    with pytest.raises(LimitError, match="over the 114,688 of one argument"):
        _ = component(huge).component_spec


def test_every_component_fits_into_one_argument():
    for verb in components.__all__:
        command = getattr(components, verb).component_spec.implementation.container.command
        assert max(len(part.encode()) for part in command) <= MAX_ARGUMENT_BYTES, verb


def test_a_component_has_room_for_more_code(capsys):
    sizes = {
        verb: max(
            map(len, getattr(components, verb).component_spec.implementation.container.command)
        )
        for verb in components.__all__
    }
    largest = max(sizes, key=sizes.get)
    room = MAX_ARGUMENT_BYTES - sizes[largest]
    with capsys.disabled():
        print(f"\n{largest} is the largest component: {sizes[largest]:,} bytes, room for {room:,}")
    assert room > 1_000, "import less in its body, or leave it to steps that carry none"


def test_every_port_is_described():
    for verb in components.__all__:
        spec = getattr(components, verb).component_spec
        ports = {**(spec.inputs or {}), **(spec.outputs or {})}
        bare = [name for name, port in ports.items() if not port.description]
        assert not bare, f"{verb}: {bare}"
        assert spec.description, verb


def test_a_step_installs_what_its_modules_import_and_no_more():
    assert requirements(["msgspec", "json", "google.cloud.storage.blob"]) == [
        PINS["google.cloud.storage"],
        PINS["msgspec"],
    ]
    assert requirements(["googlesomething", "vllm"]) == []


def test_the_clock_and_the_user_leave_no_trace(tmp_path):
    """Two processes, another umask, another time: the same bytes."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from tunepipe import components as c;"
        "print(c.fingerprint_dataset.component_spec.implementation.container.command[-1])"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
            umask=umask,
            env={**os.environ, "PYTHONHASHSEED": seed, "LOGNAME": seed},
        ).stdout
        for umask, seed in ((0o022, "1"), (0o077, "2"))
    ]
    assert runs[0] == runs[1] != ""
