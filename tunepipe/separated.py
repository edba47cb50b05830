"""Whether a file is a table of separated values, by what it holds and not by its name."""

from __future__ import annotations

import re

_LINES = 20
_HEADER = re.compile(rb'"?[\w -]+"?(?:[,;\t]"?[\w -]+"?)+')


def separator(head: bytes) -> str:
    """Return what separates the columns; "" where the file is no such table.

    Args:
        head: The file's first bytes, without a byte-order mark.
    """
    filled = [line for line in map(bytes.strip, head.split(b"\n", 100)[:100]) if line][:_LINES]
    objects = any(line.startswith((b"{", b"[")) for line in filled)
    if objects or not filled or not _HEADER.fullmatch(filled[0]):
        return ""
    return max(",;\t", key=lambda mark: filled[0].count(mark.encode()))
