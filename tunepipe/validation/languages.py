"""The language of a text, as far as its script tells."""

from __future__ import annotations

import re

# BCP 47: a script that serves many languages is named by "und" and its ISO 15924 code.
_SCRIPTS = (
    ("ja", "[\u3041-\u30ff\uff66-\uff9f]"),
    ("ko", "[\u1100-\u11ff\uac00-\ud7a3]"),
    ("zh", "[\u3400-\u9fff\U00020000-\U0003ffff]"),
    ("th", "[\u0e01-\u0e5b]"),
    ("he", "[\u0591-\u05f4]"),
    ("el", "[\u0370-\u03ff]"),
    ("und-Arab", "[\u0600-\u06ff]"),
    ("und-Cyrl", "[\u0400-\u052f]"),
    ("und-Deva", "[\u0900-\u097f]"),
)
_ENGLISH = r"(?i)\b(?:the|and|of|is|are|what|how|with|this|that|for|you|your|please|to|from)\b"
_LATIN = "[A-Za-z\u00c0-\u024f]"
_LOOKED_AT_CHARACTERS = 400


def language(text: str) -> str:
    """Name a text's language by BCP 47: by script, and English by its commonest words.

    Args:
        text: Only its first 400 characters are looked at. One kana makes it Japanese.
    """
    start = text[:_LOOKED_AT_CHARACTERS]
    if not start.isascii():
        for name, pattern in _SCRIPTS:
            if re.search(pattern, start):
                return name
    if re.search(_ENGLISH, start):
        return "en"
    return "und-Latn" if re.search(_LATIN, start) else "und"
