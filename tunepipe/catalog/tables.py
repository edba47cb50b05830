"""The package's data files, read as they are.

Every table names its sources and the day it was read. A user's override is a mapping of the same
shape, laid over ours key by key: a price that changed is one line, not a copy.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from functools import cache
from typing import Any

Table = dict[str, Any]

_ROOT = os.path.dirname(os.path.dirname(__file__))


@cache
def _read(file: str) -> Table:
    # Not by importlib.resources, whose import takes longer than the table.
    with open(os.path.join(_ROOT, file), "rb") as table:
        return tomllib.load(table)


def load(file: str) -> Table:
    """Read a table by its path inside the package, such as catalog/prices.toml.

    Write the path as a literal: the packaging of components finds data files by these literals.
    The mapping is fresh; changing it changes nothing else.
    """
    return merged(_read(file), {})


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> Table:
    """Lay one nested mapping over another; where both hold a mapping, go deeper."""
    result = {
        key: merged(value, {}) if isinstance(value, Mapping) else value
        for key, value in base.items()
    }
    for key, value in over.items():
        below = result.get(key)
        both = isinstance(below, dict) and isinstance(value, Mapping)
        result[key] = merged(below or {}, value) if both else value
    return result
