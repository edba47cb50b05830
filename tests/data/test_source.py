import gzip
import io
import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunepipe.catalog.catalog import load_catalog
from tunepipe.catalog.limits import LINE_BYTES_MAX
from tunepipe.data.formats import FORMATS
from tunepipe.data.rows import blocks, decode, numbered_lines
from tunepipe.data.source import Source, Span, expanded, format_of, inspect_head, open_local
from tunepipe.data.turns import shown_name
from tunepipe.errors import DataError, UsageError
from tunepipe.validation.row_checks import diagnose
from tunepipe.validation.validate import validate

TEXT = st.lists(st.sampled_from([b"\n", b"\r", b"{}", b"a longer line"]), max_size=60).map(b"".join)


@given(data=TEXT, span_bytes=st.integers(1, 40), block_bytes=st.integers(1, 30))
def test_spans_hold_every_line_once_and_whole(tmp_path, data, span_bytes, block_bytes):
    path = tmp_path / "file"
    path.write_bytes(data)
    spans = Source(str(path), open_local).spans(span_bytes, block_bytes)
    blocks = [block for span in spans for block in span.blocks()]
    assert b"".join(blocks) == data
    assert all(block.endswith(b"\n") for block in blocks[:-1])


def test_a_line_longer_than_many_spans_is_read_by_the_first_alone(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"a\n" + b"x" * 1000 + b"\nb\n")
    spans = [Span(str(path), start, start + 100, 30) for start in range(0, 1100, 100)]
    lines = [b"".join(span.blocks()) for span in spans]
    assert lines == [b"a\n" + b"x" * 1000 + b"\n", *[b""] * 9, b"b\n"]


def pair(size: int) -> bytes:
    row = b'{"input_text": "", "output_text": "y"}'
    return row.replace(b'""', b'"' + b"xy" * ((size - len(row)) // 2) + b'"', 1)


def test_a_line_of_the_most_bytes_is_read_and_one_of_more_is_not(tmp_path):
    path = tmp_path / "rows.jsonl"
    for size, read in ((LINE_BYTES_MAX, True), (LINE_BYTES_MAX + 2, False)):
        assert len(pair(size)) == size
        path.write_bytes(b"\n".join([pair(40), pair(size), b"{", pair(42)]))
        report = validate([path], model="tiny")
        codes = [(x.line, x.code) for x in report.problems]
        # The lines after it keep their numbers.
        assert codes == ([] if read else [(2, "too-long")]) + [(3, "not-json")]
        kinds = [type(line) for _, line in numbered_lines(Source(path))]
        assert kinds == [bytes, bytes if read else int, bytes, bytes]


def test_the_lines_of_a_block_are_whole_and_an_overlong_one_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    lines = [b"\xef\xbb\xbf{}", b"x" * LINE_BYTES_MAX, b"{}"]
    path.write_bytes(b"\n".join(lines))
    found = list(blocks(path))
    assert [line for _, part in found for line in part] == [b"{}\n", lines[1] + b"\n", b"{}\n"]
    assert found[0][0] == 1
    path.write_bytes(b"\n".join([*lines, b"x" * (LINE_BYTES_MAX + 1)]))
    with pytest.raises(DataError) as caught:
        list(blocks(path))
    assert caught.value.where == f"{path}:4"
    assert caught.value.found.startswith(f"the line has {LINE_BYTES_MAX + 1} bytes")


def nested(depth: int) -> bytes:
    return b'{"y": [], "x": ' + b"[" * (depth - 1) + b"1" + b"]" * (depth - 1) + b"}"


def test_a_row_is_decoded_up_to_a_hundred_levels():
    assert decode(nested(100))["x"]
    with pytest.raises(DataError, match="nested more than 100 levels deep"):
        decode(nested(101))
    with pytest.raises(DataError, match="the character NUL"):
        decode(b'{"a": "\\\\\\u0000"}')
    assert decode(b'{"a": "\\\\u0000"}') == {"a": "\\u0000"}


@pytest.mark.parametrize(
    ("name", "shown"), [("a_b", True), ("n" * 40, True), ("n" * 41, False), ("é", False),
                        ("a b", False), ("", False)],
)  # fmt: skip
def test_a_key_is_shown_where_it_reads_like_a_field(name, shown):
    assert shown_name(name) == (name if shown else "")


ARRAY = ("array", "the file is one JSON array", "tunepipe convert, or: jq -c '.[]' IN > OUT")
OBJECT = (
    "array", "an object is written over several lines", "tunepipe convert, or: jq -c . IN > OUT",
)  # fmt: skip
CSV = ("table", "the file is CSV, a table of separated values", "tunepipe convert reads CSV")


def packed(what: str) -> tuple[str, ...]:
    fix = "decompress the file: the service reads plain JSONL"
    return "", f"the file is compressed ({what})", fix, "compressed-file", "utf-8", ""


def kind(told, encoding="utf-8", delimiter=""):
    return (*told, "not-jsonl", encoding, delimiter)


ROWS = kind(("rows", "", ""))
AGAIN = "fetch the file again, or write one JSON object a line, in UTF-8"
HTML = ("", "the file is HTML or XML, as a page that asks for a login is", AGAIN)
BINARY = ("", "the file is binary, and of no kind that is known here", AGAIN)
COMMAS, RUN_ON = (
    ("array", f"{what} on one line", "tunepipe convert reads it")
    for what in ("a comma follows each object", "objects follow each other")
)
UTF_16 = ("the file is UTF-16", "convert from UTF-16 to UTF-8; tunepipe convert reads it")


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"", ROWS),
        (b"\n \n", ROWS),
        *((head, kind(ARRAY)) for head in (
            b"[", b"[{", b'[{"a":1},\n{"a":2}]', b'[{"a":1}]', b"[1]", b"[\n1", b"[{\n",
        )),
        *((head, ROWS) for head in (
            b'[{"a":1}]\n{}', b"[1]\n[2]", b"{\n1", b"{", b"a,b\n{}", b"Title\na;b\n1;2", b"xx\n",
            b"{}{}\n{}\n{}", b"{},\n{}\n{}", b"{}x\n", b'{"a":"\0"}', b"{}\n{}{}",
        )),
        (b'{\n"a":1}', kind(OBJECT)),
        *((head, kind(COMMAS)) for head in (b"{},", b"{},\n{}", b"{} ,\n{},\n{},\n{}\n{}")),
        *((head, kind(RUN_ON)) for head in (b"{}{}", b"{} {}\n{}", b"{}{}\n{}{}\n{}")),
        *((head, kind(HTML)) for head in (b"<!DOCTYPE html>", b"\n <?xml version='1.0'?><Error>")),
        *((head, kind(BINARY)) for head in (
            b"\0" * 99, b"\x89PNG\r\n\x1a\n\0\0", b"ARROW1\0\0", b"\x10\0\0\0abcd")),
        (b"a;b\r1;2\r", kind(CSV, delimiter=";")),
        (b"a,b\n1,2", kind(CSV, delimiter=",")),
        (b"\n\na;b,c;d\n", kind(CSV, delimiter=";")),
        (b"a\tb\n", kind(CSV, delimiter="\t")),
        (b"sep=;\na,b\n", kind(CSV, delimiter=";")),
        (b"\xef\xbb\xbfa|b\n1|2", kind(CSV, delimiter="|")),
        ("é;b\n".encode("latin-1"), kind(CSV, "cp1252", ";")),
        ("a,b\n1,2".encode("utf-16"), kind(("table", *UTF_16), "utf-16", ",")),
        ("{}".encode("utf-16"), kind(("rows", *UTF_16), "utf-16")),
        # One broken row says nothing about a file.
        (b'{"a":"\xe9"}\n', kind(("rows", "", ""), "cp1252")),
        (b'{"a":"\xe9"}\n{"a":"\xc3\xa9"}\n{}', ROWS),
        (b'{"a":"\xc3\xa9"}\n{"a":"\xe9"}\n{}', ROWS),
        (b'{"a":"\xe9"}\n{"a":"\xc3', kind(("rows", "", ""), "cp1252")),
        # The last line may be cut.
        (b'{"a":"\xe9"}\n{"a":"\xc3\xa9"}', kind(("rows", "", ""), "cp1252")),
        (b'{"a":"\x81\x01"}\n', ROWS),
        (b"a;b\n\x81\x01;1\n", kind(CSV, delimiter=";")),
        (b"PK\x03\x04xl/", kind(("excel", "the file is an Excel workbook",
                                "tunepipe convert reads .xlsx"))),
        (b"PK\x03\x04" + b"x" * 4100 + b"xl/", packed("zip")),
        (b"BZh9", packed("bzip2")),
    ],
)  # fmt: skip
def test_what_a_file_is_at_first_sight(head, found):
    assert tuple(inspect_head(head)) == found


def test_a_file_is_closed_when_it_is_read_or_refused(tmp_path):
    def opened(data: bytes) -> tuple[io.BytesIO, Source]:
        file = io.BytesIO(data)
        return file, Source("f", lambda _: file)

    file, source = opened(b"{}\n")
    assert (b"".join(source.blocks(10)), file.closed) == (b"{}\n", True)
    file, source = opened(b"a,b\n1,2\n")
    with pytest.raises(DataError, match="CSV"):
        source.require_rows()
    assert file.closed
    with pytest.raises(DataError, match="CSV"):
        format_of(["f"], lambda _: io.BytesIO(b"a,b\n1,2\n"))
    file = io.BytesIO(b'{"input_text": "q"}\n')
    assert (format_of(["f"], lambda _: file), file.closed) == ("palm", True)
    file = io.BytesIO(gzip.compress(b"{}")[:12])
    with pytest.raises(UsageError, match="gzip data are broken"):
        list(Source("f", lambda _: file).blocks(10))
    assert file.closed


def test_standard_input_stays_open(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"{}\n")))
    assert list(Source("-").blocks(10)) == [b"{}\n"]
    assert not sys.stdin.buffer.closed


def test_only_plain_local_files_are_read_by_other_processes(tmp_path):
    plain, gz = tmp_path / "a.jsonl", tmp_path / "a.jsonl.gz"
    plain.write_bytes(b"{}\n")
    gz.write_bytes(gzip.compress(b"{}\n"))
    sources = [Source(plain), Source(gz), Source(plain, lambda path: open_local(path))]
    assert [source.on_disk for source in sources] == [True, False, False]
    for source in sources:
        source.close()


def test_a_wildcard_goes_through_folders_and_a_name_that_looks_like_one_is_a_name(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    names = [tmp_path / "a" / "b" / "x.jsonl", tmp_path / "a" / "x.jsonl", tmp_path / "[1].jsonl"]
    for path in names:
        path.touch()
    assert expanded(str(tmp_path / "a" / "**" / "*.jsonl")) == list(map(str, names[:2]))
    assert expanded([names[2], "gs://b/*.jsonl"]) == [str(names[2]), "gs://b/*.jsonl"]


@pytest.mark.parametrize(
    ("content", "found", "fix"),
    [
        (b"\n", "there is no row", "add rows, one JSON object a line"),
        (b'{"a": 1}\n', "no row has the fields of a known format",
         f"name the format: one of {', '.join(FORMATS)}"),
        (b'x\n{"a": 1}\n', "no row has the fields of a known format",
         f"name the format: one of {', '.join(FORMATS)}"),
    ],
)  # fmt: skip
def test_a_dataset_whose_format_is_not_seen_says_why(tmp_path, content, found, fix):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        format_of([path])
    error = caught.value
    assert (error.found, error.where, error.fix) == (found, str(path), fix)


@pytest.mark.parametrize(
    ("content", "place", "found", "fix"),
    [
        (b"\n- a: 1\n- b: 2\n", ":2", "the line is not a JSON object",
         "run tunepipe validate on the file: it lists every problem"),
        ('\ufeff{"a": "소포는"}\n'.encode(), "", "", ""),
        ('{"a": "소포는"}\n'.encode("euc-kr"), ":1",
         "the bytes from byte 8 of the line are not UTF-8", "save the file as UTF-8"),
        ('{"a": "お茶です"}\n'.encode("cp932"), ":1",
         "the bytes from byte 8 of the line are not UTF-8; it may be Shift_JIS",
         "tunepipe convert IN OUT --to FORMAT --encoding cp932"),
    ],
)  # fmt: skip
def test_a_dataset_without_a_line_that_can_be_read_says_what_its_first_is(
    tmp_path, content, place, found, fix
):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        format_of([path])
    error = caught.value
    assert error.where == f"{path}{place}"
    assert not found or (error.found, error.fix) == (found, fix)


@pytest.mark.parametrize(
    ("name", "content", "kind", "delimiter"),
    [
        ("a.csv", b"messages\nx\n", "table", ","), ("a.CSV.gz", b"messages\n", "table", ","),
        ("a.tsv", b"what?\thow!\n", "table", "\t"), ("a.csv", b"a;b\n", "table", ";"),
        ("a.csv", b'\xef\xbb\xbf {"a": 1}\n', "rows", ""), ("a.csv", b"[1]\n[2]\n", "rows", ""),
        ("a.csv", b"<html>", "", ""), ("a.txt", b"messages\n", "rows", ""),
        ("a.csv", "{}\n".encode("utf-16"), "rows", ""),
        ("a.csv", "x\n".encode("utf-16"), "table", ","),
    ],
)  # fmt: skip
def test_a_name_tells_a_table_unless_the_file_begins_as_json(
    tmp_path, name, content, kind, delimiter
):
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    source = Source(path)
    source.close()
    assert (source.kind.name, source.kind.delimiter) == (kind, delimiter)


def test_the_format_is_that_of_most_of_the_first_rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    palm, pair = b'{"input_text": "q"}\n', b'{"prompt": "q"}\n'
    path.write_bytes(b"[]\n" + pair + palm + palm)
    source = Source(path)
    assert (source.format(), source.first_rows()[0]) == ("palm", [])
    source.close()
    path.write_bytes(b"{\n1\n" + pair + palm)
    with Source(path).opened() as stream:
        assert stream.read(3) == b"{\n1"
    assert format_of([path]) == "prompt-completion"


def test_depth_ends_at_a_hundred():
    rules = load_catalog().rules_for("gemini", "tiny")
    for depth, code in ((100, "extra-field"), (101, "nesting-too-deep")):
        line = b'{"contents": [], "x": ' + b"[" * (depth - 1) + b"1" + b"]" * (depth - 1) + b"}"
        assert code in [problem.code for problem in diagnose(line, rules).problems]
    brackets = b'{"contents": [], "x": "' + b"[{" * 200 + b'\\"[["}'
    assert "nesting-too-deep" not in [x.code for x in diagnose(brackets, rules).problems]


def test_workers_pass_over_a_line_that_no_one_keeps(tmp_path):
    chance = random.Random(1)
    rows = [b'{"prompt": "%x", "completion": "ok"}' % chance.getrandbits(64) for _ in range(60_000)]
    rows[30_000] = b"x" * (2 * LINE_BYTES_MAX)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(rows))
    one, two = (validate([path], workers=workers) for workers in (1, 2))
    assert two == one
    assert [(problem.line, problem.code) for problem in one.problems] == [(30_001, "too-long")]
