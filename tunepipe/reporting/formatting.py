"""Texts and numbers as people read them, on every page and in every summary."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

# Controls except tab and newline, lone surrogates and non-characters: a page cannot hold them.
_UNSHOWABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
MISSING = "–"
_NARROW_SPACE = "\u202f"
_MINUS = "\u2212"


def clean(text: str) -> str:
    """Show control characters as their pictures (␀) and what no page can hold as U+FFFD."""
    return _UNSHOWABLE.sub(_picture, text.replace("\r\n", "\n"))


def _picture(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code > 0x7F:
        return "\ufffd"
    return "\u2421" if code == 0x7F else chr(0x2400 + code)


def clip(text: str, limit: int) -> tuple[str, int]:
    """Cut a text for the page.

    Returns:
        The text, at most `limit` characters long, and how many characters were left out.
    """
    return text[:limit], max(0, len(text) - limit)


def brief(text: str, limit: int = 300) -> str:
    """Cut a text that should be short, with an ellipsis if it was cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def finite(value: Any) -> float | None:
    """Return a finite number as a float, and None for anything else (null, NaN, a text, true)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def part(mapping: Any, key: str) -> Mapping[str, Any]:
    """Return a mapping's mapping, empty if it is missing, null or of another kind."""
    value = mapping.get(key) if isinstance(mapping, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def items(mapping: Any, key: str) -> list[Any]:
    """Return a mapping's list, empty if it is missing, null or of another kind."""
    value = mapping.get(key) if isinstance(mapping, Mapping) else None
    return list(value) if isinstance(value, (list, tuple)) else []


def score(value: Any) -> str:
    """Write a score of 0..1 out of 100: 0.8421 is "84.2"."""
    number = finite(value)
    return MISSING if number is None else _signed(f"{100 * number:.1f}")


def points(value: Any) -> str:
    """Write a difference of scores in points of 100, always with its sign: "+3.1"."""
    number = finite(value)
    return MISSING if number is None else _signed(f"{100 * number:+z.1f}".replace("+0.0", "0.0"))


def percent(share: float) -> str:
    """Write a share as a percentage with as many digits as it needs: "95 %", "99.2 %"."""
    return f"{100 * share:.4g} %"


def between(low: Any, high: Any, *, signed: bool = False) -> str:
    """Write an interval, "80.1–87.9" or signed "+1.2 to +3.4"; empty where an end is missing."""
    if finite(low) is None or finite(high) is None:
        return ""
    return f"{points(low)} to {points(high)}" if signed else f"{score(low)}–{score(high)}"


def count(value: Any) -> str:
    """Write a number with its thousands apart; a fraction keeps up to three digits."""
    number = finite(value)
    if number is None:
        return MISSING
    whole = number == int(number) or abs(number) >= 999.5
    text = f"{number:,.0f}" if whole else f"{number:.3g}"
    return _signed(text.replace(",", _NARROW_SPACE))


def money(value: Any) -> str:
    """Write US dollars: "$1.20", and "less than $0.01" rather than a cent rounded away."""
    number = finite(value)
    if number is None:
        return MISSING
    return "less than $0.01" if 0 < number < 0.01 else f"${number:,.2f}"


def duration(seconds: Any) -> str:
    """Write a time in the two units that matter: "2 h 05 min", "1 min 20 s", "0.4 s"."""
    number = finite(seconds)
    if number is None or number < 0:
        return MISSING
    if number < 10:
        return f"{number:.1f} s"
    whole = round(number)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def p_value(value: Any) -> str:
    """Write a p-value as papers do: "p = 0.031", "p < 0.001"."""
    number = finite(value)
    if number is None:
        return ""
    return "p < 0.001" if number < 0.001 else f"p = {number:.3f}"


def plural(number: Any, noun: str, nouns: str = "") -> str:
    """Write a count with its noun: "1 row", "97 rows"."""
    return f"{count(number)} {noun if finite(number) == 1 else nouns or noun + 's'}"


def _signed(text: str) -> str:
    return text.replace("-", _MINUS)
