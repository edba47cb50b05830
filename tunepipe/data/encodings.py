"""Text encodings: detects a file's encoding, and text that was decoded wrongly."""

from __future__ import annotations

import codecs
import re
from contextlib import suppress

BOM = codecs.BOM_UTF8

# What people call each encoding that is recognized here.
NAMES = {
    "utf-8": "UTF-8",
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16",
    "utf-32": "UTF-32",
    "cp932": "Shift_JIS",
    "euc-jp": "EUC-JP",
    "cp1252": "Windows-1252",
    "latin-1": "Latin-1",
}

_KANA = re.compile("[\u3041-\u30fe]")
_KANJI = re.compile("[\u3000-\u303f\u4e00-\u9fff\uff01-\uff5e]{2}")
_HALF_WIDTH = re.compile("[\uff61-\uff9f]")
_LATIN_WORD = re.compile("[A-Za-z]{2}[\u00c0-\u00ff]|[\u00c0-\u00ff][A-Za-z]{2}")
# UTF-8 that was read as Latin-1 or Windows-1252: a lead byte and its continuation bytes, each as a
# character of its own.
_CONTINUATION = "[\x80-\xbf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]"  # noqa: E501
_MOJIBAKE = re.compile(
    f"[\u00c2-\u00df]{_CONTINUATION}|[\u00e0-\u00ef]{_CONTINUATION}{{2}}"
    f"|[\u00f0-\u00f4]{_CONTINUATION}{{3}}"
)


def name_of(encoding: str) -> str:
    """Return the name that people use for an encoding."""
    return NAMES.get(encoding, encoding)


def encoding_of_mark(head: bytes) -> str:
    """Return the encoding of UTF-16 or UTF-32 bytes by their mark or their zero bytes, else ""."""
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    start = head[:64]
    if len(start) < 4:
        return ""
    if start[1::2].count(0) * 4 > len(start):
        return "utf-16-le"
    return "utf-16-be" if start[::2].count(0) * 4 > len(start) else ""


def guess_encoding(data: bytes) -> str:
    """Return the codec of a text's first bytes; "" if none that is known here fits.

    A character cut off at the end is not an error.
    """
    if found := encoding_of_mark(data):
        return found
    if _decodes(data, "utf-8") is not None:
        return "utf-8"
    japanese = {codec: _decodes(data, codec) for codec in ("cp932", "euc-jp")}
    scores = {codec: _japanese_score(text) for codec, text in japanese.items() if text}
    best = max(scores, key=scores.__getitem__, default="")
    if best and scores[best] > 0:
        latin = _decodes(data, "cp1252")
        if _KANA.search(japanese[best] or "") or not (latin and _LATIN_WORD.search(latin)):
            return best
    text = _decodes(data, "cp1252")
    return "cp1252" if text and _is_text(text) else ""


def describe_not_utf8(line: bytes, error: UnicodeDecodeError) -> tuple[str, str]:
    """Describe which bytes of a line are not UTF-8, and the fix: "" if no encoding fits."""
    message = f"the bytes from byte {error.start + 1} of the line are not UTF-8"
    if line[error.start : error.start + 1] == b"\xed":
        return f"{message}: a surrogate is written as bytes", ""
    encoding = guess_encoding(line)
    if not encoding or encoding == "utf-8":
        return message, ""
    fix = f"tunepipe convert IN OUT --to FORMAT --encoding {encoding}"
    return f"{message}; it may be {name_of(encoding)}", fix


def find_mojibake(text: str) -> str:
    """Return the encoding that misread UTF-8 text, or "" if the text was read correctly."""
    sequences = _MOJIBAKE.findall(text)
    # One encoding that explains all of them, else one that explains the first.
    for characters in ("".join(sequences), sequences[0]) if sequences else ():
        for encoding in ("latin-1", "cp1252"):
            with suppress(UnicodeError):
                characters.encode(encoding).decode("utf-8")
                return encoding
    return ""


def _decodes(data: bytes, encoding: str) -> str | None:
    try:
        return codecs.getincrementaldecoder(encoding)().decode(data)
    except UnicodeDecodeError:
        return None


def _japanese_score(text: str) -> int:
    """Weigh what Japanese text is made of against what other bytes decode to."""
    if not _is_text(text):
        return 0
    kana, kanji = len(_KANA.findall(text)), len(_KANJI.findall(text))
    return 2 * kana + kanji - 3 * len(_HALF_WIDTH.findall(text))


def _is_text(text: str) -> bool:
    return all(character.isprintable() or character in "\t\r\n\f\v" for character in text)
