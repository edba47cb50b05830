"""Every problem of every row of a dataset, with its line: files, blocks, workers, one report."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .blocks import Examined, Task, examine
from .errors import UsageError
from .fingerprint import combined
from .formats import FORMATS
from .problems import Finding, Problem
from .repeats import Repeat, Repeats
from .rules import Rules, rules_for
from .sources import Opener, Source, expanded, open_local
from .tally import Tally

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

BLOCK_BYTES = 1 << 19

# Below, the diagnoser alone is quicker than the start of the fast tier's packages.
FAST_FROM_BYTES = 1 << 19
# From here on, a second process pays for its start.
_WORKERS_FROM_BYTES = 48 << 20
# Of each code so many problems are shown before the rest of the room is filled line by line.
_SHOWN_OF_EACH = 20
_SNIFFED_FILES = 8

_SAME = {
    "duplicate-row": "the same row stands at",
    "conflicting-row": "the same input with another output stands at",
    "eval-leak": "the same input stands at",
}


@dataclass(frozen=True)
class FileFacts:
    """One file of the dataset."""

    path: str
    bytes: int
    lines: int
    rows: int
    valid_rows: int
    fingerprint: str


@dataclass
class Report:
    """What a validation found.

    Args:
        files: The files, in the order given.
        format: The dataset's format, or "" where no row tells it.
        model: The model whose limits held.
        counts: How often each code was found; never cut.
        errors: How many of the problems are errors: above 0 the data did not pass.
        problems: The problems listed, by file and line, at most `max_problems`.
        stats: Lengths, tokens, languages, labels, repeats.
    """

    files: tuple[FileFacts, ...]
    format: str
    model: str
    counts: Mapping[str, int]
    errors: int
    problems: tuple[Problem, ...]
    stats: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Lines that are not blank."""
        return sum(file.rows for file in self.files)

    @property
    def valid_rows(self) -> int:
        """Rows without an error of their own."""
        return sum(file.valid_rows for file in self.files)

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the file's bytes, or that of all files' together."""
        return combined(file.fingerprint for file in self.files)

    @property
    def problems_total(self) -> int:
        """How many problems were found, listed or not."""
        return sum(self.counts.values())

    def as_json(self) -> dict[str, Any]:
        """Return the object that `validate --json` prints."""
        return {
            "path": ", ".join(file.path for file in self.files),
            "format": self.format,
            "model": self.model,
            "bytes": sum(file.bytes for file in self.files),
            "rows": self.rows,
            "valid_rows": self.valid_rows,
            "fingerprint": self.fingerprint,
            "problems_total": self.problems_total,
            "errors": self.errors,
            "counts": dict(self.counts),
            "problems": [problem.as_json() for problem in self.problems],
            "stats": dict(self.stats),
            "files": [
                {
                    "path": file.path,
                    "bytes": file.bytes,
                    "rows": file.rows,
                    "valid_rows": file.valid_rows,
                    "fingerprint": file.fingerprint,
                }
                for file in self.files
            ],
        }


def validate(
    paths: Iterable[str | os.PathLike[str]],
    *,
    format: str = "auto",
    model: str = "",
    against: Iterable[str | os.PathLike[str]] = (),
    max_problems: int = 1000,
    near_duplicates: bool = False,
    pii: bool = False,
    workers: int = 0,
    block_bytes: int = BLOCK_BYTES,
    fast_from_bytes: int = FAST_FROM_BYTES,
    opener: Opener = open_local,
    overrides: Mapping[str, Any] | None = None,
) -> Report:
    """Look at every line of a dataset and report every problem.

    Memory does not grow with the dataset, and the report depends neither on `block_bytes` nor on
    `fast_from_bytes` nor on `workers`.

    Args:
        paths: Files or local globs, one dataset together; "-" is standard input. gzip is read.
        format: One of formats.FORMATS, or "auto" to go by the first rows.
        model: The model to tune, for its limits; "" for the format's first model.
        against: Files of which no row may stand in the dataset: the evaluation rows.
        max_problems: How many problems are listed, >= 0; all are counted.
        near_duplicates: Whether rows that say nearly the same are looked for; slow.
        pii: Whether personal data is looked for; slow.
        workers: Processes; 0 takes one for a small dataset, else one a core.
        block_bytes: How much of a file is looked at at once, >= 1.
        fast_from_bytes: After so many bytes the fast tier looks first; it costs its start.
        opener: Opens what is not a local path, such as a gs:// URI.
        overrides: The user's values over services.toml.

    Raises:
        UsageError: A file cannot be read, or an argument is wrong.
    """
    if format != "auto" and format not in FORMATS:
        raise UsageError(f"unknown format {format!r}", fix=f"use one of {', '.join(FORMATS)}")
    names = expanded(paths)
    opened = _first_sources(names, opener)
    found = _common_format(opened) if format == "auto" else format
    rules = rules_for(found, model, pii=pii, overrides=overrides) if found else Rules("", model, "")
    scan = _Scan(rules, max_problems, block_bytes, fast_from_bytes, workers or _workers(names))
    with scan:
        for name in names:
            scan.read(opened.pop(name) if name in opened else Source(name, opener))
        for name in expanded(against) if against else ():
            scan.read_against(Source(name, opener))
        return scan.report()


def _first_sources(names: Sequence[str], opener: Opener) -> dict[str, Source]:
    """Open the first few files; they are enough to tell a format."""
    return {name: Source(name, opener) for name in dict.fromkeys(names[:_SNIFFED_FILES])}


def _common_format(sources: Mapping[str, Source]) -> str:
    return next((found for source in sources.values() if (found := source.format())), "")


def _workers(names: Sequence[str]) -> int:
    size = sum(os.path.getsize(name) for name in names if os.path.isfile(name))
    if size < _WORKERS_FROM_BYTES:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Scan:
    """One pass over the files: blocks go out to be examined, and come back in order."""

    def __init__(
        self, rules: Rules, limit: int, block_bytes: int, fast_from_bytes: int, workers: int
    ) -> None:
        self._rules, self._limit = rules, limit
        self._block_bytes, self._fast_from_bytes = block_bytes, fast_from_bytes
        self._workers = workers
        self._tally = Tally(limit)
        self._repeats = Repeats(limit)
        self._files: list[FileFacts] = []
        self._others: list[str] = []
        self._seen_bytes = 0
        self._stopped = False
        self._pool: Executor | None = None

    def __enter__(self) -> _Scan:
        if self._workers > 1:
            from concurrent.futures import ProcessPoolExecutor

            self._pool = ProcessPoolExecutor(self._workers)
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def read(self, source: Source) -> None:
        """Examine one file of the dataset."""
        self._tally.add_findings(source.findings(), 1, source.path)
        self._stopped |= source.stopped
        number, mine = len(self._files), Tally(0)
        if source.stopped:
            source.read_to_end()
        else:
            self._examine(source, number, mine)
        facts = (source.bytes, mine.lines, mine.rows, mine.valid_rows, source.fingerprint)
        self._files.append(FileFacts(source.path, *facts))
        if 0 < self._rules.file_bytes < source.bytes:
            most = f"the service takes {self._rules.file_bytes}"
            found = Finding("file-too-large", f"the file has {source.bytes} bytes; {most}")
            self._tally.add_findings([found], 1, source.path)

    def read_against(self, source: Source) -> None:
        """Keep the hashes of a file whose rows may not stand in the dataset.

        Raises:
            UsageError: The file holds no rows at all.
        """
        found = source.findings()
        if source.stopped:
            raise UsageError(f"cannot be compared with: {found[0].message}", where=source.path)
        number = len(self._others)
        self._others.append(source.path)
        for line, examined in self._results(source):
            self._repeats.add(number, line, examined.inputs, examined.outputs, against=True)

    def report(self) -> Report:
        """Conclude: repeats over all files, the limits on rows, the list cut to its size."""
        repeats = self._repeats.find()
        self._tally.counts.update(repeats.counts)
        self._tally.errors += repeats.counts.get("eval-leak", 0)
        for repeat in repeats.first:
            earlier = self._place(repeat)
            finding = Finding(repeat.code, f"{_SAME[repeat.code]} {earlier}")
            problem = finding.at(repeat.line, self._files[repeat.file].path)
            self._tally.problems.setdefault(repeat.code, []).append(problem)
        self._tally.add_findings(self._size_findings(), 1, self._files[0].path)
        stats = self._tally.statistics() | {
            "duplicate_rows": repeats.counts.get("duplicate-row", 0),
            "conflicting_rows": repeats.counts.get("conflicting-row", 0),
        }
        return Report(
            files=tuple(self._files),
            format=self._rules.format,
            model=self._rules.model,
            counts={code: count for code, count in sorted(self._tally.counts.items()) if count},
            errors=self._tally.errors,
            problems=self._listed(),
            stats=stats,
        )

    def _examine(self, source: Source, number: int, mine: Tally) -> None:
        for line, examined in self._results(source):
            self._tally.merge(examined.tally)
            for name in ("lines", "rows", "valid_rows"):
                setattr(mine, name, getattr(mine, name) + getattr(examined.tally, name))
            self._repeats.add(number, line, examined.inputs, examined.outputs)

    def _results(self, source: Source) -> Iterator[tuple[int, Examined]]:
        """Yield each block's first line and what it was found to be, in the file's order."""
        waiting: deque[tuple[int, Future[Examined]]] = deque()
        for task in self._tasks(source):
            if self._pool is None:
                yield task.first_line, examine(task)
                continue
            waiting.append((task.first_line, self._pool.submit(examine, task)))
            if len(waiting) > 2 * self._workers:
                line, future = waiting.popleft()
                yield line, future.result()
        for line, future in waiting:
            yield line, future.result()

    def _tasks(self, source: Source) -> Iterator[Task]:
        line = 1
        by_path = self._pool is not None and source.on_disk
        for block in source.blocks(self._block_bytes):
            self._seen_bytes += len(block.data)
            task = Task(
                block=block,
                path=source.path,
                first_line=line,
                rules=self._rules,
                limit=self._limit,
                cutoff=self._tally.sampled_below,
                fast=self._seen_bytes > self._fast_from_bytes,
            )
            if by_path and not block.skipped_bytes:
                data = block._replace(data=b"")
                task = replace(task, block=data, read_bytes=len(block.data))
            yield task
            line += block.lines

    def _place(self, repeat: Repeat) -> str:
        if repeat.code == "eval-leak":
            return f"line {repeat.earlier_line} of {self._others[repeat.earlier_file]}"
        if repeat.earlier_file == repeat.file:
            return f"line {repeat.earlier_line}"
        return f"line {repeat.earlier_line} of {self._files[repeat.earlier_file].path}"

    def _size_findings(self) -> Iterator[Finding]:
        rows, rules = self._tally.rows, self._rules
        least = max(1, rules.rows_min)
        if rows < least and not self._stopped:
            what = f"the dataset has {rows} rows; {rules.model or 'a tuning'} needs {least}"
            yield Finding("too-few-rows", what)
        elif rows < rules.rows_advised and not self._stopped:
            what = f"the dataset has {rows} rows; {rules.rows_advised} or more are advised"
            yield Finding("too-few-rows", what, level="warning")
        if 0 < rules.rows_max < rows:
            what = f"the dataset has {rows} rows; {rules.model} takes {rules.rows_max}"
            yield Finding("too-many-rows", what)

    def _listed(self) -> tuple[Problem, ...]:
        """Choose the first of every code, then what comes first; in order of file and line."""
        order = {file.path: number for number, file in enumerate(self._files)}
        kept = [list(problems) for problems in self._tally.problems.values()]
        for problems in kept:
            problems.sort(key=lambda problem: (order[problem.path], problem.line))
        first = [problem for problems in kept for problem in problems[:_SHOWN_OF_EACH]]
        rest = [problem for problems in kept for problem in problems[_SHOWN_OF_EACH:]]

        def place(problem: Problem) -> tuple[int, int, str, str]:
            return order[problem.path], problem.line, problem.code, problem.field

        chosen = sorted(first, key=place)[: self._limit]
        chosen += sorted(rest, key=place)[: self._limit - len(chosen)]
        return tuple(sorted(chosen, key=place))
