"""Finds the package's modules that a function needs, from syntax trees and without imports."""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

PACKAGE = "tunepipe"
_ROOT = Path(__file__).parents[1]
_DATA_NAME = re.compile(r'"([\w./-]+\.(?:toml|j2|css|js))"')


def modules_of(source: str, name: str) -> dict[str, Path]:
    """Find the modules that a function of a source imports, absolutely, and those that they import.

    Returns:
        Dotted names, sorted, each with its source file; a package's is its `__init__.py`.
    """
    (tree,) = (
        node
        for node in ast.parse(textwrap.dedent(source)).body
        if isinstance(node, ast.FunctionDef) and node.name == name
    )
    modules: dict[str, Path] = {}
    waiting = list(filter(file_of, _imported(tree)))
    while waiting:
        name = waiting.pop()
        if name in modules:
            continue
        file = file_of(name)
        assert file
        modules[name] = file
        if name != PACKAGE:  # its public API imports everything, and no step needs it
            waiting.extend(filter(file_of, _imported_by(_text(file))))
            waiting.append(name.rpartition(".")[0])
    return dict(sorted(modules.items()))


def data_files_of(modules: Mapping[str, Path]) -> dict[str, Path]:
    """Find the data files that modules name in a string literal, such as "catalog/prices.toml".

    Their paths are those in the package, "tunepipe/catalog/prices.toml", sorted.
    """
    files = {}
    for file in modules.values():
        for literal in _DATA_NAME.findall(_text(file)):
            for path in (_ROOT / literal, file.parent / "templates" / literal):
                if path.is_file():
                    files[f"{PACKAGE}/{path.relative_to(_ROOT).as_posix()}"] = path
    return dict(sorted(files.items()))


def third_party_of(modules: Mapping[str, Path]) -> set[str]:
    """Return the dotted names of all imports from outside this package and Python."""
    names = {name for file in modules.values() for name in _imported_by(_text(file))}
    return {
        name
        for name in names
        if name.partition(".")[0] not in sys.stdlib_module_names | {PACKAGE, ""}
    }


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")


# Most modules are in many components; each text is parsed once.
@cache
def _imported_by(text: str) -> tuple[str, ...]:
    return tuple(_imported(ast.parse(text)))


def _imported(tree: ast.AST) -> Iterator[str]:
    """Yield every dotted name a tree may import: `from a import b` gives both a and a.b."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.expr):
            continue
        elif not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield from _imported(node)


@cache
def file_of(name: str) -> Path | None:
    """Return the file of one of our modules or packages; None for any other name."""
    top, *below = name.split(".")
    if top != PACKAGE:
        return None
    file = _ROOT.joinpath(*below)
    for candidate in (file.with_suffix(".py") if below else file, file / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None
