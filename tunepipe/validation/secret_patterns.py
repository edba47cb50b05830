"""Secrets and personal data in texts, by precise patterns and checksums, never shown."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

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
    ("JSON Web Token", "eyJ", r"(?<![A-Za-z0-9])eyJ[\w-]{17,}\.eyJ[\w-]{17,}\.[\w-]{20,}"),
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
    """Name the kinds of secret that a text holds, each once, in the order of SECRETS."""
    return list(
        dict.fromkeys(
            name
            for name, part, pattern in SECRETS
            if part in text and _pattern(pattern).search(text)
        )
    )


def personal_data_in(text: str) -> list[str]:
    """Name the kinds of personal data that a text holds: e-mail, phone, card, IBAN, My Number."""
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
    """Check by Luhn (ISO/IEC 7812-1); a run of one digit is no card."""
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
