"""Validation in parts: each machine looks at some files. validation_merge.py puts parts together.

A part is a file: the hashes of its lines, then what else was counted, as JSON.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from tunepipe.catalog.catalog import Catalog
from tunepipe.data.source import Opener, Path, open_local
from tunepipe.files import replacing
from tunepipe.validation.merge import END, MAGIC, RUN
from tunepipe.validation.report import Scanned
from tunepipe.validation.statistics import Lengths
from tunepipe.validation.validate import Settings, scan


def write_part(
    paths: Path | Iterable[Path],
    part: str | os.PathLike[str],
    *,
    format: str,
    model: str = "",
    against: Path | Iterable[Path] = (),
    max_problems: int = 1000,
    pii: bool = False,
    workers: int = 0,
    opener: Opener = open_local,
    catalog: Catalog | None = None,
) -> None:
    """Look at some files of a dataset and write down what was found, 16 bytes a line and more.

    Args:
        paths: The files, as for `validate`.
        part: The file to write.
        format: One of formats.FORMATS. "auto" looks at these files only; parts must agree.
        model: As for `validate`, like the rest. `against` need be given to one part only.
        against: See `validate`.
        max_problems: See `validate`.
        pii: See `validate`.
        workers: See `validate`.
        opener: See `validate`.
        catalog: See `validate`.
    """
    with replacing(part, "wb") as file:
        file.write(MAGIC)

        def keep(number: int, line: int, inputs: bytes, outputs: bytes, against: bool) -> None:
            file.write(RUN.pack(number, line, len(inputs) // 8, against) + inputs + outputs)

        settings = Settings(
            format=format,
            model=model,
            max_problems=max_problems,
            pii=pii,
            workers=workers,
            opener=opener,
            catalog=catalog,
        )
        scanned = scan(paths, against, settings, keep)
        facts = json.dumps(_as_json(scanned)).encode()
        file.write(facts + END.pack(len(facts)))


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
            "media": tally.media,
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
