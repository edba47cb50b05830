"""Components that carry their code along.

kfp's `embedded_artifact_path` brings the mechanism. This module adds: only the modules that
the body imports go in, without their docstrings; the archive has the same bytes whenever and
wherever it is made (kfp's own holds the clock and the user's name, which loses the execution cache
at every compile); and a component too large for one argument of a Linux process is refused when it
is compiled.
"""

from __future__ import annotations

import base64
import inspect
import re
import tempfile
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from kfp import dsl
from kfp.dsl.python_component import PythonComponent

from tunepipe.errors import LimitError
from tunepipe.packaging.archive import archive, without_comments, without_docstrings
from tunepipe.packaging.imports import PACKAGE, data_files_of, file_of, modules_of, third_party_of
from tunepipe.packaging.ports import describe_ports
from tunepipe.packaging.requirements import BASE_IMAGE, requirements

# Linux stops at 131,071 bytes for one argument (MAX_ARG_STRLEN); the rest is room.
MAX_ARGUMENT_BYTES = 112 * 1024
# What declares the shared ports of a component, and reads them when the step runs.
_FAMILIES = (f"{PACKAGE}.components.families", f"{PACKAGE}.packaging.families")


class CarryingComponent(PythonComponent):  # type: ignore[misc]
    """A component that packs its code when it is first used: that takes a while.

    Raises:
        LimitError: The component would not fit into one argument of a process.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(dsl.component(base_image=BASE_IMAGE)(function).component_spec, function)
        del self.component_spec  # had without the code

    @cached_property
    def component_spec(self) -> Any:
        """The ports, and the container whose command holds the code."""
        return _with_code(self.python_func)


def _with_code(function: Callable[..., Any]) -> Any:
    modules = modules_of(inspect.getsource(function), function.__name__)
    third_party = third_party_of(modules)
    if hasattr(function, "families"):
        modules |= {name: file for name in _FAMILIES if (file := file_of(name))}
    with tempfile.TemporaryDirectory() as empty_folder:
        component = dsl.component(
            base_image=BASE_IMAGE,
            packages_to_install=requirements(third_party),
            embedded_artifact_path=empty_folder,
        )(function)
    describe_ports(component.component_spec)
    command = component.component_spec.implementation.container.command
    source = command[-1]
    if families := getattr(function, "families", ()):
        source = _with_families(source, function.__name__, [family.__name__ for family in families])
    # Our archive in the place of kfp's own, read as what it is.
    packed = base64.b64encode(archive(_contents(modules))).decode("ascii")
    name = "__KFP_EMBEDDED_ARCHIVE_B64"
    source = _replaced(source, f"{name} = '[^']*'", f"{name} = '{packed}'")
    command[-1] = _replaced(source, "mode='r:gz'", "mode='r:xz'")
    # SIGTERM reaches the step itself where kfp's shells give way to it.
    shells = _replaced("\0".join(command[:-1]), r'&& "\$0" "\$@"', '&& exec "$0" "$@"')
    start = "_KFP_RUNTIME=true python3 -m"
    command[:-1] = _replaced(shells, start, f"exec env {start}").split("\0")
    if (size := len(command[-1].encode())) > MAX_ARGUMENT_BYTES:
        raise LimitError(
            f"the compiled step takes {size:,} bytes, over the {MAX_ARGUMENT_BYTES:,} of one"
            " argument",
            where=component.name,
            fix="import fewer modules in its body, or split a module in two",
        )
    return component.component_spec


def _replaced(text: str, pattern: str, replacement: str) -> str:
    text, count = re.subn(pattern, lambda match: replacement, text)
    if count != 1:
        raise RuntimeError("this kfp starts a step in another way; take the version in constraints")
    return text


def _with_families(source: str, name: str, families: list[str]) -> str:
    ports, decorator = _FAMILIES
    head, definition, body = source.partition(f"def {name}(")
    imports = f"from {ports} import {', '.join(families)}\nfrom {decorator} import with_ports\n"
    return f"{head}{imports}\n@with_ports({', '.join(families)})\n{definition}{body}"


def _contents(modules: Mapping[str, Path]) -> dict[str, bytes]:
    files = {
        name.replace(".", "/") + ("/__init__.py" if path.name == "__init__.py" else ".py"): path
        for name, path in modules.items()
    }
    code = {
        name: without_docstrings(path.read_text(encoding="utf-8")).encode()
        for name, path in files.items()
    }
    # A step needs the package and not its public API, whose version would lose every cache.
    for package in ("", "components/", "packaging/"):
        if any(name.startswith(f"{PACKAGE}/{package}") for name in code):
            code[f"{PACKAGE}/{package}__init__.py"] = b""
    for name, path in data_files_of(modules).items():
        text = path.read_text(encoding="utf-8")
        code[name] = (without_comments(text) if name.endswith(".toml") else text).encode()
    return code
