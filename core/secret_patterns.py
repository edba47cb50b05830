"""Secrets and personal data in texts, by precise patterns and checksums, never shown."""

from __future__ import annotations

import re
from collections.abc import Callable

# Every pattern needs a run of at least this many characters out of `+` to `~`.
RUN_CHARACTERS = 20

SECRETS: tuple[tuple[str, str], ...] = (
    ("AWS access key", r"(?<![A-Z0-9])(?:AKIA|ASIA)[A-Z2-7]{16}(?![A-Z0-9])"),
    ("GitHub token", r"(?<![A-Za-z0-9])gh[pousr]_[A-Za-z0-9]{36,}"),
    ("GitHub token", r"(?<![A-Za-z0-9])github_pat_[A-Za-z0-9_]{50,}"),
    ("GitLab token", r"(?<![A-Za-z0-9])glpat-[A-Za-z0-9_-]{20,}"),
    ("Google API key", r"(?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    ("Google OAuth token", r"(?<![A-Za-z0-9])ya29\.[A-Za-z0-9_-]{40,}"),
    ("OpenAI or Anthropic key", r"(?<![A-Za-z0-9])sk-(?:proj-|ant-|svcacct-)[A-Za-z0-9_-]{32,}"),
    ("OpenAI key", r"(?<![A-Za-z0-9_-])sk-[A-Za-z0-9]{40,}"),
    ("Hugging Face token", r"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{34,}"),
    ("Slack token", r"(?<![A-Za-z0-9])xox[abeoprs]-[A-Za-z0-9-]{20,}"),
    ("Stripe key", r"(?<![A-Za-z0-9])[rs]k_live_[A-Za-z0-9]{24,}"),
    ("PyPI token", r"(?<![A-Za-z0-9])pypi-AgE[A-Za-z0-9_-]{50,}"),
    ("JSON Web Token", r"(?<![A-Za-z0-9])eyJ[\w-]{14,}\.eyJ[\w-]{14,}\.[\w-]{20,}"),
    ("private key", r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----\s*[A-Za-z0-9+/=]{20}"),
)

_SECRET = re.compile(
    "|".join(f"(?P<p{number}>{text})" for number, (_, text) in enumerate(SECRETS)), re.ASCII
)
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}(?![\w-])")
_PHONE = re.compile(
    r"(?<![\d+-])(?:\+\d{1,3}[ -]?(?:\d{1,4}[ -]?){2,4}\d{2,4}"
    r"|0\d{1,4}-\d{1,4}-\d{4}|0[5789]0\d{8})(?![\d-])"
)
_CARD = re.compile(r"(?<![\d.-])\d(?:[ -]?\d){12,18}(?![\d-])")
_IBAN = re.compile(
    r"(?<![A-Z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Z0-9])"
)
_MY_NUMBER = re.compile(r"(?<![\d-])\d{4}[ -]?\d{4}[ -]?\d{4}(?![\d-])")


def secrets_in(text: str) -> list[str]:
    """Name the kinds of secret that a text holds, each once, in the order of SECRETS."""
    found = {SECRETS[int((match.lastgroup or "p0")[1:])][0] for match in _SECRET.finditer(text)}
    return list(dict.fromkeys(name for name, _ in SECRETS if name in found)) if found else []


def personal_data_in(text: str) -> list[str]:
    """Name the kinds of personal data that a text holds: e-mail, phone, card, IBAN, My Number."""
    kinds: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
        ("e-mail address", _EMAIL, lambda _: True),
        ("phone number", _PHONE, lambda found: len(_digits(found)) >= 9),
        ("payment card number", _CARD, _is_card),
        ("IBAN", _IBAN, _is_iban),
        ("Japanese individual number", _MY_NUMBER, _is_my_number),
    )
    return [
        name
        for name, pattern, holds in kinds
        if any(holds(match.group()) for match in pattern.finditer(text))
    ]


def _digits(text: str) -> list[int]:
    return [int(character) for character in text if character in "0123456789"]


def _is_card(text: str) -> bool:
    """Check by Luhn (ISO/IEC 7812-1); a run of one digit is no card."""
    digits = _digits(text)
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    known_start = digits[0] in (3, 4, 5, 6) or digits[:1] == [2]
    return known_start and len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


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
