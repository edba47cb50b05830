"""A corrected copy of a dataset: unambiguous problems are fixed, other rows are set apart.

Fixed: byte-order marks, blank lines, line ends, exact duplicates, and control characters when
asked. A row that still has an error goes to the rejects, with its reasons.
"""

from __future__ import annotations

import base64
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import IO, Any

from tunepipe.catalog.catalog import Catalog, load_catalog
from tunepipe.catalog.limits import Rules
from tunepipe.data.encodings import BOM
from tunepipe.data.formats import canonical
from tunepipe.data.rows import numbered_lines
from tunepipe.data.source import Opener, Path, Source, expanded, format_of, open_local
from tunepipe.errors import UsageError
from tunepipe.files import replacing
from tunepipe.validation.problems import Finding
from tunepipe.validation.row_checks import Diagnosis, diagnose, overlong
from tunepipe.validation.statistics import hashes
from tunepipe.validation.text_checks import CONTROL

Note = Callable[[str, str], None]

_LISTED = 1000


@dataclass(frozen=True, slots=True)
class LineChange:
    """One thing done to one line of the dataset."""

    path: str
    line: int
    code: str
    done: str

    def as_json(self) -> dict[str, Any]:
        """Return the change as a JSON object."""
        return asdict(self)


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

    def note(self, change: LineChange) -> None:
        """Count a change and list it if there is room."""
        self.counts[change.code] += 1
        if len(self.changes) < _LISTED:
            self.changes.append(change)

    def as_json(self) -> dict[str, Any]:
        """Return the record as a JSON object."""
        return {
            "rows_written": self.rows_written,
            "rows_rejected": self.rows_rejected,
            "counts": dict(sorted(self.counts.items())),
            "changes": [change.as_json() for change in self.changes],
        }


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

    A row is written byte for byte unless control characters are taken out of it. It costs about
    100 bytes of memory a row, to know the rows already written.

    Args:
        paths: Files or local globs, one dataset together; the copy is one file.
        out: The corrected copy. It may be the dataset itself: files are replaced when done.
        rejects: Where the other rows go; "" means `rejects_path(out)`. Each line holds
            `path`, `line`, `problems`, and the line's text as `row`, or as `row_base64` if it
            is not UTF-8. The file is written only if there is a row for it.
        format: One of formats.FORMATS, or "auto".
        model: The model to tune, for its limits.
        control_characters: Whether control characters are taken out.
        pii: Whether a row with personal data is one with an error.
        opener: Opens what is not a local path.
        catalog: The dated tables; None for the package's own.

    Raises:
        DataError: A file is not JSONL, or no row shows the format.
        UsageError: A file cannot be read or written.
    """
    names = expanded(paths)
    chosen = _format(names, opener) if format == "auto" else format
    rules = (catalog or load_catalog()).rules_for(chosen, model, pii=pii)
    refused = os.fspath(rejects) or rejects_path(out)
    with replacing(out, "wb") as file, replacing(refused) as apart:
        fixer = _Fixer(rules, control_characters, file, apart)
        for name in names:
            source = Source(name, opener)
            source.require_rows()
            for number, line in numbered_lines(source):
                fixer.take(line, name, number)
    if not fixer.done.rows_rejected:
        os.unlink(refused)
    return fixer.done


def _format(names: list[str], opener: Opener) -> str:
    if "-" in names:
        raise UsageError("standard input cannot be read twice", fix="name the --format")
    return format_of(names, opener)


@dataclass
class _Fixer:
    """Writes each line to the copy, fixed, or to the rejects with its reasons."""

    rules: Rules
    control_characters: bool
    file: IO[bytes]
    apart: IO[str]
    done: Fixing = field(default_factory=Fixing)
    seen: set[tuple[int, int]] = field(default_factory=set)

    def take(self, line: bytes | int, path: str, number: int) -> None:
        """Take one line; a line too long to keep is its length."""
        if isinstance(line, int):
            self._reject(path, number, [overlong(line)], b"")
            return

        def note(code: str, what: str) -> None:
            self.done.note(LineChange(path, number, code, what))

        fixed, diagnosis = self._fix(line, note)
        if diagnosis.is_blank:
            note("blank-line", "removed the blank line")
        elif diagnosis.input is None or diagnosis.row is None:
            stopping = [finding for finding in diagnosis.findings if finding.stops]
            self._reject(path, number, stopping, line)
        elif self._is_repeated(diagnosis.input, diagnosis.row):
            note("duplicate-row", "removed the row: it repeats an earlier one")
        else:
            self.file.write(fixed + b"\n")
            self.done.rows_written += 1

    def _fix(self, line: bytes, note: Note) -> tuple[bytes, Diagnosis]:
        line = _trimmed(line, note)
        diagnosis = diagnose(line, self.rules)
        if not (self.control_characters and _has_controls(diagnosis)):
            return line, diagnosis
        note("control-character", "removed the control characters")
        line = _without_controls(line)
        return line, diagnose(line, self.rules)

    def _is_repeated(self, given: str, row: Mapping[str, Any]) -> bool:
        # The whole row: two with one answer may turn down different ones, or weigh turns otherwise.
        first, second = hashes([given, canonical(row)])
        repeated = (first, second) in self.seen
        self.seen.add((first, second))
        return repeated

    def _reject(self, path: str, number: int, findings: list[Finding], line: bytes) -> None:
        self.done.rows_rejected += 1
        problems = [
            {"code": finding.code, "field": finding.field, "message": finding.message}
            for finding in findings
        ]
        record: dict[str, Any] = {"path": path, "line": number, "problems": problems}
        try:
            record["row"] = line.decode()
        except UnicodeDecodeError:
            record["row_base64"] = base64.b64encode(line).decode()
        self.apart.write(json.dumps(record, ensure_ascii=False) + "\n")


def _trimmed(line: bytes, note: Note) -> bytes:
    if line.startswith(BOM):
        note("bom", "removed the byte-order mark")
        line = line.removeprefix(BOM)
    if line.endswith(b"\r"):
        note("line-end", "made the line end with a newline alone")
        line = line.rstrip(b"\r")
    return line


def _has_controls(diagnosis: Diagnosis) -> bool:
    """Return True if the row's only errors are control characters: it is safe to rewrite."""
    others = any(x.stops for x in diagnosis.findings if x.code != "control-character")
    return not others and any(x.code == "control-character" for x in diagnosis.findings)


def _without_controls(line: bytes) -> bytes:
    row = json.loads(line, strict=False)
    return json.dumps(_cleaned(row), ensure_ascii=False).encode()


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return CONTROL.sub("", value)
    if isinstance(value, list):
        return [_cleaned(one) for one in value]
    if isinstance(value, dict):
        return {_cleaned(key): _cleaned(one) for key, one in value.items()}
    return value
