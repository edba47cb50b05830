"""Checking a run's parameters against what its pipeline declares, before anything is sent."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, NamedTuple

from tunepipe.core.errors import UsageError

_KINDS: dict[str, tuple[type, ...]] = {
    "String": (str,),
    "Integer": (int,),
    "Float": (int, float),
    "Boolean": (bool,),
    "Dict": (dict,),
    "List": (list,),
}
_WORDS = {
    "String": "a text",
    "Integer": "a whole number",
    "Float": "a number",
    "Boolean": "true or false",
    "Dict": "a JSON object",
    "List": "a JSON array",
}


class Declared(NamedTuple):
    """One parameter of a pipeline: its kind, such as "Integer", and whether it must be given."""

    kind: str
    required: bool


def declared(backend: str) -> dict[str, Declared]:
    """Return the parameters of a backend's pipeline, by name."""
    from tunepipe.pipelines.tuning import build_tuning_pipeline

    inputs = build_tuning_pipeline(backend).component_spec.inputs
    return {name: Declared(one.type, not one.optional) for name, one in inputs.items()}


def checked(given: Mapping[str, Any], known: Mapping[str, Declared]) -> dict[str, Any]:
    """Check names and types.

    Args:
        given: The parameters; 0 and "" are values like any other, and not the same as absent.
        known: What the pipeline declares.

    Returns:
        The parameters, whole numbers as floats where the pipeline wants a float.

    Raises:
        UsageError: A name that the pipeline does not have, a value of another type, or a
            parameter that is missing.
    """
    for name, one in known.items():
        if one.required and name not in given:
            raise UsageError("is missing", where=name, fix=f"--param {name}=…")
    return {name: _typed(name, value, known) for name, value in given.items()}


def _typed(name: str, value: Any, known: Mapping[str, Declared]) -> Any:
    if name not in known:
        near = difflib.get_close_matches(name, list(known), n=1)
        hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(known)}"
        raise UsageError("the pipeline has no such parameter", where=name, fix=hint)
    kind = known[name].kind
    wanted: Any = _KINDS[kind]
    # To Python true is a number; to a pipeline it is not.
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        raise UsageError(f"must be {_WORDS[kind]}", where=name)
    return float(value) if kind == "Float" else value
