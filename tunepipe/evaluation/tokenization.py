"""Texts as metrics see them: normalised, and cut into tokens by Unicode script.

rouge-score keeps only a-z and 0-9, so that a Japanese answer equal to its reference scores nought.
Here a token is a word where the script puts spaces between words, and one character where it does
not (Han, kana, Thai, Lao, Tibetan, Burmese, Khmer). On ASCII text the tokens are rouge-score's.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

# Blocks of the scripts that are written without spaces, and the iteration and number signs that
# belong to them; their punctuation lies outside. Unicode 15, Blocks.txt.
_UNSPACED = re.compile(
    "["
    "\u0e01-\u0e3a\u0e40-\u0e4e"  # Thai
    "\u0e81-\u0ece\u0edc-\u0edf"  # Lao
    "\u0f40-\u0fbc"  # Tibetan
    "\u1000-\u103f\u1050-\u108f\u109a-\u109f\ua9e0-\ua9ef\uaa60-\uaa7f"  # Burmese
    "\u1780-\u17d3"  # Khmer
    "\u3005-\u3007\u3021-\u3029\u3038-\u303b"  # Han signs
    "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U000323af"
    "]"
)
_VARIATION_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_ZERO_WIDTH_SPACE = "\u200b"


class _Table(dict[int, str]):
    """What `str.translate` puts for a character, worked out when the character first comes."""

    def __init__(self, rule: Callable[[str], str]) -> None:
        self._rule = rule

    def __missing__(self, code: int) -> str:
        self[code] = self._rule(chr(code))
        return self[code]


def _space(character: str) -> str:
    return f" {character} " if _UNSPACED.match(character) else character


def _cut(character: str) -> str:
    if _UNSPACED.match(character):
        return f" {character} "
    if _VARIATION_SELECTORS.match(character):
        return ""
    category = unicodedata.category(character)
    # Letters, numbers and marks make words; a mark is no letter for Python, yet Hindi and Arabic
    # words would fall apart without it. Joiners stand inside words and say nothing.
    if category[0] in "LNM":
        return character
    return "" if category == "Cf" and character != _ZERO_WIDTH_SPACE else " "


_SPACES, _TOKENS = _Table(_space), _Table(_cut)


def normalized(text: str) -> str:
    """Level what people do not see as a difference: width and form (NFKC), case, white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def tokens(text: str) -> list[str]:
    """Cut a text into lower-case tokens by script; punctuation and symbols are dropped."""
    return unicodedata.normalize("NFKC", text).casefold().translate(_TOKENS).split()


def spaced(text: str) -> str:
    """Put spaces round each character of the scripts that are written without them."""
    return text if text.isascii() else text.translate(_SPACES)
