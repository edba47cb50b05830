import random

from hypothesis import given
from hypothesis import strategies as st

from tunepipe.catalog.catalog import load_catalog
from tunepipe.catalog.limits import LINE_BYTES_MAX
from tunepipe.data.rows import numbered_lines
from tunepipe.data.source import Source, Span, open_local
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
