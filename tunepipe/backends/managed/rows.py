"""The rows of a managed tuning: converted to a format that the service takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tunepipe.catalog.catalog import sent_as
from tunepipe.catalog.schema import ServiceLimits
from tunepipe.data.conversion import convert
from tunepipe.data.fingerprint import fingerprint
from tunepipe.data.rows import numbered_lines, parse
from tunepipe.data.source import Source, format_of
from tunepipe.errors import DataError, UsageError, plural
from tunepipe.stores import storage
from tunepipe.stores.storage import local_files

_PLACES_SHOWN = 5


@dataclass(frozen=True)
class Sent:
    """A file as the service will read it.

    Args:
        uri: Where it lies; "" if there is none.
        fingerprint: Hex SHA-256 of its bytes.
        left_out: What the conversion has left out, by name, with the number of rows.
    """

    uri: str = ""
    rows: int = 0
    bytes: int = 0
    fingerprint: str = ""
    format: str = ""
    left_out: dict[str, int] = field(default_factory=dict)


def send(uri: str, native: Sequence[str]) -> Sent:
    """Put a file where the service can read it, converted if need be (`catalog.sent_as`).

    The copy is next to the file and ends in .jsonl, as in all of Google's examples. "" and an empty
    file are none; a DataError where a row cannot be carried over: nothing is dropped.
    """
    if not uri or not storage.stat(uri).bytes:
        return Sent()
    if not storage.is_gcs(uri):
        raise UsageError(
            "the service reads rows from Cloud Storage alone", where=uri, fix="give a gs:// URI"
        )
    with local_files(uri) as paths, TemporaryDirectory() as folder:
        (path,) = paths
        format = format_of([path])
        if format in native and not _is_shaped_otherwise(path, format):
            return _write(path, uri, format, {}, f"{uri}.jsonl")
        converted = str(Path(folder) / "rows.jsonl")
        to = native[0] if format == "prompt-completion" else sent_as(format, native)
        report = convert(path, converted, to, format=format)
        if report.refused_total:
            places = ", ".join(f"line {row['line']}" for row in report.refused[:_PLACES_SHOWN])
            raise DataError(
                f"{report.refused_total} of {plural(report.rows, 'row')} cannot be written as "
                f"{report.to}: {report.refused[0]['reason']}",
                where=f"{uri}, {places}",
                fix=f"run: tunepipe convert DATASET OUT --to {report.to}; it lists every such row",
            )
        return _write(converted, "", report.to, report.left_out, f"{uri}.{report.to}.jsonl")


def check_sizes(service: ServiceLimits, train: Sent, held_out: Sent) -> None:
    """Check the files that are about to be sent against the service's limits."""
    limits, fraction = service.evaluation, service.evaluation.fraction_max
    rows, size = "held-out rows", "bytes of held-out rows"
    checks = [
        ("training rows", train.rows, service.rows_max, "leave rows out"),
        ("bytes of training rows", train.bytes, service.file_bytes, "leave rows out"),
        (rows, held_out.rows, limits.rows_max, "lower eval_max"),
    ]
    if not limits.fraction_from_rows:
        checks.append((size, held_out.bytes, int(fraction * train.bytes), "lower eval_fraction"))
    elif held_out.rows >= limits.fraction_from_rows:
        checks.append((rows, held_out.rows, int(fraction * train.rows), "lower eval_fraction"))
    for what, count, most, fix in checks:
        if most and count > most:
            raise DataError(
                f"{count:,} {what}; the service takes at most {most:,}", where=what, fix=fix
            )


def _is_shaped_otherwise(path: str, format: str) -> bool:
    """Return True if the service cannot read the file as it is.

    It reads neither gzip nor preferences as OpenAI writes them, nor pairs whose sides are lists of
    messages, as TRL does.
    """
    source = Source(path)
    if source.is_gzip or format not in ("preference", "prompt-completion"):
        source.close()
        return source.is_gzip
    lines = (line for _, line in numbered_lines(source) if isinstance(line, bytes) and line.strip())
    rows = map(parse, lines)
    return any("preferred_output" in row or isinstance(row.get("prompt"), list) for row in rows)


def _write(path: str, uri: str, format: str, left_out: dict[str, int], copy: str) -> Sent:
    """Copy a file to where the service reads it, unless it can stay where it is."""
    if not uri.endswith(".jsonl"):
        storage.write_file(path, copy)
        uri = copy
    with open(path, "rb") as file:
        digest = fingerprint(file)
        size = file.seek(0, 2)
        file.seek(0)
        rows = sum(1 for line in file if line.strip())
    return Sent(uri, rows, size, digest, format, left_out)
