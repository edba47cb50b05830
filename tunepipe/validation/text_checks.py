"""What can be wrong with one text of a row."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache

from tunepipe.data.encodings import find_mojibake, name_of
from tunepipe.validation.problems import Problem

# C0 without tab, newline and carriage return; DEL; C1.
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_C0 = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
SURROGATE = re.compile("[\ud800-\udfff]")
REPLACEMENT = "\ufffd"

# Soft hyphen, zero-width space, word joiner and the invisible operators, byte-order mark,
# annotation marks, tags. The joiners U+200C and U+200D are right between the letters of many
# scripts and inside emoji, so they count only after a letter that never joins. U+200B parts the
# words of Thai, Lao, Burmese and Khmer.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
INVISIBLE = re.compile(
    "[\u00ad\u180e\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0001]"
    f"|(?<![{_UNSPACED}])\u200b(?![{_UNSPACED}])"
    "|(?<![\U000e0020-\U000e007f\U0001f3f4])[\U000e0020-\U000e007f]"
    "|(?:^|(?<=[\x00-\u02ff\u3000-\u9fff\uac00-\ud7a3\uff00-\uffef]))[\u200c\u200d]"
)
# Marks of direction, which have their place in a text with Hebrew or Arabic letters.
_DIRECTION = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")

# The same characters as bytes of UTF-8, each pattern led by one byte that is rare in text:
# a search for one byte runs at the speed of memory, a class of characters does not.
_TRACES = tuple(
    (pattern[:1], re.compile(pattern))
    for pattern in (
        b"\x7f",
        b"\xc2[\x80-\x9f\xad]",
        # The first two characters of mojibake.
        b"\xc3[\x82-\xb4](?:\xc2[\x80-\xbf]|[\xc5\xc6\xcb\xe2])",
        b"\xd8\x9c",
        b"\xe1\xa0\x8e",
        b"\xe2(?:\x80[\x8b-\x8f\xaa-\xae]|\x81[\xa0-\xaf])",
        b"\xef(?:\xbb\xbf|\xbf[\xb9-\xbd])",
        b"\xf3\xa0[\x80\x81]",
    )
)


def traces(text: bytes) -> list[int]:
    """Return the places, in no order, where UTF-8 text may hold a character named here.

    C0 controls are left out: in JSON they can only come from an escape.
    """
    return [
        match.start() for lead, trace in _TRACES if lead in text for match in trace.finditer(text)
    ]


def text_problems(text: str, field: str) -> Iterator[Problem]:
    """Yield one problem for each kind of character that may be wrong, with their number."""
    if encoding := find_mojibake(text):
        fix = "read the source as UTF-8"
        with suppress(UnicodeError):
            text.encode(encoding).decode("utf-8")
            fix += f", or decode again: text.encode({encoding!r}).decode('utf-8')"
        message = f"the text is UTF-8 that was read as {name_of(encoding)}"
        yield Problem("mojibake", message, field, fix)
        found = _C0.findall(text)
    else:
        found = CONTROL.findall(text)
    if found:
        level = "error" if "\0" in found else "warning"
        message = _named(found, "a control character")
        yield Problem("control-character", message, field, level=level)
    if found := SURROGATE.findall(text):
        yield Problem("lone-surrogate", _named(found, "half of a surrogate pair"), field)
    found = INVISIBLE.findall(text)
    if not _RIGHT_TO_LEFT.search(text):
        found += _DIRECTION.findall(text)
    if found:
        yield Problem("invisible-character", _named(found, "an invisible character"), field)
    if REPLACEMENT in text:
        found = [REPLACEMENT] * text.count(REPLACEMENT)
        yield Problem("replacement-character", _named(found, "a replacement character"), field)


def _named(found: list[str], what: str) -> str:
    kinds = list(dict.fromkeys(f"U+{ord(character):04X}" for character in found))
    times = f", {len(found)} times" if len(found) > 1 else ""
    more = ", ..." if len(kinds) > 3 else ""
    return f"{what}{times}: {', '.join(kinds[:3])}{more}"


# Every pattern needs a run of at least this many characters out of `+` to `~`.
RUN_CHARACTERS = 20

# The kind of secret, a text that each such secret holds, and its pattern.
SECRETS: tuple[tuple[str, str, str], ...] = (
    ("AWS access key", "AKIA", r"(?<![A-Z0-9])AKIA[A-Z2-7]{16}(?![A-Z0-9])"),
    ("AWS access key", "ASIA", r"(?<![A-Z0-9])ASIA[A-Z2-7]{16}(?![A-Z0-9])"),
    ("GitHub token", "gh", r"(?<![A-Za-z0-9])gh[pousr]_[A-Za-z0-9]{36,}"),
    ("GitHub token", "github_pat_", r"(?<![A-Za-z0-9])github_pat_[A-Za-z0-9_]{50,}"),
    ("GitLab token", "glpat-", r"(?<![A-Za-z0-9])glpat-[A-Za-z0-9_-]{20,}"),
    ("Google API key", "AIza", r"(?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    ("Google OAuth token", "ya29.", r"(?<![A-Za-z0-9])ya29\.[A-Za-z0-9_-]{40,}"),
    ("OpenAI or Anthropic key", "sk-", r"(?<![\w-])sk-(?:proj|ant|svcacct)-[\w-]{32,}"),
    ("OpenAI key", "sk-", r"(?<![\w-])sk-[A-Za-z0-9]{40,}"),
    ("Hugging Face token", "hf_", r"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{34,}"),
    ("Slack token", "xox", r"(?<![A-Za-z0-9])xox[abeoprs]-[A-Za-z0-9-]{20,}"),
    ("Stripe key", "k_live_", r"(?<![A-Za-z0-9])[rs]k_live_[A-Za-z0-9]{24,}"),
    ("PyPI token", "pypi-AgE", r"(?<![A-Za-z0-9])pypi-AgE[\w-]{50,}"),
    # It begins where a run of these characters does, so that no run is read twice.
    ("JSON Web Token", "eyJ", r"(?<![\w-])eyJ[\w-]{17,}+\.eyJ[\w-]{17,}+\.[\w-]{20,}"),
    (
        "private key",
        "PRIVATE KEY-----",
        r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----(?:\s|\\n)*[A-Za-z0-9+/=]{20}",
    ),
)

_EMAIL = r"(?<![\w.+-])[\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}(?![\w-])"
_PHONE = (
    r"(?<![\d+-])(?:\+\d{1,3}[ -]?(?:\d{1,4}[ -]?){2,4}\d{2,4}"
    r"|0\d{1,4}-\d{1,4}-\d{4}|0[5789]0\d{8})(?![\d-])"
)
_CARD = r"(?<![\d.-])\d(?:[ -]?\d){12,18}(?![\d-])"
_IBAN = r"(?<![A-Z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Z0-9])"
_MY_NUMBER = r"(?<![\d-])(?<!\d )\d{4}[ -]?\d{4}[ -]?\d{4}(?![ -]?\d)"


@cache
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.ASCII)


def secrets_in(text: str) -> list[str]:
    """Return the kinds of secret that a text holds, each once, in the order of SECRETS."""
    return list(
        dict.fromkeys(
            name
            for name, part, pattern in SECRETS
            if part in text and _pattern(pattern).search(text)
        )
    )


def personal_data_in(text: str) -> list[str]:
    """Return the kinds of personal data that a text holds: e-mail, phone, card, IBAN, My Number."""
    kinds: tuple[tuple[str, str, Callable[[str], bool]], ...] = (
        ("e-mail address", _EMAIL, lambda _: True),
        ("phone number", _PHONE, lambda found: len(_digits(found)) >= 9),
        ("payment card number", _CARD, _is_card),
        ("IBAN", _IBAN, _is_iban),
        ("Japanese individual number", _MY_NUMBER, _is_my_number),
    )
    return [
        name
        for name, pattern, holds in kinds
        if any(holds(match.group()) for match in _pattern(pattern).finditer(text))
    ]


def _digits(text: str) -> list[int]:
    return [int(character) for character in text if character in "0123456789"]


def _is_card(text: str) -> bool:
    """Check by Luhn (ISO/IEC 7812-1); a run of one digit is not a card number."""
    digits = _digits(text)
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (
        2 <= digits[0] <= 6
        and len(set(digits)) > 1
        and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
    )


def _is_iban(text: str) -> bool:
    """Check by ISO 13616: the first four characters last, letters as numbers, remainder 1 by 97."""
    plain = text.replace(" ", "")
    if not 15 <= len(plain) <= 34:
        return False
    return int("".join(str(int(character, 36)) for character in plain[4:] + plain[:4])) % 97 == 1


def _is_my_number(text: str) -> bool:
    """Check the last digit as the ordinance on individual numbers (Article 5) computes it."""
    digits = _digits(text)
    weighted = sum(
        digit * (place + 1 if place <= 6 else place - 5)
        for place, digit in enumerate(reversed(digits[:11]), 1)
    )
    rest = weighted % 11
    return len(set(digits)) > 1 and digits[11] == (0 if rest <= 1 else 11 - rest)
