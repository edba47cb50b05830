"""Signatures of rows, and how much of two has to agree."""

import hashlib
from array import array

import numpy as np
import pytest

from tunepipe.validation.duplicates import Repeat
from tunepipe.validation.near_duplicates import SHARED_BINS, NearDuplicates, signatures

TEXTS = [
    "",
    "four",
    "fives",
    "The  quick\nbrown fox",
    "the quick brown fox",
    "東京は今日も雨です",
    "x" * 500,
]


def test_signatures_are_the_same_in_every_release():
    found = signatures(TEXTS)
    assert len(found) == 128 * len(TEXTS)
    assert hashlib.sha256(found).hexdigest()[:16] == "5b1c102dd091fb71"
    rows = np.frombuffer(found, np.uint16).reshape(len(TEXTS), 64)
    assert [bool(row.any()) for row in rows] == [False, False, True, True, True, True, True]
    assert (rows[3] == rows[4]).all()  # space and case make no difference
    assert len(set(rows[2].tolist())) == 1  # one run fills all bins
    alone = b"".join(signatures([text]) for text in TEXTS)
    assert alone == found  # whatever comes before or after
    assert signatures([]) == b""


def row(different: int) -> list[int]:
    """A signature that differs from that of `row(0)` in so many bins."""
    return [1] * (64 - different) + [9] * different


def near(*marks: list[int], inputs=None, outputs=None, limit: int = 9):
    """Lines 5, 6, … of file 3, with different inputs unless said otherwise."""
    numbers = range(1, len(marks) + 1)
    finder = NearDuplicates(limit)
    finder.add(
        3, 5, np.array(marks, np.uint16).tobytes(),
        array("Q", inputs or numbers).tobytes(), array("Q", outputs or numbers).tobytes(),
    )  # fmt: skip
    return finder.find()


@pytest.mark.parametrize(("different", "is_near"), [(0, True), (13, True), (14, False)])
def test_four_bins_in_five_have_to_agree(different, is_near):
    assert SHARED_BINS == 51
    found = near(row(0), [2] * 64, row(different))
    assert found.counts == ({"near-duplicate": 1} if is_near else {})
    assert found.first == ([Repeat("near-duplicate", 3, 7, 3, 5)] if is_near else [])


def test_the_earliest_row_is_named_and_the_list_is_cut():
    found = near(row(0), row(0), row(0), row(0), limit=2)
    assert found.counts == {"near-duplicate": 3}
    assert found.first == [Repeat("near-duplicate", 3, line, 3, 5) for line in (6, 7)]


@pytest.mark.parametrize(
    ("inputs", "outputs", "count"),
    [
        ([1, 1], [1, 1], 0),  # a duplicate
        ([1, 1], [1, 2], 1),
        ([1, 2], [1, 1], 1),
        ([0, 2], [1, 2], 0),  # an invalid row
        ([1, 0], [1, 2], 0),
    ],
)
def test_duplicates_and_invalid_rows_are_none(inputs, outputs, count):
    assert (
        near(row(0), row(0), inputs=inputs, outputs=outputs).counts.get("near-duplicate", 0)
        == count
    )


def test_short_rows_are_compared_with_none():
    assert near([0] * 64, [0] * 64).counts == {}
    assert NearDuplicates(1).find().counts == {}


def test_rows_of_several_parts_are_named_by_file_and_line():
    finder = NearDuplicates(9)
    for part, (file, line) in enumerate([(0, 1), (0, 3), (1, 1)]):
        numbers = array("Q", [10 * part + 1, 10 * part + 2]).tobytes()
        marks = [*row(0 if part != 1 else 64), *[20 + part] * 64]
        finder.add(file, line, array("H", marks).tobytes(), numbers, numbers)
    assert finder.find().first == [Repeat("near-duplicate", 1, 1, 0, 1)]
