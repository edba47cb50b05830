"""Components that carry no code: their parameter `code` names it, and the step installs that.

A pipeline of many steps is stored several times over by its host, so that what each step carries
counts; see docs/deploying.md for the ways to name the code.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from tunepipe.packaging.imports import modules_of, third_party_of
from tunepipe.packaging.requirements import BASE_IMAGE, KFP, requirements

_CODE = (
    "What the step installs first: a wheel's URL with its hash, a requirement, a wheelhouse's "
    "folder; empty where the image has tunepipe."
)
CODE_PLACEHOLDER = "{{$.inputs.parameters['code']}}"
_SCRIPT = Path(__file__).with_name("thin_step.sh")


def thin(function: Callable[..., Any], *, described: bool = False) -> Any:
    """Make a KFP component of a function of `tunepipe.components` that does not carry its code.

    Args:
        function: The body; the step imports it from the installed package.
        described: Whether the ports keep their descriptions, which a host stores several times
            for each step of a pipeline.

    Returns:
        The component, with the ports of the function and `code`.
    """
    if is_running():
        return function
    from kfp import dsl
    from kfp.dsl.python_component import PythonComponent
    from kfp.dsl.structures import InputSpec

    component = dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)(function)
    spec = copy.copy(component.component_spec)
    spec.inputs = {
        **(spec.inputs or {}),
        "code": InputSpec("String", default="", optional=True, description=_CODE),
    }
    if not described:
        spec.description = None
        for port in (*spec.inputs.values(), *(spec.outputs or {}).values()):
            port.description = None
    packages = [KFP, *requirements(third_party_of(modules_of(function)))]
    container = spec.implementation.container
    container.command = ["sh", "-ec", _script()]
    container.args = [
        CODE_PLACEHOLDER,
        "{{$}}",
        function.__module__.rpartition(".")[2],
        function.__name__,
        " ".join(packages),
    ]
    return PythonComponent(component_spec=spec, python_func=function)


def is_running() -> bool:
    """Return True inside a step: kfp then loads the function itself."""
    return os.environ.get("_KFP_RUNTIME") == "true"


@cache
def _script() -> str:
    return _SCRIPT.read_text(encoding="utf-8")
