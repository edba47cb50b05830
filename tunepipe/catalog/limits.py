"""The rules that one validation goes by: a format's fields and a model's limits, from one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from tunepipe.catalog import tables
from tunepipe.errors import UsageError

# The template and the services read a row through protocol buffers, which stop at 100 levels.
DEPTH_MAX = 100

# A longer line is reported and not read, so that memory stays bounded. A row with a picture of
# 20 MB, which is the largest that Gemini takes, has 27 MB.
LINE_BYTES_MAX = 32 << 20


@dataclass(frozen=True)
class Rules:
    """What a row of one format may hold when one model is to be tuned; 0 means no limit."""

    format: str
    model: str
    service: str
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    message_fields: tuple[str, ...] = ()
    part_fields: tuple[str, ...] = ()
    input_tokens: int = 0
    output_tokens: int = 0
    example_tokens: int = 0
    rows_min: int = 0
    rows_advised: int = 0
    rows_max: int = 0
    file_bytes: int = 0
    pii: bool = False


def service_of(
    model: str, overrides: Mapping[str, Any] | None = None
) -> tuple[str, dict[str, Any]]:
    """Return the name and the table of the service that tunes a model.

    Args:
        model: A model's name; a name that no cloud service has is the local backend's.
        overrides: The user's values, shaped as services.toml.
    """
    services = tables.load("catalog/services.toml", overrides)["services"]
    for name, service in services.items():
        if any(fnmatchcase(model, pattern) for pattern in service["models"]):
            return name, service
    raise UsageError(f"no service of the table takes the model {model!r}")


def rules_for(
    format: str, model: str = "", *, pii: bool = False, overrides: Mapping[str, Any] | None = None
) -> Rules:
    """Return the rules for a format and a model.

    Args:
        format: One of formats.FORMATS.
        model: A model's name, or "" for the first model of the format.
        pii: Whether personal data is looked for.
        overrides: The user's values, shaped as services.toml.

    Raises:
        UsageError: The model's service takes no rows of that format.
    """
    table = tables.load("catalog/services.toml", overrides)
    chosen = model or table["first_model"][format]
    name, service = service_of(chosen, overrides)
    if format not in service["formats"]:
        raise UsageError(
            f"the model {chosen} is not tuned on rows of the format {format}",
            fix=f"tunepipe convert IN OUT --to {service['formats'][0]}, or name another --model",
        )
    shape = table["formats"][format]
    limits = ("input_tokens", "output_tokens", "example_tokens", "rows_min", "rows_advised")
    return Rules(
        format=format,
        model=chosen,
        service=name,
        required=tuple(shape["required"]),
        optional=tuple(shape["optional"]),
        roles=tuple(shape.get("roles", ())) + tuple(service.get("extra_roles", ())),
        message_fields=tuple(table["formats"]["messages"]["message_fields"]),
        part_fields=tuple(table["formats"]["gemini"]["part_fields"]),
        pii=pii,
        **{key: service[key] for key in (*limits, "rows_max", "file_bytes")},
    )


def estimated_tokens(ascii_characters: int, other_characters: int) -> int:
    """Estimate tokens: four ASCII characters make one, and any other character makes 0.8.

    Measured with two vocabularies: English takes 0.16 to 0.18 a character, Japanese 0.76 to 1.15.
    The estimate is on the high side for English, so a cost that is made from it is too.
    """
    return (5 * ascii_characters + 16 * other_characters + 19) // 20


def fewest_tokens(ascii_characters: int, other_characters: int) -> int:
    """Return what no usual vocabulary gets below: a sixth and a half of a token a character."""
    return (ascii_characters + 3 * other_characters) // 6
