"""Ports that several components share, declared once in the signature of a function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

_Function = Callable[..., Any]


def with_ports(*families: _Function) -> Callable[[_Function], _Function]:
    """Give a component's function the ports of its families in place of its `**ports`.

    kfp and its executor read ports from a signature and from annotations, and leave inputs without
    a value out of the call; here those get their defaults. Of the families, functions of
    `tunepipe.components.families`, only the signatures count.
    """

    def decorate(function: _Function) -> _Function:
        own = inspect.signature(function)
        signatures = [*map(inspect.signature, families), own]
        parameters: dict[str, inspect.Parameter] = {}
        for signature in signatures:
            parameters |= signature.parameters
        del parameters["ports"]
        returns = [each.return_annotation for each in signatures]
        whole = inspect.Signature(
            [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters.values()],
            return_annotation=next((each for each in returns if each is not own.empty), own.empty),
        )

        @wraps(function)
        def call(**values: Any) -> Any:
            bound = whole.bind(**values)
            bound.apply_defaults()
            return function(**bound.arguments)

        call.__annotations__ = {name: each.annotation for name, each in parameters.items()}
        vars(call).update(__signature__=whole, families=families)
        return call

    return decorate
