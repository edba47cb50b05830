"""The package's components as steps of its own pipelines, which carry no code."""

from collections.abc import Callable
from functools import cache
from typing import Any

from tunepipe import components
from tunepipe.packaging.thin import thin


class Steps:
    """The components as steps that carry no code: `step.validate_jsonl(...)`."""

    def __init__(self, code: Any) -> None:
        self._code = code

    def __getattr__(self, name: str) -> Callable[..., Any]:
        component = thin_component(name)
        return lambda **inputs: component(code=self._code, **inputs)


@cache
def thin_component(name: str) -> Any:
    """Return a component of the package as one that carries no code."""
    component = getattr(components, name)
    return component if "code" in component.component_spec.inputs else thin(component.python_func)
