"""How a short function becomes a component: one that carries its code along, or a thin one.

A thin component's parameter `code` names the code, and the step installs that: a pipeline of many
steps is stored several times over by its host, so that what each step carries counts. See
docs/deploying.md for the ways to name the code.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from typing import Any

from tunepipe.packaging.ports import describe_ports
from tunepipe.packaging.requirements import BASE_IMAGE

_CODE = (
    "What the step installs first: a wheel's URL with its hash, a requirement, a wheelhouse's "
    "folder; empty where the image has tunepipe."
)
CODE_PLACEHOLDER = "{{$.inputs.parameters['code']}}"
# kfp fills this input in by itself.
_FINAL_STATUS = "PipelineTaskFinalStatus"
_SCRIPT = Path(__file__).with_name("thin_step.sh")


def component(function: Callable[..., Any]) -> Any:
    """Make a KFP component whose step brings the modules that its body imports.

    Args:
        function: The body, under fifteen lines; everything worth testing is in the package and
            the backends, and is imported inside.

    Returns:
        The kfp component; `.python_func` is the function itself. In a step it is the function:
        there kfp has only its types.
    """
    if is_running():
        return function
    from tunepipe.packaging.carrying import CarryingComponent

    return CarryingComponent(function)


def thin(
    function: Callable[..., Any],
    *,
    described: bool = False,
    only: Collection[str] | None = None,
) -> Any:
    """Make a KFP component of a function of `tunepipe.components` that does not carry its code.

    Args:
        function: The body; the step imports it from the installed package.
        described: Whether the ports keep their descriptions, which a host stores several times
            for each step of a pipeline.
        only: The inputs that a pipeline passes: the others are left out, for the same reason, and
            these are required. None takes all, as the function has them.
    """
    if is_running():
        return function
    from kfp import dsl
    from kfp.dsl.python_component import PythonComponent
    from kfp.dsl.structures import InputSpec

    component = dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)(function)
    spec = copy.deepcopy(component.component_spec)
    code = InputSpec("String", default="", optional=True, description=_CODE)
    spec.inputs = {**(spec.inputs or {}), "code": code}
    if only is not None:
        spec.inputs = {
            name: port
            if port.type == _FINAL_STATUS
            else InputSpec(port.type, is_artifact_list=port.is_artifact_list)
            for name, port in spec.inputs.items()
            if name in only or port.type == _FINAL_STATUS
        }
    if described:
        describe_ports(spec)
    else:
        spec.description = None
        for port in (*spec.inputs.values(), *(spec.outputs or {}).values()):
            port.description = None
    container = spec.implementation.container
    container.command = ["sh", "-ec", _script()]
    module = function.__module__.rpartition(".")[2]
    container.args = [CODE_PLACEHOLDER, "{{$}}", module, function.__name__]
    return PythonComponent(component_spec=spec, python_func=function)


def is_running() -> bool:
    """Return True inside a step: kfp then loads the function itself."""
    return os.environ.get("_KFP_RUNTIME") == "true"


@cache
def _script() -> str:
    """Return the shell's part of a step without comments and indentation: a host keeps copies."""
    lines = map(str.strip, _SCRIPT.read_text(encoding="utf-8").splitlines())
    return "\n".join(line for line in lines if not line.startswith("#"))
