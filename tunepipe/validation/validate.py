"""Every problem of every row of a dataset, with its line: files, blocks, workers, one report."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from tunepipe.arguments import check_whole
from tunepipe.catalog.catalog import Catalog, load_catalog
from tunepipe.catalog.limits import Rules
from tunepipe.data.formats import check_format
from tunepipe.data.source import (
    SNIFFED_FILES,
    Block,
    Opener,
    Path,
    Source,
    Span,
    expanded,
    open_local,
    refuse_streams,
)
from tunepipe.errors import UsageError, plural
from tunepipe.validation.duplicates import RepeatFinder
from tunepipe.validation.file_checks import SizeOf, check_files
from tunepipe.validation.problems import Problem
from tunepipe.validation.report import FileFacts, Report, Scanned, conclude
from tunepipe.validation.statistics import Tally
from tunepipe.validation.worker import BlockTask, Examined, examine

if TYPE_CHECKING:
    from concurrent.futures import Executor

__all__ = ["Report", "validate"]

# What becomes of the hashes of lines: of file number, first line, the lines as they were examined,
# and whether the file is one to compare with.
Keep = Callable[[int, int, Examined, bool], None]

BLOCK_BYTES = 1 << 19

# Below, the row checks alone are quicker than the import of the fast path's packages.
FAST_FROM_BYTES = 1 << 20
WORKERS_MAX = 256
# From here on, a second process pays for its start.
_WORKERS_FROM_BYTES = 48 << 20
# Number of blocks that a worker reads at a time.
_SPAN_BLOCKS = 4
# Any model of the local backend has none, and takes every format.
_NO_LIMITS = "tiny"


@dataclass(frozen=True)
class ValidationSettings:
    """How a dataset is checked. The report depends on none of the three sizes from `workers` on.

    Args:
        format: One of formats.FORMATS, or "auto" to detect it from the first rows.
        model: The model to tune, for its limits; "" for the format's first model.
        max_problems: How many problems are listed, >= 0; all are counted.
        near_duplicates: Whether rows that say nearly the same are looked for; slow, and it takes
            16 bytes of memory a row.
        pii: Whether personal data is looked for; slow.
        workers: Processes, 0 to 256; 0 takes one for a small dataset, else one a core.
        block_bytes: How much of a file is checked at once, >= 1.
        fast_from_bytes: From more bytes than these on the fast path is used; it costs its imports.
        opener: Opens what is not a local path, such as a gs:// URI.
        catalog: The dated tables; None for the package's own.
        size_of: Looks up the files on Cloud Storage that rows point to; None leaves them unchecked.
            The dataset is read again for it.

    Raises:
        UsageError: `max_problems` or `workers` is out of range.
    """

    format: str = "auto"
    model: str = ""
    max_problems: int = 1000
    near_duplicates: bool = False
    pii: bool = False
    workers: int = 0
    block_bytes: int = BLOCK_BYTES
    fast_from_bytes: int = FAST_FROM_BYTES
    opener: Opener = open_local
    catalog: Catalog | None = None
    size_of: SizeOf | None = None

    def __post_init__(self) -> None:
        check_whole(self.max_problems, "max_problems")
        check_whole(self.workers, "workers", WORKERS_MAX)


def validate(
    paths: Path | Iterable[Path], *, against: Path | Iterable[Path] = (), **options: Any
) -> Report:
    """Check every line of a dataset and report every problem; memory does not grow with it.

    Args:
        paths: Files or local globs, one dataset together; "-" is standard input. gzip is read.
        against: Files whose rows must not occur in the dataset: the evaluation rows.
        options: The fields of ValidationSettings.

    Raises:
        UsageError: A file cannot be read, or an option is wrong.
    """
    settings = ValidationSettings(**options)
    repeats, near = RepeatFinder(settings.max_problems), None
    if settings.near_duplicates:
        from tunepipe.validation.near_duplicates import NearDuplicates

        near = NearDuplicates(settings.max_problems)

    def keep(file: int, line: int, examined: Examined, is_other: bool) -> None:
        inputs, outputs = examined.inputs, examined.outputs
        repeats.add(file, line, inputs, outputs, is_other)
        if not is_other:
            repeats.add_openings(file, *examined.openings, line - 1)
            if near:
                near.add(file, line, examined.marks, inputs, outputs)

    scanned = scan(paths, against, settings, keep)
    return conclude(scanned, repeats.find(), *([near.find()] if near else []))


def scan(
    paths: Path | Iterable[Path],
    against: Path | Iterable[Path],
    settings: ValidationSettings,
    keep: Keep,
) -> Scanned:
    """Check every line, and hand its hashes and signatures to a function; see `validate`."""
    names, opener = expanded(paths), settings.opener
    if settings.size_of:
        refuse_streams(names, "size_of")
    # The first few files tell the format.
    opened = {name: Source(name, opener) for name in dict.fromkeys(names[:SNIFFED_FILES])}
    scanned = Scanned(_rules(opened, settings), Tally(settings.max_problems))
    sources = (opened.pop(name) if name in opened else Source(name, opener) for name in names)
    local_bytes = sum(os.path.getsize(name) for name in names if os.path.isfile(name))
    with ExitStack() as stack:
        scan = _Scan(scanned, settings, keep, local_bytes, bool(against), stack)
        scan.read(sources)
        if against:
            scan.read((Source(name, opener) for name in expanded(against)), against=True)
    if size_of := settings.size_of:
        scanned.file_problems = dict(check_files(names, scanned.rules, size_of, opener))
    return scanned


def _rules(opened: Mapping[str, Source], settings: ValidationSettings) -> Rules:
    format = settings.format
    if format == "auto":
        format = next((x for source in opened.values() if (x := source.format())), "")
        if not format:
            return Rules("", settings.model, "")
    check_format(format)
    catalog = settings.catalog or load_catalog()
    return catalog.rules_for(format, settings.model, pii=settings.pii)


class _Scan:
    """One pass over the files: parts of them go out to be examined, and come back in order.

    Workers, if any, read plain local files themselves. A thread of this process reads them once
    more for their fingerprints. Both end with the `stack`.
    """

    def __init__(
        self,
        scanned: Scanned,
        settings: ValidationSettings,
        keep: Keep,
        local_bytes: int,
        openings: bool,
        stack: ExitStack,
    ) -> None:
        self._scanned, self._settings = scanned, settings
        self._keep, self._openings = keep, openings
        self._local_bytes, self._seen_bytes = local_bytes, 0
        self._workers = settings.workers or 1
        if not settings.workers and local_bytes >= _WORKERS_FROM_BYTES:
            affinity = getattr(os, "sched_getaffinity", None)
            self._workers = len(affinity(0)) if affinity else os.cpu_count() or 1
        self._pool: Executor | None = None
        self._reader: Executor | None = None
        if self._workers > 1:
            from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

            # Loaded once, for all workers; and they start before there is a thread.
            from tunepipe.validation import fast_path  # noqa: F401

            self._pool = ProcessPoolExecutor(self._workers)
            stack.callback(self._pool.shutdown, cancel_futures=True)
            self._pool.submit(int)
            self._reader = ThreadPoolExecutor(1)
            stack.callback(self._reader.shutdown, cancel_futures=True)

    def read(self, sources: Iterable[Source], against: bool = False) -> None:
        """Examine files of the dataset, or those whose rows must not occur in it, in any format.

        A file to compare with that cannot be read whole is refused: a leak would not be seen.
        """
        scanned, mine = self._scanned, Tally(0)
        files: Sized = scanned.others if against else scanned.files
        for source, examined in self._results(sources, against):
            if examined is None and against:
                _require_read(source, mine)
                scanned.others.append(source.path)
            elif examined is None:
                self._add_file(source, mine)
            if examined is None:
                mine = Tally(0)
                continue
            self._keep(len(files), mine.lines + 1, examined, against)
            if not against:
                scanned.tally.merge(examined.tally, mine.lines)
            mine.lines += examined.tally.lines
            mine.rows += examined.tally.rows
            mine.valid_rows += examined.tally.valid_rows

    def _add_file(self, source: Source, mine: Tally) -> None:
        scanned, most = self._scanned, self._scanned.rules.file_bytes
        problems = []
        if source.kind.problem:
            problems.append(Problem(source.kind.code, source.kind.problem, fix=source.kind.fix))
            scanned.unread = True
        elif source.is_gzip:
            problems.append(Problem("compressed-file", "the file is compressed with gzip"))
        if 0 < most < source.bytes:
            what = f"the file has {source.bytes} bytes; the service takes {most}"
            problems.append(Problem("file-too-large", what))
        scanned.tally.add(problems, 1, source.path)
        facts = (source.bytes, mine.lines, mine.rows, mine.valid_rows, source.fingerprint)
        scanned.files.append(FileFacts(source.path, *facts))

    def _results(
        self, sources: Iterable[Source], against: bool
    ) -> Iterator[tuple[Source, Examined | None]]:
        """Yield what the parts of each file were found to be, in order, and None at its end."""
        waiting: deque[tuple[Source, Callable[[], Examined | None]]] = deque()
        room = 2 * self._workers if self._pool else 0
        for source in sources:
            rules = self._scanned.rules
            if against and (format := source.format() or rules.format):
                rules = load_catalog().rules_for(format, _NO_LIMITS)
            for result in self._begun(source, rules):
                waiting.append((source, result))
                if len(waiting) > room:
                    first, result = waiting.popleft()
                    yield first, result()
        for source, result in waiting:
            yield source, result()

    def _begun(self, source: Source, rules: Rules) -> Iterator[Callable[[], Examined | None]]:
        """Hand out a file's parts, and yield how to wait for each and for the file's end."""
        block_bytes = self._settings.block_bytes
        end: Callable[[], None] | None = None
        parts: Iterator[Block | Span] = source.blocks(block_bytes)
        if source.kind.problem:
            source.read_to_end()
            parts = iter(())
        elif self._reader and source.on_disk:
            parts = source.spans(_SPAN_BLOCKS * block_bytes, block_bytes)
            end = self._reader.submit(source.read_to_end).result
        for part in parts:
            task = self._task(part, source.path, rules)
            yield self._pool.submit(examine, task).result if self._pool else partial(examine, task)
        yield end or (lambda: None)

    def _task(self, part: Block | Span, path: str, rules: Rules) -> BlockTask:
        if isinstance(part, bytes):
            self._seen_bytes += len(part)
        return BlockTask(
            lines=part,
            path=path,
            rules=rules,
            limit=self._scanned.tally.limit,
            cutoff=self._scanned.tally.sampled_below,
            fast=max(self._local_bytes, self._seen_bytes) > self._settings.fast_from_bytes,
            near=self._settings.near_duplicates,
            openings=self._openings,
        )


def _require_read(source: Source, tally: Tally) -> None:
    if source.kind.problem:
        found = source.kind.problem
    elif unread := tally.rows - tally.valid_rows:
        found = f"errors in {unread:,} of its {plural(tally.rows, 'row')}"
    else:
        return
    fix = f"tunepipe validate {source.path}"
    raise UsageError(f"cannot be compared with: {found}", where=source.path, fix=fix)
