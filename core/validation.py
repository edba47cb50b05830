"""Every problem of every row of a dataset, with its line: files, blocks, workers, one report."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .blocks import Examined, Task, examine
from .errors import UsageError
from .formats import FORMATS
from .problems import Finding
from .repeats import Found, Repeats
from .rules import Rules, rules_for
from .sources import Opener, Source, expanded, open_local
from .tally import Tally
from .validation_report import FileFacts, Report, Scanned, conclude

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

    from .near_duplicates import NearDuplicates

__all__ = ["Report", "validate"]

# What becomes of the hashes of lines: Repeats.add, or what writes them down.
Keep = Callable[[int, int, bytes, bytes, bool], None]
KeepMarks = Callable[[int, int, bytes, bytes, bytes], None]

BLOCK_BYTES = 1 << 19

# Below, the diagnoser alone is quicker than the start of the fast tier's packages.
FAST_FROM_BYTES = 1 << 19
# From here on, a second process pays for its start.
_WORKERS_FROM_BYTES = 48 << 20
_SNIFFED_FILES = 8


@dataclass(frozen=True)
class Settings:
    """How a dataset is looked at; `validate` says what each means."""

    format: str = "auto"
    model: str = ""
    max_problems: int = 1000
    pii: bool = False
    workers: int = 0
    block_bytes: int = BLOCK_BYTES
    fast_from_bytes: int = FAST_FROM_BYTES
    opener: Opener = open_local
    overrides: Mapping[str, Any] | None = None


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
        near_duplicates: Whether rows that say nearly the same are looked for; slow, and it takes
            16 bytes of memory a row.
        pii: Whether personal data is looked for; slow.
        workers: Processes; 0 takes one for a small dataset, else one a core.
        block_bytes: How much of a file is looked at at once, >= 1.
        fast_from_bytes: After so many bytes the fast tier looks first; it costs its start.
        opener: Opens what is not a local path, such as a gs:// URI.
        overrides: The user's values over services.toml.

    Raises:
        UsageError: A file cannot be read, or an argument is wrong.
    """
    settings = Settings(
        format=format,
        model=model,
        max_problems=max_problems,
        pii=pii,
        workers=workers,
        block_bytes=block_bytes,
        fast_from_bytes=fast_from_bytes,
        opener=opener,
        overrides=overrides,
    )
    repeats, near = Repeats(max_problems), _near(max_problems) if near_duplicates else None
    scanned = scan(paths, against, settings, repeats.add, near.add if near else None)
    return conclude(scanned, repeats.find(), near.find() if near else Found({}, []))


def _near(limit: int) -> NearDuplicates:
    from .near_duplicates import NearDuplicates

    return NearDuplicates(limit)


def scan(
    paths: Iterable[str | os.PathLike[str]],
    against: Iterable[str | os.PathLike[str]],
    settings: Settings,
    keep: Keep,
    keep_marks: KeepMarks | None = None,
) -> Scanned:
    """Look at every line; hand hashes to `keep`, signatures to `keep_marks`; see `validate`."""
    names = expanded(paths)
    opened = _first_sources(names, settings.opener)
    scanned = Scanned(_rules(opened, settings), Tally(settings.max_problems))
    with _Scan(scanned, settings, keep, keep_marks, settings.workers or _workers(names)) as one:
        for name in names:
            one.read(opened.pop(name) if name in opened else Source(name, settings.opener))
        for name in expanded(against) if against else ():
            one.read_against(Source(name, settings.opener))
    return scanned


def _rules(opened: Mapping[str, Source], settings: Settings) -> Rules:
    format = settings.format
    if format == "auto":
        format = _common_format(opened)
        if not format:
            return Rules("", settings.model, "")
    elif format not in FORMATS:
        raise UsageError(f"unknown format {format!r}", fix=f"use one of {', '.join(FORMATS)}")
    return rules_for(format, settings.model, pii=settings.pii, overrides=settings.overrides)


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
        self,
        scanned: Scanned,
        settings: Settings,
        keep: Keep,
        keep_marks: KeepMarks | None,
        workers: int,
    ) -> None:
        self._scanned, self._settings = scanned, settings
        self._keep, self._keep_marks = keep, keep_marks
        self._workers = workers
        self._seen_bytes = 0
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
        scanned, mine = self._scanned, Tally(0)
        scanned.tally.add_findings(source.findings(), 1, source.path)
        scanned.unread |= source.stopped
        if source.stopped:
            source.read_to_end()
        else:
            self._examine(source, mine)
        facts = (source.bytes, mine.lines, mine.rows, mine.valid_rows, source.fingerprint)
        scanned.files.append(FileFacts(source.path, *facts))
        if 0 < scanned.rules.file_bytes < source.bytes:
            most = f"the service takes {scanned.rules.file_bytes}"
            found = Finding("file-too-large", f"the file has {source.bytes} bytes; {most}")
            scanned.tally.add_findings([found], 1, source.path)

    def read_against(self, source: Source) -> None:
        """Keep the hashes of a file whose rows may not stand in the dataset.

        Raises:
            UsageError: The file holds no rows at all.
        """
        found = source.findings()
        if source.stopped:
            raise UsageError(f"cannot be compared with: {found[0].message}", where=source.path)
        number = len(self._scanned.others)
        self._scanned.others.append(source.path)
        for line, examined in self._results(source):
            self._keep(number, line, examined.inputs, examined.outputs, True)

    def _examine(self, source: Source, mine: Tally) -> None:
        number = len(self._scanned.files)
        for line, examined in self._results(source):
            self._scanned.tally.merge(examined.tally)
            mine.lines += examined.tally.lines
            mine.rows += examined.tally.rows
            mine.valid_rows += examined.tally.valid_rows
            hashes = (examined.inputs, examined.outputs)
            self._keep(number, line, *hashes, False)
            if self._keep_marks:
                self._keep_marks(number, line, examined.marks, *hashes)

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
        for block in source.blocks(self._settings.block_bytes):
            self._seen_bytes += len(block.data)
            task = Task(
                block=block,
                path=source.path,
                first_line=line,
                rules=self._scanned.rules,
                limit=self._scanned.tally.limit,
                cutoff=self._scanned.tally.sampled_below,
                near=self._keep_marks is not None,
                fast=self._seen_bytes > self._settings.fast_from_bytes,
            )
            if by_path and not block.skipped_bytes:
                data = block._replace(data=b"")
                task = replace(task, block=data, read_bytes=len(block.data))
            yield task
            line += block.lines
