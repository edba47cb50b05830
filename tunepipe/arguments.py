"""Checks of numbers that a user gave, including NaN, which no comparison refuses."""

from __future__ import annotations

import math
from collections.abc import Collection
from numbers import Integral
from typing import Any

from tunepipe.errors import UsageError

# numpy takes no seed below 0, and a parameter of a pipeline travels as a float of 53 bits.
SEED_MAX = 2**32 - 1
A_SHARE = "a number from 0 to 1; 5 % is 0.05"


def check_margin(value: Any) -> None:
    """Refuse a largest acceptable loss that is not a share: 5 would let any loss pass."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= 1:
        raise UsageError(f"{value!r} is out of range", where="margin", fix=A_SHARE)


def check_whole(value: Any, name: str, most: float = math.inf) -> None:
    """Refuse an argument that is not a whole number from 0 to `most`."""
    if not isinstance(value, Integral) or not 0 <= int(value) <= most:
        fix = "a whole number, 0 or more" if most == math.inf else f"a whole number, 0 to {most:,}"
        raise UsageError(f"{value!r} is out of range", where=name, fix=fix)


def check_fraction(value: Any) -> None:
    """Refuse a share of rows that leaves one side empty."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
        raise UsageError(
            f"must be between 0 and 1 (exclusive), got {value!r}",
            where="eval_fraction",
            fix="pass a fraction above 0 and below 1",
        )


def nearest(name: str, known: Collection[str]) -> str:
    """Return the known name that is most like a name; "" if none is."""
    import difflib

    return next(iter(difflib.get_close_matches(name, sorted(known), n=1)), "")


def hint(name: str, known: Collection[str]) -> str:
    """Return "did you mean NAME?", or "one of NAME, NAME" if no known name is near."""
    near = nearest(name, known)
    return f"did you mean {near}?" if near else f"one of {', '.join(sorted(known))}"
