"""One file of a dataset: what it is at first sight, and its lines in blocks of bounded size.

Every command reads datasets through `Source`, so that all of them agree on what a file holds:
compression, byte-order marks, encoding, format, and whether it is JSONL at all.
"""

from __future__ import annotations

import codecs
import glob
import gzip
import hashlib
import io
import json
import os
import re
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, BinaryIO, NamedTuple

from tunepipe.catalog.limits import LINE_BYTES_MAX
from tunepipe.data.encodings import (
    BOM,
    describe_not_utf8,
    encoding_of_mark,
    guess_encoding,
    name_of,
)
from tunepipe.data.formats import FORMATS, detect_format
from tunepipe.data.shapes import detect_shape
from tunepipe.errors import DataError, TunepipeError, UsageError
from tunepipe.files import unreadable

Opener = Callable[[str], BinaryIO]
Path = str | os.PathLike[str]

STDIN = "-"
SNIFFED_LINES = 100
SNIFFED_FILES = 8
_HEAD_BYTES = 1 << 18
_SOUGHT_BYTES = 1 << 16
_GZIP = b"\x1f\x8b"
_ZIP = b"PK\x03\x04"
_EXCEL = (b"[Content_Types].xml", b"xl/", b"docProps/")
_HEADER = re.compile(r'"?[\w .()/#%-]+"?(?:([,;\t|])"?[\w .()/#%-]*"?)+')
NAMED_DELIMITER = re.compile(r"(?i)sep=(.)\s*")


class FileKind(NamedTuple):
    """The kind of a file, from its first bytes.

    The name is "rows" (JSONL), "array" (one JSON value over the whole file), "table" (separated
    values by the `delimiter`), "parquet", "excel", "old-excel", or "" for what cannot be read. The
    `problem` is why it cannot be read as JSONL, with its fix and its code of validation.
    """

    name: str
    problem: str = ""
    fix: str = ""
    code: str = "not-jsonl"
    encoding: str = "utf-8"
    delimiter: str = ""


# Whole lines, the file's last perhaps without its newline; or the length of one too long to keep.
Block = bytes | int


class Span(NamedTuple):
    """The lines of a plain local file that begin between two offsets."""

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


def expanded(paths: Path | Iterable[Path]) -> list[str]:
    """Replace each local glob by the files that match it, in order of their names.

    Raises:
        UsageError: A glob matches nothing, or there is no path.
    """
    names: list[str] = []
    for item in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
        path = os.fspath(item)
        if "://" in path or not glob.has_magic(path) or os.path.exists(path):
            names.append(path)
            continue
        matches = sorted(glob.glob(path, recursive=True))
        if not matches:
            raise UsageError("no file matches", where=path, fix="check the folder and the wildcard")
        names += matches
    if not names:
        raise UsageError("no dataset is given", fix='name a file, or "-" for standard input')
    return names


def is_stream(name: str) -> bool:
    """Return True for what can be read only once: standard input, a pipe or a device."""
    return name == STDIN or (
        os.path.exists(name) and not (os.path.isfile(name) or os.path.isdir(name))
    )


def refuse_streams(names: Iterable[str], where: str) -> None:
    """Refuse what can be read only once, where it would be read again."""
    for name in filter(is_stream, names):
        raise UsageError(
            f"{name} can be read only once",
            where=where,
            fix="write the rows to a file, and name it",
        )


def open_local(path: str) -> BinaryIO:
    """Open a file of this machine, or standard input for "-"."""
    if path == STDIN:
        return sys.stdin.buffer
    if "://" in path:
        raise UsageError("not a local path", where=path, fix="copy it here first")
    return open(path, "rb")


class Source:
    """A file of a dataset: its head is read first, then its blocks are read once.

    A file that cannot be read, now or to its end, is a UsageError.
    """

    def __init__(self, path: Path, opener: Opener = open_local) -> None:
        self.path = os.fspath(path)
        self._digest = hashlib.sha256()
        self.bytes = 0
        self._local = opener is open_local and self.path != STDIN
        try:
            self._file = opener(self.path)
            self._head = self._read_head()
        except OSError as error:
            raise unreadable(self.path, error) from error
        self.is_gzip = self._head.startswith(_GZIP)
        self.head = self._plain_head()
        self.kind = _kind_by_name(inspect_head(self.head), self.path, self.head)

    @property
    def on_disk(self) -> bool:
        """Whether another process can read the same bytes by the path."""
        return self._local and os.path.isfile(self.path) and not self.is_gzip

    @property
    def fingerprint(self) -> str:
        """The hex SHA-256 of the bytes read so far."""
        return self._digest.hexdigest()

    def require_rows(self, error: type[TunepipeError] = DataError) -> None:
        """Refuse a file that is not JSONL, with the words that `tunepipe validate` uses."""
        if self.kind.problem:
            self.close()
            raise error(self.kind.problem, where=self.path, fix=self.kind.fix)

    def format(self) -> str:
        """Return the format that most of the first rows have, of equals the first; else ""."""
        formats = [detect_format(row) for row in self.first_rows() if isinstance(row, dict)]
        known = Counter(filter(None, formats))
        return known.most_common(1)[0][0] if known else ""

    def first_rows(self) -> list[Any]:
        """Decode the first lines; a line that is not JSON gives None."""
        return [_json(line) for line in _first_lines(self.head) if line.strip()]

    def blocks(self, block_bytes: int, encoding: str = "") -> Iterator[Block]:
        """Yield the file's lines in blocks of about `block_bytes`, UTF-16 and UTF-32 as UTF-8."""
        with self.opened() as stream:
            chunks = iter(partial(stream.read, block_bytes), b"")
            try:
                yield from _cut(_recoded(chunks, encoding) if encoding else chunks)
            except UnicodeError as error:  # as by UTF-16 without its mark
                found = f"the file is not {name_of(encoding)}"
                raise UsageError(found, where=self.path, fix="leave encoding out") from error

    @contextmanager
    def opened(self, decompress: bool = True) -> Iterator[Any]:
        """Give the file's bytes as a stream to read once."""
        try:
            raw = _Replayed(self._head, self._file, self._count)
            is_packed = self.is_gzip and decompress
            yield io.BufferedReader(gzip.GzipFile(fileobj=raw) if is_packed else raw)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise self._broken_gzip() from None
        except OSError as error:
            raise unreadable(self.path, error) from error
        finally:
            self.close()

    def spans(self, span_bytes: int, block_bytes: int) -> Iterator[Span]:
        """Yield the file in parts, where it is `on_disk`; `read_to_end` is left to the caller."""
        for start in range(0, os.path.getsize(self.path), span_bytes):
            yield Span(self.path, start, start + span_bytes, block_bytes)

    def read_to_end(self) -> None:
        """Read the file for its fingerprint and its size alone."""
        with self.opened(decompress=False) as stream:
            while stream.read(1 << 20):
                pass

    def close(self) -> None:
        """Close the file, but never standard input."""
        if self._file is not sys.stdin.buffer:
            self._file.close()

    def _broken_gzip(self) -> UsageError:
        found = "cannot be read: its gzip data are broken"
        return UsageError(found, where=self.path, fix="copy the file again")

    def _count(self, data: bytes) -> None:
        self._digest.update(data)
        self.bytes += len(data)

    def _read_head(self) -> bytes:
        """Read the first bytes, and on to the end of the first line where that is one long row."""
        head = [self._file.read(_HEAD_BYTES)]
        size = len(head[0])
        start = head[0][:1024].decode(encoding_of_mark(head[0]) or "utf-8", "ignore")
        is_array = start.lstrip("\ufeff \t\r\n").startswith("[{")
        while head[-1] and b"\n" not in head[-1] and size <= LINE_BYTES_MAX and not is_array:
            head.append(self._file.read(size))
            size += len(head[-1])
        return b"".join(head)

    def _plain_head(self) -> bytes:
        head = self._head
        if self.is_gzip:
            try:
                head = zlib.decompressobj(31).decompress(head, LINE_BYTES_MAX)
            except zlib.error:
                self.close()
                raise self._broken_gzip() from None
        if len(head) > LINE_BYTES_MAX and b"\n" not in head and self.on_disk:
            # The first line is too long to be kept: the rows after it tell the format.
            with open(self.path, "rb") as file:
                file.seek(_line_start(file, len(head), sys.maxsize))
                return file.read(_HEAD_BYTES)
        return head


def format_of(paths: Iterable[Path], opener: Opener = open_local) -> str:
    """Return the format of a dataset, by its first files.

    Raises:
        DataError: There is no row, or none of a known format, or a file is not JSONL.
        UsageError: A file cannot be read.
    """
    names = [os.fspath(path) for path in paths]
    rows: list[dict[str, Any]] = []
    is_empty, is_too_long = True, False
    unread: DataError | None = None
    for name in names[:SNIFFED_FILES]:
        source = Source(name, opener)
        source.require_rows()
        source.close()
        rows += [row for row in source.first_rows() if isinstance(row, dict)]
        for number, line in enumerate(_first_lines(source.head), 1):
            if line.strip() and not unread:
                unread = not_an_object(line.removeprefix(BOM))
                unread.where = f"{name}:{number}"
        is_empty &= not source.head.strip()
        is_too_long |= len(source._head) > LINE_BYTES_MAX
        if format := source.format():
            return format
    where = ", ".join(names)
    if is_empty:
        found, fix = "there is no row", "add rows, one JSON object a line"
        if is_too_long:
            found = (
                f"there is no line of up to {LINE_BYTES_MAX >> 20} MiB, longer ones are not read"
            )
            fix = "write each row on a line of its own"
        raise DataError(found, where=where, fix=fix)
    if unread and not rows:
        raise unread
    found = "no row has the fields of a known format"
    fix = f"name the format: one of {', '.join(FORMATS)}"
    if shape := next(filter(None, map(detect_shape, rows)), None):
        found, fix = shape.advice()
    raise DataError(found, where=where, fix=fix)


def not_an_object(line: bytes) -> DataError:
    """Return the error for a line that is no JSON object in UTF-8; the caller adds the place."""
    try:
        line.decode()
    except UnicodeDecodeError as error:
        message, fix = describe_not_utf8(line, error)
        return DataError(message, fix=fix or "save the file as UTF-8")
    return DataError(
        "the line is not a JSON object",
        fix="run tunepipe validate on the file: it lists every problem",
    )


def _packed(what: str) -> FileKind:
    fix = "decompress the file: the service reads plain JSONL"
    return FileKind("", f"the file is compressed ({what})", fix, "compressed-file")


_AGAIN = "fetch the file again, or write one JSON object a line, in UTF-8"
_CSV = "the file is CSV, a table of separated values", "tunepipe convert reads CSV"

# What a file is by the bytes that it begins with.
_BY_MAGIC = {
    b"version https://git-lfs": FileKind(
        "", "the file is a Git LFS pointer, not the data", "git lfs pull", "lfs-pointer"
    ),
    b"PAR1": FileKind("parquet", "the file is Parquet", "tunepipe convert reads Parquet"),
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": FileKind(
        "old-excel",
        "the file is an Excel workbook of before 2007, or one with a password",
        "save it as .xlsx without a password",
    ),
    b"\x28\xb5\x2f\xfd": _packed("zstandard"),
    b"BZh": _packed("bzip2"),
    b"\xfd7zXZ": _packed("xz"),
    _ZIP: _packed("zip"),
}


def inspect_head(head: bytes) -> FileKind:
    """Say what a file is by its first bytes, decompressed."""
    if head.startswith(_ZIP) and any(name in head[:4096] for name in _EXCEL):
        return FileKind("excel", "the file is an Excel workbook", "tunepipe convert reads .xlsx")
    for magic, kind in _BY_MAGIC.items():
        if head.startswith(magic):
            return kind
    if encoding := encoding_of_mark(head):
        what = name_of(encoding)
        fix = f"convert from {what} to UTF-8; tunepipe convert reads it"
        text = codecs.getincrementaldecoder(encoding)("replace").decode(head)
        inside = inspect_head(text.encode("utf-8", "replace"))
        return FileKind(
            inside.name, f"the file is {what}", fix, encoding=encoding, delimiter=inside.delimiter
        )
    return _kind_of_text(head.removeprefix(BOM))


def _kind_by_name(kind: FileKind, path: str, head: bytes) -> FileKind:
    """Believe a name that ends in .csv or .tsv, unless the file begins as JSON does."""
    name = path.lower().removesuffix(".gz")
    start = head[:1024].decode(kind.encoding, "ignore").lstrip("\ufeff \t\r\n")
    if kind.name != "rows" or not name.endswith((".csv", ".tsv")) or start[:1] in ("{", "["):
        return kind
    what, fix = (kind.problem, kind.fix) if kind.problem else _CSV
    usual = "\t" if name.endswith(".tsv") else ","
    return kind._replace(name="table", problem=what, fix=fix, delimiter=kind.delimiter or usual)


def _kind_of_text(head: bytes) -> FileKind:
    lines = [line.strip() for line in _first_lines(head)]
    if len(lines) == 1:  # of old Macs
        lines = [line.strip() for line in lines[0].split(b"\r", SNIFFED_LINES)]
    filled = [line for line in lines if line][:20]
    if not filled:
        return FileKind("rows")
    first = filled[0]
    if first.startswith(b"<"):
        return FileKind("", "the file is HTML or XML, as a page that asks for a login is", _AGAIN)
    if b"\0" in head[:16] and not first.startswith((b"{", b"[")):
        return FileKind("", "the file is binary, and of no kind that is known here", _AGAIN)
    # One array over the whole file, and not a row that is a list by mistake.
    is_array = first in (b"[", b"[{") or (first.startswith(b"[{") and first.endswith(b","))
    if len(filled) == 1:
        is_array |= first.startswith(b"[{") or isinstance(_json(first), list)
    if is_array:
        fix = "tunepipe convert, or: jq -c '.[]' IN > OUT"
        return FileKind("array", "the file is one JSON array", fix)
    if first == b"{" and len(filled) > 1 and filled[1].startswith(b'"'):
        fix = "tunepipe convert, or: jq -c . IN > OUT"
        return FileKind("array", "an object is written over several lines", fix)
    # The last line of rows between commas has none.
    after = [_after_object(line) for line in filled[: max(1, min(3, len(filled) - 1))]]
    if all(after):
        what = "a comma follows each object" if after[0] == "," else "objects follow each other"
        return FileKind("array", f"{what} on one line", "tunepipe convert reads it")
    encoding = guess_encoding(head[:_HEAD_BYTES])
    if delimiter := find_delimiter(filled, encoding or "latin-1"):
        return FileKind("table", *_CSV, encoding=encoding or "utf-8", delimiter=delimiter)
    return FileKind("rows", encoding=encoding if _all_in(encoding, lines) else "utf-8")


def _after_object(line: bytes) -> str:
    """Return what follows an object at a line's begin, if that is a comma or an object; else ""."""
    try:
        text = line.decode()
        end = json.JSONDecoder().raw_decode(text)[1] if text.startswith("{") else len(text)
    except (ValueError, RecursionError):
        return ""
    rest = text[end:].lstrip()[:1]
    return rest if rest in (",", "{") else ""


def _all_in(encoding: str, lines: list[bytes]) -> bool:
    """Return True if no non-ASCII line is UTF-8: one broken row says nothing about a file."""
    if encoding in ("", "utf-8"):
        return False
    for line in lines[:-1] if len(lines) > 1 else lines:
        try:
            if not line.isascii() and line.decode():
                return False
        except UnicodeDecodeError:
            continue
    return True


def find_delimiter(lines: list[bytes], encoding: str) -> str:
    """Return what separates the columns; "" if the first lines that are not blank are no table."""
    if not lines:
        return ""
    first = lines[0].decode(encoding, "replace").strip() + "\n"
    if named := NAMED_DELIMITER.fullmatch(first):
        return named[1]
    is_json = any(line.startswith((b"{", b"[")) for line in lines)
    if is_json or not _HEADER.fullmatch(first.rstrip("\n")):
        return ""
    return max(",;\t|", key=first.count)


class _Replayed(io.RawIOBase):
    """A file whose first bytes were read already, watched as it is read."""

    def __init__(self, head: bytes, file: BinaryIO, seen: Callable[[bytes], None]) -> None:
        self._head, self._file, self._seen = io.BytesIO(head), file, seen

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._head.read(size) or self._file.read(size)
        self._seen(data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _recoded(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Write text as UTF-8; a character that is broken becomes U+FFFD, which validation reports."""
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    for chunk in chunks:
        yield decoder.decode(chunk).encode()
    yield decoder.decode(b"", True).encode()


def _line_start(file: BinaryIO, place: int, before: int) -> int:
    """Return the first offset from `place` on where a line begins; from `before` on, any offset."""
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
    rest: list[bytes] = []
    rest_bytes = skipped = 0
    for chunk in chunks:
        if skipped:
            line, newline, chunk = chunk.partition(b"\n")
            skipped += len(line)
            if not newline:
                continue
            yield skipped
            skipped = 0
        end = chunk.rfind(b"\n") + 1
        if end:
            yield b"".join((*rest, memoryview(chunk)[:end]))
            rest, rest_bytes = [], 0
        if end < len(chunk):
            rest.append(chunk[end:])
            rest_bytes += len(rest[-1])
        if rest_bytes > LINE_BYTES_MAX:
            rest, rest_bytes, skipped = [], 0, rest_bytes
    if rest or skipped:
        yield skipped or b"".join(rest)


def _first_lines(head: bytes) -> list[bytes]:
    return head.split(b"\n", SNIFFED_LINES)[:SNIFFED_LINES]


def _json(line: bytes) -> Any:
    try:
        # Bytes would be decoded as UTF-16 or UTF-32 too.
        return json.loads(line.removeprefix(BOM).decode())
    except (ValueError, RecursionError):
        return None
