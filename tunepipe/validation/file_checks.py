"""The files that rows point to: whether they exist, and whether they are small enough."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice

from tunepipe.catalog.limits import Rules
from tunepipe.data.parts import RowFile, files_of
from tunepipe.data.rows import numbered_lines, parse
from tunepipe.data.source import Opener, Source
from tunepipe.errors import DataError, TunepipeError
from tunepipe.validation.content_checks import bytes_limit
from tunepipe.validation.problems import Problem
from tunepipe.validation.statistics import hashes

# Returns a file's size in bytes, or None if the file does not exist.
SizeOf = Callable[[str], int | None]

_ADDRESS = re.compile(rb'"(?:fileUri|file_uri|url)"')
# Of a file: the path and the line of its row, and the file.
_Use = tuple[str, int, RowFile]

_THREADS = 32
_LOOKED_UP_AT_ONCE = 1 << 14


def check_files(
    paths: Iterable[str], rules: Rules, size_of: SizeOf, opener: Opener
) -> Iterator[tuple[int, Problem]]:
    """Look up every gs:// file that rows point to, each once, in several threads.

    Yields:
        A hash of the file's URI, and a problem at the first row that points to the file, if it is
        missing or too large.
    """
    from concurrent.futures import ThreadPoolExecutor

    def look_up(use: _Use) -> Problem | None:
        file, most = use[2], bytes_limit(use[2], rules.media)
        try:
            size = size_of(file.uri)
        except TunepipeError as error:
            message = f"the file that the row points to cannot be looked up: {error.found}"
            return Problem("missing-file", message, file.field, error.fix, "warning")
        if size is None:
            message = "the file that the row points to does not exist"
            return Problem("missing-file", message, file.field)
        message = f"the file that the row points to has {size} bytes, and the limit is {most}"
        return Problem("media-limit", message, file.field) if 0 < most < size else None

    uses = _first_uses(paths, opener)
    with ThreadPoolExecutor(_THREADS) as threads:
        while batch := list(islice(uses, _LOOKED_UP_AT_ONCE)):
            for (path, line, file), problem in zip(batch, threads.map(look_up, batch), strict=True):
                if problem:
                    yield hashes([file.uri])[0], replace(problem, line=line, path=path)


def _first_uses(paths: Iterable[str], opener: Opener) -> Iterator[_Use]:
    """Yield the first row that points to each file on gs://."""
    seen: set[int] = set()
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
            except (DataError, TypeError, AttributeError):
                continue  # the row has an error of its own
            for file in files:
                is_object = file.uri.startswith("gs://")
                if is_object and (value := hashes([file.uri])[0]) not in seen:
                    seen.add(value)
                    yield path, line, file
