"""A corrected copy of a dataset: unambiguous problems are fixed, other rows are set apart.

Fixed: byte-order marks, blank lines, line ends, exact duplicates, and control characters when
asked. A row that still has an error goes to the rejects, with its reasons.
"""

from __future__ import annotations

import base64
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from tunepipe.catalog.catalog import Catalog, load_catalog
from tunepipe.catalog.limits import Rules
from tunepipe.data.encodings import BOM
from tunepipe.data.formats import canonical
from tunepipe.data.rows import numbered_lines
from tunepipe.data.source import (
    Opener,
    Path,
    Source,
    expanded,
    format_of,
    open_local,
    refuse_streams,
)
from tunepipe.files import replacing
from tunepipe.validation.row_checks import Diagnosis, diagnose, overlong
from tunepipe.validation.statistics import hashes
from tunepipe.validation.text_checks import CONTROL

_LISTED = 1000


@dataclass(frozen=True, slots=True)
class LineChange:
    """One thing done to one line of the dataset."""

    path: str
    line: int
    code: str
    done: str


@dataclass
class Fixing:
    """What was done: the counts of every change, and the first thousand of them.

    Args:
        rows_written: Rows in the corrected copy.
        rows_rejected: Rows in the file of rejects.
    """

    rows_written: int = 0
    rows_rejected: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    changes: list[LineChange] = field(default_factory=list)

    def note(self, path: str, line: int, code: str, done: str) -> None:
        """Count a change and list it if there is room."""
        self.counts[code] += 1
        if len(self.changes) < _LISTED:
            self.changes.append(LineChange(path, line, code, done))

    def as_json(self) -> dict[str, Any]:
        """Return the record as a JSON object."""
        return asdict(self) | {"counts": dict(sorted(self.counts.items()))}


def rejects_path(out: str | os.PathLike[str]) -> str:
    """Return where the rejects go that belong to a corrected copy: rows.rejects.jsonl."""
    stem, _ = os.path.splitext(os.fspath(out))
    return f"{stem}.rejects.jsonl"


def fix(
    paths: Path | Iterable[Path],
    out: str | os.PathLike[str],
    *,
    rejects: str | os.PathLike[str] = "",
    format: str = "auto",
    model: str = "",
    control_characters: bool = False,
    pii: bool = False,
    opener: Opener = open_local,
    catalog: Catalog | None = None,
) -> Fixing:
    """Write a corrected copy of a dataset, and the rows that cannot be fixed next to it.

    A row is written byte for byte unless `control_characters` are taken out of it. It costs about
    100 bytes of memory a row, to know the rows already written. The other options are those of
    `validate.ValidationSettings`.

    The copy `out` may be the dataset itself: files are replaced when done. The other rows go to
    `rejects`, or else to `rejects_path(out)`. Each line there holds `path`, `line`, `problems`, and
    the line's text as `row`, or as `row_base64` if it is not UTF-8. That file is written only if
    there is a row for it.

    Raises:
        DataError: A file is not JSONL, or no row shows the format.
        UsageError: A file cannot be read or written, or is a pipe and the format is not named.
    """
    names = expanded(paths)
    if format == "auto":
        refuse_streams(names, "format")
        format = format_of(names, opener)
    rules = (catalog or load_catalog()).rules_for(format, model, pii=pii)
    refused = os.fspath(rejects) or rejects_path(out)
    done, seen = Fixing(), set[tuple[int, ...]]()
    with replacing(out, "wb") as file, replacing(refused) as apart:
        for name in names:
            source = Source(name, opener)
            source.require_rows()
            for number, line in numbered_lines(source):
                note = partial(done.note, name, number)
                if isinstance(line, int):
                    diagnosis, line = Diagnosis((overlong(line),)), b""
                else:
                    line, diagnosis = _fix_line(line, rules, control_characters, note)
                if diagnosis.is_blank:
                    note("blank-line", "removed the blank line")
                elif diagnosis.input is None:
                    done.rows_rejected += 1
                    apart.write(_reject(name, number, line, diagnosis))
                # The whole row counts: two with one answer may turn down different ones.
                elif (key := tuple(hashes([diagnosis.input, canonical(diagnosis.row)]))) in seen:
                    note("duplicate-row", "removed the row: it repeats an earlier one")
                else:
                    seen.add(key)
                    file.write(line + b"\n")
                    done.rows_written += 1
    if not done.rows_rejected:
        os.unlink(refused)
    return done


def _fix_line(
    line: bytes, rules: Rules, control_characters: bool, note: Callable[[str, str], None]
) -> tuple[bytes, Diagnosis]:
    if line.startswith(BOM):
        note("bom", "removed the byte-order mark")
        line = line.removeprefix(BOM)
    if line.endswith(b"\r"):
        note("line-end", "made the line end with a newline alone")
        line = line.rstrip(b"\r")
    diagnosis = diagnose(line, rules)
    codes = {problem.code for problem in diagnosis.problems if problem.is_error}
    has_controls = any(problem.code == "control-character" for problem in diagnosis.problems)
    if not (control_characters and has_controls) or codes - {"control-character"}:
        return line, diagnosis
    note("control-character", "removed the control characters")
    row = _without_controls(json.loads(line, strict=False))
    line = json.dumps(row, ensure_ascii=False).encode()
    return line, diagnose(line, rules)


def _without_controls(value: Any) -> Any:
    if isinstance(value, str):
        return CONTROL.sub("", value)
    if isinstance(value, list):
        return [_without_controls(item) for item in value]
    if isinstance(value, dict):
        return {_without_controls(key): _without_controls(item) for key, item in value.items()}
    return value


def _reject(path: str, number: int, line: bytes, diagnosis: Diagnosis) -> str:
    problems = [
        {"code": problem.code, "field": problem.field, "message": problem.message}
        for problem in diagnosis.problems
        if problem.is_error
    ]
    record: dict[str, Any] = {"path": path, "line": number, "problems": problems}
    try:
        record["row"] = line.decode()
    except UnicodeDecodeError:
        record["row_base64"] = base64.b64encode(line).decode()
    return json.dumps(record, ensure_ascii=False) + "\n"
