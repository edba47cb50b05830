"""The one decorator: it turns a short function into a component that carries its code along."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tunepipe.packaging.thin import is_running


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
