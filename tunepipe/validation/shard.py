"""Validation in parts: each machine checks some files, and merge.py puts the parts together.

A part is a file: the hashes of its lines, then what else was counted.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import msgspec

from tunepipe.data.source import Path
from tunepipe.files import replacing
from tunepipe.validation.merge import END, MAGIC, RUN
from tunepipe.validation.validate import ValidationSettings, scan
from tunepipe.validation.worker import Examined


def write_part(
    paths: Path | Iterable[Path],
    part: str | os.PathLike[str],
    *,
    format: str,
    **settings: Any,
) -> None:
    """Check some files of a dataset and write down what was found: 16 bytes a line and more.

    The `format` "auto" looks at these files only, and parts must agree. Settings are the rest of
    ValidationSettings.
    """
    with replacing(part, "wb") as file:
        file.write(MAGIC)

        def keep(number: int, line: int, examined: Examined, _: bool) -> None:
            inputs, outputs = examined.inputs, examined.outputs
            file.write(RUN.pack(number, line, len(inputs) // 8) + inputs + outputs)

        scanned = scan(paths, (), ValidationSettings(format=format, **settings), keep)
        facts = msgspec.msgpack.encode(scanned)
        file.write(facts + END.pack(len(facts)))
