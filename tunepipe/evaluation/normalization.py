"""Normalizes answers, and finds the content that word metrics cannot see.

The strict scores take an answer as it is. The content scores look through wrappings that people do
not count as errors: a `<think>` block, a code fence, quotes, a label's full stop, case, full-width
forms, thousands separators, and the form of a date.

Texts are cut into tokens by Unicode script: rouge-score keeps only a-z and 0-9, so that a Japanese
answer equal to its reference scores zero. Here a token is a word if the script puts spaces
between words, and one character if it does not (Han, kana, Thai, Lao, Tibetan, Burmese, Khmer).
On ASCII text the tokens are rouge-score's.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

STRICT, CONTENT = "strict", "content"

_THINKING = re.compile(
    r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)|\A.*?</think(?:ing)?>", re.S | re.I
)
_FENCE = re.compile(r"```[\w+-]*[ \t]*\n(.*?)\n?[ \t]*```", re.S)
_PREFIX = re.compile(
    r"\A\W*(?:the\s+)?(?:label|answer|class|category|sentiment|output|result|prediction|ラベル|回答|"
    r"答え|分類)\W*(?:\bis\b|は)?\s*[:：=]\s*",
    re.I,
)
_WRAPPING = " \t\n\"'`*_“”‘’„«»「」『』"
_STOPS = ".。．!！,，;；"
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:[,\u202f\u00a0 ]\d{3})+(?![\d,])")
# Without one there is neither a year nor a thousand.
_LONG_NUMBER = re.compile(r"\d{4}|\d[,\u202f\u00a0 ]\d{3}")
_TEXT_NUMBER = re.compile(r"-?(0|[1-9]\d{0,30})(\.\d{1,30})?")
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec"
_MONTH = (
    "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|"
    "sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?"
)
# Only forms that can be read in one way; 03/04/2026 is left alone.
_DATES = (
    re.compile(r"\b(?P<y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})\b"),
    re.compile(r"(?P<y>\d{4})年(?P<m>\d{1,2})月(?P<d>\d{1,2})日"),
    re.compile(r"\b(?P<d>\d{1,2})\.(?P<m>\d{1,2})\.(?P<y>\d{4})\b"),
    re.compile(rf"\b(?P<d>\d{{1,2}})(?:st|nd|rd|th)?\.? (?P<m>{_MONTH})\.?,? (?P<y>\d{{4}})\b"),
    re.compile(rf"\b(?P<m>{_MONTH})\.? (?P<d>\d{{1,2}})(?:st|nd|rd|th)?,? (?P<y>\d{{4}})\b"),
)


class CharacterTable(dict[int, str]):
    """A table for `str.translate`; each character's entry is computed when it first occurs."""

    def __init__(self, rule: Callable[[str], str]) -> None:
        self._rule = rule

    def __missing__(self, code: int) -> str:
        self[code] = self._rule(chr(code))
        return self[code]


def unwrapped(text: str) -> str:
    """Take an answer out of a `<think>` block and a code fence."""
    text = (_THINKING.sub("", text) if "think" in text.lower() else text).strip()
    if "```" not in text:
        return text
    fences = _FENCE.findall(text)
    return fences[0].strip() if len(fences) == 1 else text


def json_text(text: str) -> str:
    """Return the JSON object in an answer: without a fence or a sentence round it."""
    text = unwrapped(text)
    start, end = text.find("{"), text.rfind("}")
    return text[start : end + 1] if 0 <= start < end else text


def label_text(text: str) -> str:
    """Return the label in an answer: without `Label:`, quotes, bold or a full stop."""
    text = _PREFIX.sub("", unwrapped(text))
    stripped = text.strip(_WRAPPING).rstrip(_STOPS + _WRAPPING)
    return canonical(stripped or text)


def plain_text(text: str) -> str:
    """Return what a text says: unwrapped, without quotes round it or a full stop at its end."""
    text = unwrapped(text)
    return canonical(text.strip(_WRAPPING).rstrip("." + "。．" + _WRAPPING) or text)


def canonical(text: str) -> str:
    """Level width, case, white space, thousands separators and the form of a date."""
    text = normalized(text)
    if not _LONG_NUMBER.search(text):
        return text
    text = _THOUSANDS.sub(lambda match: re.sub(r"\D", "", match[0]), text)
    for form in _DATES:
        text = form.sub(_iso_date, text)
    return text


def _iso_date(match: re.Match[str]) -> str:
    month = int(match["m"]) if match["m"].isdigit() else 1 + _MONTHS.index(match["m"][:3]) // 4
    return f"{match['y']}-{month:02d}-{int(match['d']):02d}"


def canonical_value(value: Any) -> Any:
    """Level a JSON value: texts as `canonical`, "1" and 1.0 as 1, and no order of list or keys."""
    if isinstance(value, str):
        value = canonical(value)
        if _TEXT_NUMBER.fullmatch(value):
            # Not all as floats: long account numbers would be the same one.
            value = float(value) if "." in value else int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: canonical_value(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return sorted(map(canonical_value, value), key=lambda inner: (str(type(inner)), str(inner)))
    return value


_NUMBER = re.compile(r"(?<![\w.,:/])[-+−±]?\s?\d(?:[\d.,:/\u202f]*\d)?")
# Words that follow a number as its unit: not any short word, because "for" and "and" do too.
_UNIT = (
    "[kmcdnµμ]?[mglsv]|[kmµμ]a|[kmgt]?(?:hz|b|bit|w|wh|pa|j|n)|min|hrs?|h|d|t|ha|kcal|cal|bar|rpm|"
    "px|pt|lbs?|oz|ft|mph|usd|eur|gbp|jpy|chf|cny|inr"
)
_AMOUNT = re.compile(
    r"([$€£¥₹₩])\s?(\d[\d.,]*)|(?<![\w])(\d[\d.,]*)\s?"
    rf"(%|‰|°[CF]?|[$€£¥₹₩円元]|(?:{_UNIT})(?![a-z]))",
    re.I,
)
_NEGATION = re.compile(
    r"\b(?:not?|never|none|nothing|nobody|neither|nor|without|cannot|\w+n['’]t|kein\w*|nicht|nie|"
    r"jamais|pas|aucun\w*|sin|nunca|não|нет|не)\b|ない|ません|なし|不可|没有|不是",
    re.I,
)
_SENTENCE_MARKS = "\"'`,.;:?()[]{}-_‘’“”…、。，．・「」『』（）？"


def _only(*categories: str) -> CharacterTable:
    """Keep the characters of some Unicode categories, but the marks of a sentence."""
    return CharacterTable(
        lambda c: c if unicodedata.category(c) in categories and c not in _SENTENCE_MARKS else ""
    )


_SYMBOLS, _EMOJI = _only("Sm", "Sc", "Sk", "Po", "Pd"), _only("So")


def _numbers(text: str) -> Found:
    numbers = (re.sub(r"[\s\u202f]", "", match).lstrip("+") for match in _NUMBER.findall(text))
    # A comma between thousands goes; 3,50 is not 350.
    levelled = (_THOUSANDS.sub(lambda match: match[0].replace(",", ""), each) for each in numbers)
    return tuple(sorted(number.replace("−", "-") for number in levelled))


Found = tuple[str, ...]
# What words alone do not show. Each maps a text to what it holds; equal tuples agree.
CHECKS: Mapping[str, Callable[[str], Found]] = {
    "numbers": _numbers,
    "units": lambda text: tuple(sorted((m[1] or m[4]).casefold() for m in _AMOUNT.finditer(text))),
    "symbols": lambda text: tuple(sorted(text.translate(_SYMBOLS))),
    "emoji": lambda text: () if text.isascii() else tuple(sorted(text.translate(_EMOJI))),
    # How often, not by which word: "cannot" and "can not" say the same.
    "negations": lambda text: ("negation",) * len(_NEGATION.findall(text)),
}


# Blocks of the scripts that are written without spaces, and the iteration and number signs that
# belong to them; their punctuation is outside. Unicode 15, Blocks.txt.
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


def _cut(character: str) -> str:
    if _UNSPACED.match(character):
        return f" {character} "
    if _VARIATION_SELECTORS.match(character):
        return ""
    category = unicodedata.category(character)
    # Letters, numbers and marks make words; a mark is no letter for Python, yet Hindi and Arabic
    # words would fall apart without it. Joiners occur inside words and mean nothing.
    if category[0] in "LNM":
        return character
    return "" if category == "Cf" and character != _ZERO_WIDTH_SPACE else " "


_SPACES = CharacterTable(lambda c: f" {c} " if _UNSPACED.match(c) else c)
_TOKENS = CharacterTable(_cut)


def normalized(text: str) -> str:
    """Level what people do not see as a difference: width and form (NFKC), case, white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def tokens(text: str) -> list[str]:
    """Cut a text into lower-case tokens by script; punctuation and symbols are dropped."""
    return unicodedata.normalize("NFKC", text).casefold().translate(_TOKENS).split()


def spaced(text: str) -> str:
    """Put spaces round each character of the scripts that are written without them."""
    return text if text.isascii() else text.translate(_SPACES)
