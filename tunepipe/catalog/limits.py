"""Limits on a row for a format and a model, and the estimate of tokens from characters."""

from __future__ import annotations

from dataclasses import dataclass

from tunepipe.catalog.schema import MediaLimits

# The template and the services read a row through protocol buffers, which stop at 100 levels.
DEPTH_MAX = 100

# A longer line is reported and not read, so that memory stays bounded. A row with a picture of
# 20 MB, which is the largest that Gemini takes, has 27 MB.
LINE_BYTES_MAX = 32 << 20


@dataclass(frozen=True)
class Rules:
    """Limits on a row of one format for one model; 0 means no limit.

    `convert_to` is the format to which the rows are converted before they are sent; "" if they
    are sent as they are. `media` is None where nothing is known of files.
    """

    format: str
    model: str
    service: str
    roles: tuple[str, ...] = ()
    input_tokens: int = 0
    output_tokens: int = 0
    example_tokens: int = 0
    rows_min: int = 0
    rows_advised: int = 0
    rows_max: int = 0
    file_bytes: int = 0
    convert_to: str = ""
    pii: bool = False
    media: MediaLimits | None = None


# Tokens of an ASCII character, as `estimated_tokens` counts them.
ASCII_TOKENS = 0.25


def estimated_tokens(ascii_characters: int, other_characters: int) -> int:
    """Estimate tokens: four ASCII characters make one, and any other character makes 0.8.

    Measured with two vocabularies: English takes 0.16 to 0.18 a character, Japanese 0.76 to 1.15.
    The estimate is on the high side for English, so a cost that is made from it is too.
    """
    return (5 * ascii_characters + 16 * other_characters + 19) // 20


def fewest_tokens(ascii_characters: int, other_characters: int) -> int:
    """Return what no usual vocabulary gets below: a sixth and a half of a token a character."""
    return (ascii_characters + 3 * other_characters) // 6
