"""One self-contained HTML page: no outside script, style, font or image.

The page carries a policy that lets its own style and script run, by their hashes, and nothing
else. A viewer that frames the page and switches scripts off shows the same content.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from tunepipe.reporting.formatting import brief, clean, count, p_value, percent, points, score

if TYPE_CHECKING:
    from jinja2 import Environment

# The head of a table (empty for none), and its rows of cells.
Table = tuple[Sequence[str], Sequence[Sequence[str]]]
# What every page uses besides its own template and page.css. Named here so that a component
# carries it.
SHARED = ("page.html.j2", "macros.html.j2")


def render(template: str, **view: Any) -> str:
    """Fill a template of this folder; every value is escaped unless it is Markup.

    Write the file's name as a literal: packaging finds a module's files by these literals. A name
    that the template uses and does not get is an error. The page is valid UTF-8 whatever the values
    hold.
    """
    return fill(template, style=_source("page.css"), **view)


def fill(template: str, **view: Any) -> str:
    """Fill a template that is not a whole page; see `render`."""
    text = _environment().get_template(template).render(**view)
    return text.encode("utf-8", "replace").decode("utf-8")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for filter in (brief, count, p_value, percent, points, score, _digest, _digit):
        environment.filters[filter.__name__.lstrip("_")] = filter
    return environment


def _shown(value: Any) -> Any:
    if value is None:
        return ""
    return clean(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _source(file: str) -> str:
    return resources.files(__package__).joinpath("templates", file).read_text(encoding="utf-8")


def _digit(number: float) -> str:
    """Write a place on a chart with one digit, and without one where it is whole."""
    return f"{number:.1f}".removesuffix(".0")


def result_html(
    title: str, verdict: str = "", tables: Sequence[Table] = (), notes: Sequence[str] = ()
) -> str:
    """Show a result in a notebook: title, verdict, tables that have rows, and notes."""
    return fill("result.html.j2", title=title, verdict=verdict, tables=tables, notes=notes)


def _digest(text: str) -> str:
    """Return an inline block's hash as a content security policy wants it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(str(text).encode()).digest()).decode()
