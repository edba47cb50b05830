"""The files that rows point to: whether they exist, and whether they are small enough."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING

from tunepipe.catalog.limits import Rules
from tunepipe.data.parts import RowFile, files_of
from tunepipe.data.rows import numbered_lines, parse
from tunepipe.data.source import Opener, Source
from tunepipe.errors import DataError, TunepipeError
from tunepipe.validation.content_checks import bytes_limit
from tunepipe.validation.problems import Finding, Problem

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

# Returns a file's size in bytes, or None if the file does not exist.
SizeOf = Callable[[str], int | None]

_ADDRESS = re.compile(rb'"(?:fileUri|file_uri|url)"')
_THREADS = 32
_LOOKED_UP_AT_ONCE = 1 << 14


@dataclass(frozen=True, slots=True)
class _Use:
    path: str
    line: int
    media: RowFile


def check_files(
    paths: Iterable[str], rules: Rules, size_of: SizeOf, opener: Opener
) -> Iterator[tuple[int, Problem]]:
    """Look up every gs:// file that rows point to, each once, some at a time.

    Args:
        paths: The dataset's files.
        rules: What the rows may hold.
        size_of: Looks a file up; called from several threads.
        opener: Opens what is not a local path.

    Yields:
        A hash of the file's URI, and a problem at the first row that points to the file, if it is
        missing or too large.
    """
    from concurrent.futures import ThreadPoolExecutor

    waiting: dict[str, _Use] = {}
    seen: set[int] = set()
    with ThreadPoolExecutor(_THREADS) as threads:
        for use in _uses(paths, rules.format, opener):
            uri = use.media.uri
            if not uri.startswith("gs://") or _hash(uri) in seen:
                continue
            seen.add(_hash(uri))
            waiting[uri] = use
            if len(waiting) >= _LOOKED_UP_AT_ONCE:
                yield from _check(waiting, rules, size_of, threads)
                waiting.clear()
        yield from _check(waiting, rules, size_of, threads)


def _check(
    uses: dict[str, _Use], rules: Rules, size_of: SizeOf, threads: ThreadPoolExecutor
) -> Iterator[tuple[int, Problem]]:
    for use, size in zip(uses.values(), threads.map(_look_up, uses, repeat(size_of)), strict=True):
        if isinstance(size, TunepipeError):
            message = f"the file that the row points to cannot be looked up: {size.found}"
            finding = Finding("missing-file", message, use.media.field, size.fix, "warning")
            yield _hash(use.media.uri), finding.at(use.line, use.path)
            continue
        most = bytes_limit(use.media, rules.media)
        if size is None:
            message = "the file that the row points to does not exist"
            finding = Finding("missing-file", message, use.media.field)
        elif 0 < most < size:
            message = f"the file that the row points to has {size} bytes, and the limit is {most}"
            finding = Finding("media-limit", message, use.media.field)
        else:
            continue
        yield _hash(use.media.uri), finding.at(use.line, use.path)


def _hash(uri: str) -> int:
    import xxhash

    return int(xxhash.xxh3_64_intdigest(uri.encode()))


def _look_up(uri: str, size_of: SizeOf) -> int | TunepipeError | None:
    try:
        return size_of(uri)
    except TunepipeError as error:
        return error


def _uses(paths: Iterable[str], format: str, opener: Opener) -> Iterator[_Use]:
    for path in paths:
        source = Source(path, opener)
        if source.kind.problem:
            source.close()
            continue
        for line, raw in numbered_lines(source):
            if not (isinstance(raw, bytes) and _ADDRESS.search(raw)):
                continue
            try:
                files = list(files_of(parse(raw)))
            except (DataError, KeyError, TypeError, AttributeError):
                continue  # the row has an error of its own
            yield from (_Use(path, line, media) for media in files if media.uri)
