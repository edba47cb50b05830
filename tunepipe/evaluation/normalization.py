"""What an answer says, apart from how it is wrapped; and what word metrics cannot see in it.

The strict scores take an answer as it is. The content scores look through wrappings that people do
not count as errors: a `<think>` block, a code fence, quotes, a label's full stop, case, full-width
forms, thousands separators, and the form of a date.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from tunepipe.evaluation.tokenization import normalized

STRICT, CONTENT = "strict", "content"
NORMALIZATIONS = (STRICT, CONTENT)

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
_MONTHS = {
    name: number
    for number, names in enumerate(
        [
            "jan january",
            "feb february",
            "mar march",
            "apr april",
            "may",
            "jun june",
            "jul july",
            "aug august",
            "sep sept september",
            "oct october",
            "nov november",
            "dec december",
        ],
        start=1,
    )
    for name in names.split()
}
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
# Only forms that can be read in one way; 03/04/2026 is left alone.
_DATES = (
    re.compile(r"\b(?P<y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})\b"),
    re.compile(r"(?P<y>\d{4})年(?P<m>\d{1,2})月(?P<d>\d{1,2})日"),
    re.compile(r"\b(?P<d>\d{1,2})\.(?P<m>\d{1,2})\.(?P<y>\d{4})\b"),
    re.compile(rf"\b(?P<d>\d{{1,2}})(?:st|nd|rd|th)?\.? (?P<m>{_MONTH})\.?,? (?P<y>\d{{4}})\b"),
    re.compile(rf"\b(?P<m>{_MONTH})\.? (?P<d>\d{{1,2}})(?:st|nd|rd|th)?,? (?P<y>\d{{4}})\b"),
)


def unwrapped(text: str) -> str:
    """Take an answer out of a `<think>` block and a code fence."""
    text = _THINKING.sub("", text).strip()
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
    text = _THOUSANDS.sub(lambda match: re.sub(r"\D", "", match[0]), text)
    for form in _DATES:
        text = form.sub(_iso_date, text)
    return text


def _iso_date(match: re.Match[str]) -> str:
    month = _MONTHS.get(match["m"]) or int(match["m"])
    return f"{match['y']}-{month:02d}-{int(match['d']):02d}"


def canonical_value(value: Any) -> Any:
    """Level a JSON value: texts as `canonical`, "1" as 1, and a list without its order."""
    if isinstance(value, str):
        text = canonical(value)
        try:
            return float(text) if re.fullmatch(r"-?\d+(\.\d+)?", text) else text
        except ValueError:
            return text
    if isinstance(value, Mapping):
        return {key: canonical_value(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return sorted(map(canonical_value, value), key=lambda inner: (str(type(inner)), str(inner)))
    return value


_NUMBER = re.compile(r"(?<![\w.,:/])[-+−±]?\s?\d(?:[\d.,:/\u202f]*\d)?")
_AMOUNT = re.compile(
    r"([$€£¥₹₩])\s?(\d[\d.,]*)|(?<![\w])(\d[\d.,]*)\s?(%|‰|°[CF]?|[$€£¥₹₩円元]|[a-zµμ]{1,3}(?![a-z]))",
    re.I,
)
_NEGATION = re.compile(
    r"\b(?:not?|never|none|nothing|nobody|neither|nor|without|cannot|\w+n['’]t|kein\w*|nicht|nie|"
    r"jamais|pas|aucun\w*|sin|nunca|não|нет|не)\b|ない|ません|なし|不可|没有|不是",
    re.I,
)
_SENTENCE_MARKS = set("\"'`,.;:?()[]{}-_‘’“”…、。，．・「」『』（）？")


def _numbers(text: str) -> Counter[str]:
    found = (re.sub(r"[\s\u202f]", "", match).lstrip("+") for match in _NUMBER.findall(text))
    return Counter(number.replace("−", "-").replace(",", "") for number in found)


def _units(text: str) -> Counter[str]:
    return Counter((m[1] or m[4]).casefold() for m in _AMOUNT.finditer(text))


def _symbols(text: str) -> Counter[str]:
    marks = (c for c in text if c not in _SENTENCE_MARKS and not c.isalnum() and not c.isspace())
    return Counter(c for c in marks if unicodedata.category(c) in _SYMBOLS)


_SYMBOLS = {"Sm", "Sc", "Sk", "Po", "Pd"}


def _emoji(text: str) -> Counter[str]:
    return Counter(c for c in text if unicodedata.category(c) == "So")


def _negations(text: str) -> Counter[str]:
    # How often, not by which word: "cannot" and "can not" say the same.
    return Counter({"negation": len(_NEGATION.findall(text))})


# What words alone do not show. Each maps a text to what it holds; equal counters agree.
CHECKS: Mapping[str, Callable[[str], Counter[str]]] = {
    "numbers": _numbers,
    "units": _units,
    "symbols": _symbols,
    "emoji": _emoji,
    "negations": _negations,
}
