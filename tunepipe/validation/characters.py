"""Characters that a reader does not see, or that tell of a broken text."""

from __future__ import annotations

import re

# C0 without tab, newline and carriage return; DEL; C1.
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
SURROGATE = re.compile("[\ud800-\udfff]")
REPLACEMENT = "\ufffd"

# Soft hyphen, zero-width space, marks of direction, word joiner and the invisible operators,
# byte-order mark, annotation marks, tags. The joiners U+200C and U+200D are right between the
# letters of many scripts and inside emoji, so they count only after a letter that never joins.
INVISIBLE = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0001]"
    "|(?<![\U000e0020-\U000e007f\U0001f3f4])[\U000e0020-\U000e007f]"
    "|(?:^|(?<=[\x00-\u02ff\u3000-\u9fff\uac00-\ud7a3\uff00-\uffef]))[\u200c\u200d]"
)

# The same characters as bytes of UTF-8, each pattern led by one byte that is rare in text:
# a search for one byte runs at the speed of memory, a class of characters does not.
_TRACES = tuple(
    (pattern[:1], re.compile(pattern))
    for pattern in (
        b"\x7f",
        b"\xc2[\x80-\x9f\xad]",
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
