"""Reading datasets block by block, from wherever bytes come, and what a file is at first sight."""

from __future__ import annotations

import glob
import gzip
import hashlib
import io
import json
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, BinaryIO, NamedTuple

from tunepipe.catalog.limits import LINE_BYTES_MAX
from tunepipe.data.formats import common_format
from tunepipe.errors import UsageError
from tunepipe.files import separator, unreadable
from tunepipe.validation.problems import Finding
from tunepipe.validation.row_checks import BOM

Opener = Callable[[str], BinaryIO]

_HEAD_BYTES = 1 << 18
_SOUGHT_BYTES = 1 << 16
_SNIFFED_LINES = 100
_PACKED = {
    b"PK\x03\x04": "zip",
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
}
_GZIP = b"\x1f\x8b"
_LFS = b"version https://git-lfs"


class Block(NamedTuple):
    """Whole lines of a file.

    Args:
        data: The lines; the file's last may lack its newline.
        skipped_bytes: Where this is more than 0, one line of so many bytes, too long to keep.
    """

    data: bytes
    skipped_bytes: int = 0


class Span(NamedTuple):
    """The lines of a plain local file that begin between two places, for whoever reads them."""

    path: str
    start: int
    end: int
    block_bytes: int

    def blocks(self) -> Iterator[Block]:
        """Yield the lines in blocks of about `block_bytes`."""
        with open(self.path, "rb") as file:
            first = _line_start(file, self.start, self.end)
            if first < self.end:
                last = _line_start(file, self.end, sys.maxsize)
                yield from _cut(_chunks(file, first, last, self.block_bytes))


def expanded(paths: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Replace each local glob by the files that match it, in order of their names.

    Raises:
        UsageError: A glob matches nothing, or no path is given.
    """
    found: list[str] = []
    for given in paths:
        path = os.fspath(given)
        if "://" in path or not glob.has_magic(path) or os.path.exists(path):
            found.append(path)
            continue
        matches = sorted(glob.glob(path, recursive=True))
        if not matches:
            raise UsageError("no file matches", where=path)
        found += matches
    if not found:
        raise UsageError("no dataset is given", fix='name a file, or "-" for standard input')
    return found


def open_local(path: str) -> BinaryIO:
    """Open a file of this machine, or standard input for "-"."""
    if path == "-":
        return sys.stdin.buffer
    if "://" in path:
        raise UsageError("not a local path", where=path, fix="copy it here first")
    return open(path, "rb")


class Source:
    """One file under validation: its head is seen first, then its blocks are read once.

    Args:
        path: Its name, for the report.
        opener: Opens it for reading bytes.
    """

    def __init__(self, path: str, opener: Opener) -> None:
        self.path = path
        self._digest = hashlib.sha256()
        self.bytes = 0
        self._local = opener is open_local and path != "-"
        try:
            self._file = opener(path)
            self.head = self._read_head()
        except OSError as error:
            raise unreadable(path, error) from error
        self._packed = self.head.startswith(_GZIP)
        not_lines = None if self._packed else _not_lines(self.head)
        self.stopped = not_lines is not None
        packed = Finding("compressed-file", "the file is compressed with gzip")
        self.findings = [packed] if self._packed else [not_lines] if not_lines else []

    @property
    def on_disk(self) -> bool:
        """Whether another process can read the same bytes by the path."""
        return self._local and os.path.isfile(self.path) and not self._packed

    @property
    def fingerprint(self) -> str:
        """The hex SHA-256 of the bytes read so far."""
        return self._digest.hexdigest()

    def format(self) -> str | None:
        """Name the format that most of the first rows have."""
        rows = [_json(line) for line in _first_lines(self._plain_head())]
        return common_format(rows)

    def blocks(self, block_bytes: int) -> Iterator[Block]:
        """Yield the file's lines in blocks of about so many bytes.

        Raises:
            UsageError: The file cannot be read to its end.
        """
        with self._opened() as raw:
            stream = gzip.GzipFile(fileobj=raw) if self._packed else raw  # type: ignore[call-overload]
            yield from _cut(iter(partial(stream.read, block_bytes), b""))

    def spans(self, span_bytes: int, block_bytes: int) -> Iterator[Span]:
        """Yield the file in parts, where it is `on_disk`; `read_to_end` is left to the caller."""
        for start in range(0, os.path.getsize(self.path), span_bytes):
            yield Span(self.path, start, start + span_bytes, block_bytes)

    def read_to_end(self) -> None:
        """Read the file for its fingerprint and its size alone.

        Raises:
            UsageError: The file cannot be read to its end.
        """
        with self._opened() as raw:
            while raw.read(1 << 20):
                pass

    def close(self) -> None:
        """Close the file, but never standard input."""
        if self._file is not sys.stdin.buffer:
            self._file.close()

    @contextmanager
    def _opened(self) -> Iterator[_Replayed]:
        try:
            yield _Replayed(self.head, self._file, self._count)
        except (OSError, EOFError, zlib.error) as error:
            raise unreadable(self.path, error) from error
        finally:
            self.close()

    def _count(self, data: bytes) -> None:
        self._digest.update(data)
        self.bytes += len(data)

    def _read_head(self) -> bytes:
        head = b""
        while len(head) < _HEAD_BYTES or (b"\n" not in head and len(head) < LINE_BYTES_MAX):
            more = self._file.read(_HEAD_BYTES)
            if not more:
                break
            head += more
        return head

    def _plain_head(self) -> bytes:
        if not self._packed:
            return self.head
        try:
            return zlib.decompressobj(31).decompress(self.head, LINE_BYTES_MAX)
        except zlib.error:
            return b""


class _Replayed:
    """A file whose first bytes were read already, watched as it is read."""

    def __init__(self, head: bytes, file: BinaryIO, seen: Callable[[bytes], None]) -> None:
        self._head, self._file, self._seen = io.BytesIO(head), file, seen

    def read(self, size: int) -> bytes:
        data = self._head.read(size) or self._file.read(size)
        self._seen(data)
        return data


def _line_start(file: BinaryIO, place: int, before: int) -> int:
    """Return the first place from this one on where a line begins; from `before` on, any place."""
    if place:
        place = file.seek(place - 1)
        while place < before and (data := file.read(_SOUGHT_BYTES)):
            newline = data.find(b"\n") + 1
            if newline:
                return place + newline
            place += len(data)
    return place


def _chunks(file: BinaryIO, start: int, end: int, size: int) -> Iterator[bytes]:
    file.seek(start)
    while data := file.read(min(size, end - start)):
        start += len(data)
        yield data


def _cut(chunks: Iterable[bytes]) -> Iterator[Block]:
    """Cut what is read into whole lines; of one that is too long, its length alone is kept."""
    rest, skipped = b"", 0
    for chunk in chunks:
        if skipped:
            line, newline, chunk = chunk.partition(b"\n")
            skipped += len(line)
            if not newline:
                continue
            yield Block(b"", skipped)
            skipped = 0
        end = chunk.rfind(b"\n") + 1
        if end:
            yield Block(b"".join((rest, memoryview(chunk)[:end])))
            rest = b""
        rest += chunk[end:]
        if len(rest) > LINE_BYTES_MAX:
            rest, skipped = b"", len(rest)
    if rest or skipped:
        yield Block(rest, skipped)


def _not_lines(head: bytes) -> Finding | None:
    """Say what a file is that is not JSONL at all."""
    if head.startswith(_LFS):
        return Finding("lfs-pointer", "the file is a Git LFS pointer, not the data")
    for magic, name in _PACKED.items():
        if head.startswith(magic):
            return Finding("compressed-file", f"the file is compressed ({name})")
    if head.startswith(b"PAR1"):
        fix = "tunepipe convert reads Parquet"
        return Finding("not-jsonl", "the file is Parquet", fix=fix)
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or _looks_utf16(head):
        fix = "convert from UTF-16 to UTF-8"
        return Finding("not-jsonl", "the file is UTF-16", fix=fix)
    return _not_one_object_a_line(head.removeprefix(BOM))


def _looks_utf16(head: bytes) -> bool:
    start = head[:64]
    return len(start) >= 4 and (start[1::2].count(0) > 16 or start[::2].count(0) > 16)


def _not_one_object_a_line(head: bytes) -> Finding | None:
    lines = [line.strip() for line in _first_lines(head)]
    filled = [line for line in lines if line][:20]
    if not filled:
        return None
    first = filled[0]
    if _is_array(first, filled):
        fix = "tunepipe convert, or: jq -c '.[]' IN > OUT"
        return Finding("not-jsonl", "the file is one JSON array", fix=fix)
    if first == b"{" and len(filled) > 1 and filled[1].startswith(b'"'):
        return Finding("not-jsonl", "an object stands over several lines", fix="jq -c . IN > OUT")
    if separator(head):
        fix = "tunepipe convert reads CSV"
        return Finding("not-jsonl", "the file is CSV, a table of separated values", fix=fix)
    return None


def _first_lines(head: bytes) -> list[bytes]:
    return head.split(b"\n", _SNIFFED_LINES)[:_SNIFFED_LINES]


def _is_array(first: bytes, filled: list[bytes]) -> bool:
    """Tell one array over the whole file from a row that is a list by mistake."""
    if first in (b"[", b"[{") or (first.startswith(b"[{") and first.endswith(b",")):
        return True
    alone = len(filled) == 1
    return alone and (first.startswith(b"[{") or isinstance(_json(first), list))


def _json(line: bytes) -> Any:
    try:
        # Bytes would be decoded as UTF-16 or UTF-32 too.
        return json.loads(line.removeprefix(BOM).decode())
    except (ValueError, RecursionError):
        return None
