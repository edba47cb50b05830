"""Word-level differences between two texts, in any script.

Words are cut where the Unicode script changes, so that Japanese, which writes no spaces, gets
words too: a run of kana or of Latin letters is one word, and so is each Han character.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Literal, NamedTuple

Change = Literal["same", "added", "removed"]

# Above this a line-up of words costs more than a reader gains.
_MAX_WORDS = 2000
_JOINER = "\u200d"
# The same words, where every character is ASCII, at ten times the speed.
_ASCII = re.compile(r"[A-Za-z]+|[0-9]+|\s+|[^A-Za-z0-9\s]")


class Piece(NamedTuple):
    """A stretch of text that both have, that was added, or that was removed."""

    kind: Change
    text: str


def words(text: str) -> list[str]:
    """Cut a text into words, spaces and single signs; joined again they give the text."""
    if text.isascii():
        return _ASCII.findall(text)
    parts: list[str] = []
    last = ""
    for character in text:
        script = _script(character)
        joined = script == "mark" or (parts and parts[-1].endswith(_JOINER))
        if parts and (joined or (script == last and script not in ("sign", "han"))):
            parts[-1] += character
        else:
            parts.append(character)
            last = script
    return parts


@lru_cache(maxsize=8192)
def _script(character: str) -> str:
    category = unicodedata.category(character)
    if category[0] == "M" or character == _JOINER:
        return "mark"
    if character.isspace():
        return "space"
    if category[0] not in "LN":
        return "sign"
    if category[0] == "N":
        return "number"
    # The first word of a character's name is its script; U+30FC and its kin are kana's own.
    first = unicodedata.name(character, "OTHER").split()[0].partition("-")[0]
    return "han" if first == "CJK" else first.lower()


def diff(old: str, new: str) -> list[Piece]:
    """Return the pieces that turn `old` into `new`, word by word.

    Words are lined up along their longest common subsequence. Texts of more than 2,000 words,
    or with fewer than a third of their words in common, come back as one removal and one
    addition: marks all over would say less than the two texts. Neighbours differ in kind, and no
    piece is empty.
    """
    if old == new:
        return [Piece("same", old)] if old else []
    before, after = words(old), words(new)
    if max(len(before), len(after)) > _MAX_WORDS:
        return _whole(old, new)
    pieces = _lined_up(before, after)
    shared = sum(len(piece.text) for piece in pieces if piece.kind == "same")
    return pieces if 3 * shared >= max(len(old), len(new)) else _whole(old, new)


def _lined_up(before: list[str], after: list[str]) -> list[Piece]:
    """Draw a lone space between two changes into both, and order removals before additions."""
    from rapidfuzz.distance import LCSseq

    pieces: list[Piece] = []
    removed = added = ""
    steps = list(LCSseq.opcodes(before, after))
    for number, step in enumerate(steps, start=1):
        old = "".join(before[step.src_start : step.src_end])
        new = "".join(after[step.dest_start : step.dest_end])
        lone_space = removed and added and new.isspace() and number < len(steps)
        if step.tag != "equal" or lone_space:
            removed, added = removed + old, added + new
        else:
            pieces += [*_whole(removed, added), Piece("same", new)]
            removed = added = ""
    return pieces + _whole(removed, added)


def _whole(old: str, new: str) -> list[Piece]:
    return [piece for piece in (Piece("removed", old), Piece("added", new)) if piece.text]
