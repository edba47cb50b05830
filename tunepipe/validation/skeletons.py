"""Rows of any shape, proved by their skeletons: tools, weights, several parts, preferences.

A skeleton is a row with one mark in the place of every text that says something. Rows of one
skeleton have the same problems of shape, so the diagnoser's rules look at the first of them, and
the others need only be free of what lies in the texts themselves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import msgspec
import xxhash

from tunepipe.catalog.limits import DEPTH_MAX, Rules
from tunepipe.data.formats import detect_format
from tunepipe.data.text_pairs import TURN_MARK, everything, view
from tunepipe.validation.characters import traces
from tunepipe.validation.schema_checks import shape_findings
from tunepipe.validation.secret_patterns import RUN_CHARACTERS, personal_data_in, secrets_in

# Escapes that may decode to a control.
CONTROLS = re.compile(rb"\\(?:u00|b|f)")

# A value of compact JSON that is a text, but for a blank one and for the words that shapes know.
# Possessive, for a repeat that may step back keeps memory for every escape of a long text.
_TEXT = re.compile(
    r':"(?!(?:\s|\\[nrt])*+"|(?:system|developer|user|assistant|model|bot|tool|function'
    r'|text|image_url|input_audio|file)")[^"\\]*+(?:\\.[^"\\]*+)*+"'
)
_MARK = ':"~"'
# No secret is shorter, and an escape only makes a run longer.
_RUN = re.compile(rb"[+-~]{%d}" % RUN_CHARACTERS)
_SKELETONS_MAX = 4096


def proved(lines: Iterable[tuple[int, bytes]], rules: Rules) -> Iterator[tuple[int, str, str, int]]:
    """Yield place, input, output and needed quotes (proof.py) of rows whose shape is proved.

    Whether the line has those quotes, and no escape that blurs them, is left to the caller.

    Args:
        lines: Place and bytes of each line.
        rules: What a row may hold.
    """
    known = _verdicts(rules)
    for place, line in lines:
        row, plain = _decoded(line)
        skeleton = _TEXT.sub(_MARK, plain.decode())
        mark = xxhash.xxh3_128_digest(skeleton.encode())
        if mark not in known:
            if len(known) >= _SKELETONS_MAX:
                known.clear()
            known[mark] = bool(plain) and _is_clean(skeleton, rules)
        if known[mark] and not (CONTROLS.search(plain) or traces(plain)):
            given, wanted = view(row, rules.format)
            if given.rpartition(TURN_MARK)[2] != wanted and not _hides(row, plain, rules):
                inside = given.count('"') + wanted.count('"')
                yield place, given, wanted, plain.count(b'"') - inside


@cache
def _verdicts(rules: Rules) -> dict[bytes, bool]:
    return {}


def _hides(row: Any, plain: bytes, rules: Rules) -> bool:
    """Tell whether a text of the row, of whatever field, may be a secret or personal data."""
    if not (rules.pii or _RUN.search(plain)):
        return False
    text = everything(row)
    return bool(secrets_in(text) or (rules.pii and personal_data_in(text)))


def _is_clean(skeleton: str, rules: Rules) -> bool:
    try:
        row = json.loads(skeleton)
    except ValueError:
        return False  # a key that ends in a colon misleads the pattern
    return detect_format(row) == rules.format and not any(shape_findings(row, rules))


def _decoded(line: bytes) -> tuple[Any, bytes]:
    """Return a row and its compact JSON, which is empty where the diagnoser must look."""
    if line.count(b"{") + line.count(b"[") > DEPTH_MAX:
        return None, b""
    try:
        row = _decoder().decode(line.decode())
        plain = msgspec.json.encode(row)
    except (ValueError, RecursionError, OverflowError):
        return None, b""
    return (None, b"") if not isinstance(row, dict) or b'"~":' in plain else (row, plain)


@cache
def _decoder() -> json.JSONDecoder:
    return json.JSONDecoder(parse_constant=_refused)


def _refused(word: str) -> Any:
    raise ValueError(word)
