"""What a report works out from its counts."""

import pytest

from tunepipe.validation.report import FileFacts, Report


def report(valid_rows=10, format="palm", size=400, **stats):
    files = (FileFacts("f", size, 12, 11, valid_rows, "0"),)
    return Report(files, format, "m", {}, 0, (), stats)


@pytest.mark.parametrize(
    ("valid_rows", "longest", "mean", "tokens", "expected"),
    [(10, 100, 10.0, 25, 25), (10, 98, 10.0, 25, 25), (10, 97, 10.0, 25, 24), (1, 3, 1.0, 2, 6),
     (0, 9, 0, 9, 0)],
)  # fmt: skip
def test_the_tokens_of_the_longest_output(valid_rows, longest, mean, tokens, expected):
    lengths = {"max": longest, "mean": mean}
    found = report(valid_rows, output_characters=lengths, tokens_estimated={"output": tokens})
    assert found.longest_output_tokens == expected


@pytest.mark.parametrize(
    ("format", "unknown", "total", "expected"),
    [("palm", 0, 7, 7), ("palm", 1, 7, 0), ("preference", 0, 7, 100), ("preference", 0, 101, 101)],
)
def test_the_tokens_that_a_tuning_reads(format, unknown, total, expected):
    stats = {"rows_with_unknown_tokens": unknown, "tokens_estimated": {"total": total}}
    assert report(format=format, **stats).tokens == expected
    assert (report().tokens, report().rows, report().valid_rows) == (0, 11, 10)
