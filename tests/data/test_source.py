import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunepipe.catalog.limits import LINE_BYTES_MAX
from tunepipe.data.source import Source, Span, open_local
from tunepipe.validation.validate import validate

TEXT = st.lists(st.sampled_from([b"\n", b"\r", b"{}", b"a longer line"]), max_size=60).map(b"".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=TEXT, span_bytes=st.integers(1, 40), block_bytes=st.integers(1, 30))
def test_spans_hold_every_line_once_and_whole(tmp_path, data, span_bytes, block_bytes):
    path = tmp_path / "file"
    path.write_bytes(data)
    spans = Source(str(path), open_local).spans(span_bytes, block_bytes)
    blocks = [block.data for span in spans for block in span.blocks()]
    assert b"".join(blocks) == data
    assert all(block.endswith(b"\n") for block in blocks[:-1])


def test_a_line_longer_than_many_spans_is_read_by_the_first_alone(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"a\n" + b"x" * 1000 + b"\nb\n")
    spans = [Span(str(path), start, start + 100, 30) for start in range(0, 1100, 100)]
    lines = [b"".join(block.data for block in span.blocks()) for span in spans]
    assert lines == [b"a\n" + b"x" * 1000 + b"\n", *[b""] * 9, b"b\n"]


def test_workers_pass_over_a_line_that_no_one_keeps(tmp_path):
    chance = random.Random(1)
    rows = [b'{"prompt": "%x", "completion": "ok"}' % chance.getrandbits(64) for _ in range(60_000)]
    rows[30_000] = b"x" * (2 * LINE_BYTES_MAX)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(rows))
    one, two = (validate([path], workers=workers) for workers in (1, 2))
    assert two == one
    assert [(problem.line, problem.code) for problem in one.problems] == [(30_001, "too-long")]
