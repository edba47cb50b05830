"""What can be wrong with one text of a row."""

from __future__ import annotations

from collections.abc import Iterator

from tunepipe.validation.characters import CONTROL, INVISIBLE, REPLACEMENT, SURROGATE
from tunepipe.validation.problems import Finding


def text_findings(text: str, field: str, may_be_empty: bool = False) -> Iterator[Finding]:
    """Yield one finding for each kind of fault, with the number of its characters.

    Args:
        text: The decoded text.
        field: Its path in the row.
        may_be_empty: Whether the field may stand there without words.
    """
    if not text.strip() and not may_be_empty:
        what = "only of spaces" if text else "empty"
        yield Finding("empty-text", f"the text is {what}", field)
    if text.isascii() and text.isprintable():
        return
    if found := CONTROL.findall(text):
        yield Finding("control-character", _named(found, "a control character"), field)
    if found := SURROGATE.findall(text):
        yield Finding("lone-surrogate", _named(found, "half of a surrogate pair"), field)
    if found := INVISIBLE.findall(text):
        yield Finding("invisible-character", _named(found, "an invisible character"), field)
    if REPLACEMENT in text:
        found = [REPLACEMENT] * text.count(REPLACEMENT)
        yield Finding("replacement-character", _named(found, "a replacement character"), field)


def _named(found: list[str], what: str) -> str:
    kinds = list(dict.fromkeys(f"U+{ord(character):04X}" for character in found))
    times = f", {len(found)} times" if len(found) > 1 else ""
    more = ", ..." if len(kinds) > 3 else ""
    return f"{what}{times}: {', '.join(kinds[:3])}{more}"
