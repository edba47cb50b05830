"""Validation in parts: each machine checks some files, and merge.py puts the parts together.

A part is a file: the hashes of its lines, then what else was counted.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from tunepipe.catalog.catalog import Catalog
from tunepipe.data.source import Opener, Path, open_local
from tunepipe.files import replacing
from tunepipe.validation.file_checks import SizeOf
from tunepipe.validation.merge import END, MAGIC, RUN, encode_scan
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
    size_of: SizeOf | None = None,
) -> None:
    """Check some files of a dataset and write down what was found: 16 bytes a line and more.

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
        size_of: See `validate`.
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
            size_of=size_of,
        )
        facts = encode_scan(scan(paths, against, settings, keep))
        file.write(facts + END.pack(len(facts)))
