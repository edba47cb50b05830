"""Texts and numbers as people read them, on every page and in every summary."""

from __future__ import annotations

from collections.abc import Iterable

# Controls except tab and newline, lone surrogates and non-characters: a page cannot hold them.
_SHOWN = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"}
_SHOWN |= dict.fromkeys([*range(0x80, 0xA0), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF], 0xFFFD)
_SHOWN[0x7F] = 0x2421
MISSING = "–"
_NARROW_SPACE = "\u202f"
_MINUS = "\u2212"


def clean(text: str) -> str:
    """Show control characters as their pictures (␀) and what no page can hold as U+FFFD."""
    return text.replace("\r\n", "\n").translate(_SHOWN)


def known(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the pairs whose text says something."""
    return [(label, text) for label, text in pairs if text and not text.startswith(MISSING)]


def clip(text: str, limit: int) -> tuple[str, int]:
    """Cut a text to at most `limit` characters; return with it how many were left out."""
    return text[:limit], max(0, len(text) - limit)


def brief(text: str, limit: int = 300) -> str:
    """Cut a text that should be short, with an ellipsis if it was cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def score(value: float | None) -> str:
    """Write a score of 0..1 out of 100: 0.8421 is "84.2"."""
    return MISSING if value is None else _signed(f"{100 * value:.1f}")


def points(value: float | None) -> str:
    """Write a difference of scores in points of 100, always with its sign: "+3.1".

    What would round to 0.0 has one digit more, "+0.04": next to a verdict the sign counts.
    """
    if value is None:
        return MISSING
    if 5e-5 <= abs(value) < 5e-4:
        return _signed(f"{100 * value:+.2f}")
    return _signed(f"{100 * value:+z.1f}".replace("+0.0", "0.0"))


def percent(share: float) -> str:
    """Write a share as a percentage with as many digits as it needs: "95 %", "99.2 %"."""
    return f"{100 * share:.4g} %"


def between(low: float | None, high: float | None, *, signed: bool = False) -> str:
    """Write an interval, "80.1–87.9" or signed "+1.2 to +3.4"; empty where an end is missing."""
    if low is None or high is None:
        return ""
    return f"{points(low)} to {points(high)}" if signed else f"{score(low)}–{score(high)}"


def count(value: float | None, digits: int = 3) -> str:
    """Write a number with its thousands apart; a fraction keeps up to three digits."""
    if value is None:
        return MISSING
    whole = value == int(value) or abs(value) >= 10**digits - 0.5
    text = f"{value:,.0f}" if whole else f"{value:.{digits}g}"
    return _signed(text.replace(",", _NARROW_SPACE))


def money(value: float | None) -> str:
    """Write US dollars: "$1.20", and "less than $0.01" rather than a cent rounded away."""
    if value is None:
        return MISSING
    return "less than $0.01" if 0 < value < 0.01 else f"${value:,.2f}"


def duration(seconds: float | None) -> str:
    """Write a time in the two units that matter: "2 h 05 min", "1 min 20 s", "0.4 s"."""
    if seconds is None or seconds < 0:
        return MISSING
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def p_value(value: float | None) -> str:
    """Write a p-value as papers do: "p = 0.031", "p < 0.001"."""
    if value is None:
        return ""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def plural(number: float | None, noun: str, nouns: str = "") -> str:
    """Write a count with its noun: "1 row", "97 rows"."""
    return f"{count(number)} {noun if number == 1 else nouns or noun + 's'}"


def _signed(text: str) -> str:
    return text.replace("-", _MINUS)
