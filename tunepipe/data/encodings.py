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
    "iso2022_jp": "ISO-2022-JP",
    "cp1252": "Windows-1252",
    "latin-1": "Latin-1",
}

_KANA = re.compile("[\u3041-\u30fe]")
_KANJI = re.compile("[\u3000-\u303f\u4e00-\u9fff\uff01-\uff5e]{2}")
_HALF_WIDTH = re.compile("[\uff61-\uff9f]")
# Half-width letters as words have them: a voiced mark follows only some of them.
_HALF_WIDTH_WORD = re.compile(
    "(?:[\uff66-\uff9d]|(?<=[\uff73\uff76-\uff84\uff8a-\uff8e])[\uff9e\uff9f]){2,}"
)
# Of these letters, those whose bytes are no letters of Cyrillic encodings.
_HALF_WIDTH_SURE = re.compile("[\uff66-\uff7f]")
_HALF_WIDTH_MIN = 8
# Western words have one or two letters with accents next to each other.
_LONG_RUN = re.compile("[\u00a1-\u00ff]{3,}")
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
    zeros = [start[::2].count(0), start[1::2].count(0)]
    if min(zeros) or max(zeros) * 4 <= len(start):
        return ""
    return "utf-16-le" if zeros[1] else "utf-16-be"


def guess_encoding(data: bytes) -> str:
    """Return the codec of a text's first bytes; "" if none that is known here surely fits.

    A character cut off at the end is not an error. Text that is not sure to be Japanese or Western
    gets no guess: bytes of one East Asian or Cyrillic encoding are letters in all others.
    """
    if found := encoding_of_mark(data):
        return found
    if b"\x1b$" in data and data.isascii() and _decodes(data, "iso2022_jp") is not None:
        return "iso2022_jp"
    if _decodes(data, "utf-8") is not None:
        return "utf-8"
    latin = _decodes(data, "cp1252")
    japanese = {codec: text for codec in ("euc-jp", "cp932") if (text := _decodes(data, codec))}
    # EUC-JP marks each half-width letter with a byte; those of Shift_JIS have to be many.
    for codec, least in (("euc-jp", 1), ("cp932", _HALF_WIDTH_MIN)):
        if _is_half_width(japanese.get(codec, ""), least):
            return codec
    best = max(japanese, key=lambda codec: _japanese_score(japanese[codec]), default="")
    if best and _japanese_score(japanese[best]) > 0:
        is_latin = latin and _LATIN_WORD.search(latin)
        if _KANA.search(japanese[best]) or (best == "cp932" and not is_latin):
            return best
    return "cp1252" if latin and _is_western(latin) else ""


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
    doubtful = _HALF_WIDTH_WORD.sub("", text) if kana else text
    return 2 * kana + kanji - 3 * len(_HALF_WIDTH.findall(doubtful))


def _is_half_width(text: str, least: int) -> bool:
    """Return True if all that is not ASCII are half-width katakana in words, `least` or more."""
    letters = "".join(_HALF_WIDTH_WORD.findall(text))
    others = sum(not character.isascii() for character in text) - len(letters)
    sure = len(_HALF_WIDTH_SURE.findall(letters))
    return len(letters) >= least and not others and (least == 1 or sure * 5 > len(letters))


def _is_western(text: str) -> bool:
    in_runs = sum(map(len, _LONG_RUN.findall(text)))
    return _is_text(text) and 2 * in_runs <= sum(not character.isascii() for character in text)


def _is_text(text: str) -> bool:
    return all(character.isprintable() or character in "\t\r\n\f\v" for character in text)
