"""List filters as pipelineJobs.list takes them: comparisons joined by AND."""

from __future__ import annotations

import re
from typing import Any

from google.api_core import exceptions

_TERM = re.compile(
    r"""([A-Za-z_.\-0-9]+)\s*(=|!=|>=|<=|>|<|:)\s*("(?:[^"\\]|\\.)*"|[^\s"=<>]+)\Z"""
)
_FIELDS = ("state", "display_name", "pipeline_name", "create_time", "template_uri", "name")


def matches(message: Any, expression: str) -> bool:
    """Say whether a resource passes the filter; 400 for one that cannot be read."""
    terms = [term.strip() for term in re.split(r"\s+AND\s+", expression.strip()) if term.strip()]
    return all(_holds(message, term) for term in terms)


def _holds(message: Any, term: str) -> bool:
    match = _TERM.match(term)
    if not match:
        raise exceptions.InvalidArgument(f"Invalid filter: {term}")
    name, operator, text = match.groups()
    wanted = text.strip('"')
    found = _value(message, name)
    if operator == ":":
        return found is not None if wanted == "*" else found is not None and wanted in found
    if found is None:
        return operator == "!="
    return bool(
        {
            "=": found == wanted or _wild(wanted, found),
            "!=": found != wanted,
            ">": found > wanted,
            "<": found < wanted,
            ">=": found >= wanted,
            "<=": found <= wanted,
        }[operator]
    )


def _wild(pattern: str, text: str) -> bool:
    expression = re.escape(pattern).replace(r"\*", ".*")
    return "*" in pattern and re.fullmatch(expression, text) is not None


def _value(message: Any, name: str) -> str | None:
    if name.startswith("labels."):
        return dict(message.labels).get(name.removeprefix("labels."))
    if name not in _FIELDS:
        raise exceptions.InvalidArgument(f"Invalid filter field: {name}")
    if name == "pipeline_name":
        return str(message.pipeline_spec["pipelineInfo"]["name"])
    value = getattr(message, name)
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    return str(getattr(value, "name", value))
