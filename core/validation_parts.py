"""Validation in parts: each machine looks at some files, and one puts the parts together.

A part is a file: the hashes of its lines, then what else was counted, as JSON. The report that
`merge` makes of parts is the one that `validate` makes of all their files in one process.
"""

from __future__ import annotations

import json
import os
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, BinaryIO

from .errors import UsageError
from .files import replacing
from .problems import Problem
from .repeats import Repeats
from .rules import Rules
from .sources import Opener, open_local
from .tally import Lengths, Tally
from .validation import Report, Settings, scan
from .validation_report import FileFacts, Scanned, conclude

_MAGIC = b"tunepipe-validation-1\n"
# Of a run of lines: file, first line, lines, whether they are compared with. Last: JSON's length.
_RUN = struct.Struct("<QQQ?")
_END = struct.Struct("<Q")


def write_part(
    paths: Iterable[str | os.PathLike[str]],
    part: str | os.PathLike[str],
    *,
    format: str,
    model: str = "",
    against: Iterable[str | os.PathLike[str]] = (),
    max_problems: int = 1000,
    pii: bool = False,
    workers: int = 0,
    opener: Opener = open_local,
    overrides: Mapping[str, Any] | None = None,
) -> None:
    """Look at some files of a dataset and write down what was found, 16 bytes a line and more.

    Args:
        paths: The files, as for `validate`.
        part: The file to write.
        format: One of formats.FORMATS. "auto" goes by these files alone; parts must agree.
        model: As for `validate`, like the rest. `against` need be given to one part only.
        against: See `validate`.
        max_problems: See `validate`.
        pii: See `validate`.
        workers: See `validate`.
        opener: See `validate`.
        overrides: See `validate`.
    """
    with replacing(part, "wb") as file:
        file.write(_MAGIC)

        def keep(number: int, line: int, inputs: bytes, outputs: bytes, against: bool) -> None:
            file.write(_RUN.pack(number, line, len(inputs) // 8, against) + inputs + outputs)

        settings = Settings(
            format=format,
            model=model,
            max_problems=max_problems,
            pii=pii,
            workers=workers,
            opener=opener,
            overrides=overrides,
        )
        scanned = scan(paths, against, settings, keep)
        facts = json.dumps(_as_json(scanned)).encode()
        file.write(facts + _END.pack(len(facts)))


def merge(parts: Iterable[str | os.PathLike[str]]) -> Report:
    """Put parts together, in the order given.

    Raises:
        UsageError: A file is no part, or the parts differ in format, model or settings.
    """
    paths = list(map(Path, parts))
    if not paths:
        raise UsageError("no part is given")
    with open(paths[0], "rb") as file:
        first, _ = _facts(file, paths[0])
    whole = Scanned(first.rules, Tally(first.tally.limit))
    repeats = Repeats(first.tally.limit)
    for path in paths:
        with open(path, "rb") as file:
            scanned, end = _facts(file, path)
            _require_same(whole.rules, scanned.rules, path)
            _add_runs(file, end, whole, repeats)
        whole.tally.merge(scanned.tally)
        whole.files += scanned.files
        whole.others += scanned.others
        whole.unread |= scanned.unread
    return conclude(whole, repeats.find())


def _add_runs(file: BinaryIO, end: int, whole: Scanned, repeats: Repeats) -> None:
    file.seek(len(_MAGIC))
    while file.tell() < end:
        number, line, lines, against = _RUN.unpack(file.read(_RUN.size))
        inputs, outputs = file.read(8 * lines), file.read(8 * lines)
        before = len(whole.others if against else whole.files)
        repeats.add(before + number, line, inputs, outputs, against)


def _facts(file: BinaryIO, path: Path) -> tuple[Scanned, int]:
    """Return what a part holds beside its hashes, and where these end."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file.read(len(_MAGIC)) != _MAGIC:
        raise UsageError("not a part of a validation", where=str(path))
    file.seek(size - _END.size)
    (length,) = _END.unpack(file.read())
    end = size - _END.size - length
    file.seek(end)
    return _scanned(json.loads(file.read(length))), end


def _require_same(first: Rules, rules: Rules, path: Path) -> None:
    if rules != first:
        raise UsageError(
            f"the part is of {rules.format or 'no format'} for {rules.model}, "
            f"the first of {first.format or 'no format'} for {first.model}",
            where=str(path),
            fix="name the same format, model and settings for all parts",
        )


def _as_json(scanned: Scanned) -> dict[str, Any]:
    tally = scanned.tally
    return {
        "rules": asdict(scanned.rules),
        "files": [asdict(file) for file in scanned.files],
        "others": scanned.others,
        "unread": scanned.unread,
        "tally": {
            "limit": tally.limit,
            "lines": tally.lines,
            "rows": tally.rows,
            "valid_rows": tally.valid_rows,
            "counts": tally.counts,
            "errors": tally.errors,
            "problems": {
                code: [asdict(problem) for problem in problems]
                for code, problems in tally.problems.items()
            },
            "labels": tally.labels,
            "languages": tally.languages,
        },
        "input_lengths": _lengths_as_json(tally.input_lengths),
        "output_lengths": _lengths_as_json(tally.output_lengths),
    }


def _lengths_as_json(lengths: Lengths) -> dict[str, Any]:
    return {**asdict(lengths), "counts": sorted(lengths.counts.items())}


def _scanned(facts: Mapping[str, Any]) -> Scanned:
    rules: dict[str, Any] = {
        key: tuple(x) if isinstance(x, list) else x for key, x in facts["rules"].items()
    }
    given = dict(facts["tally"])
    labels = given["labels"]
    tally = replace(
        Tally(given["limit"]),
        **given
        | {
            "counts": Counter(given["counts"]),
            "problems": {
                code: [Problem(**problem) for problem in problems]
                for code, problems in given["problems"].items()
            },
            "labels": None if labels is None else Counter(labels),
            "languages": [(value, name) for value, name in given["languages"]],
            "input_lengths": _lengths(facts["input_lengths"]),
            "output_lengths": _lengths(facts["output_lengths"]),
        },
    )
    files = [FileFacts(**file) for file in facts["files"]]
    return Scanned(Rules(**rules), tally, files, facts["others"], facts["unread"])


def _lengths(facts: Mapping[str, Any]) -> Lengths:
    return Lengths(**{**facts, "counts": Counter(dict(facts["counts"]))})
