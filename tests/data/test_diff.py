"""Two states of a dataset: what was added, changed, removed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunepipe.data.conversations import Example
from tunepipe.data.diff import DatasetState, compare, drift, drifts, from_bytes, state, to_bytes
from tunepipe.errors import UsageError

ROWS = st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("xyz")), max_size=12)


def of(rows):
    return state(
        Example(number, ({"role": "user", "content": prompt},), answer)
        for number, (prompt, answer) in enumerate(rows)
    )


@pytest.mark.parametrize(
    ("before", "now", "same", "added", "changed", "removed"),
    [
        ("", "", 0, 0, 0, 0),
        ("ax", "ax", 1, 0, 0, 0),
        ("ax", "ax by", 1, 1, 0, 0),
        ("ax by", "by ax", 2, 0, 0, 0),
        ("ax by", "az by", 1, 0, 1, 0),
        ("ax by", "by", 1, 0, 0, 1),
        ("ax ax", "ax", 1, 0, 0, 1),
        ("ax ay", "ax az", 1, 0, 1, 0),
        ("ax", "by", 0, 1, 0, 1),
    ],
)
def test_rows_by_their_content(before, now, same, added, changed, removed):
    found = compare(of(map(tuple, before.split())), of(map(tuple, now.split())))
    assert (found.same, found.added, found.changed, found.removed) == (
        same, added, changed, removed,
    )  # fmt: skip
    assert found.new == added + changed


@settings(deadline=None, max_examples=60)
@given(ROWS, ROWS)
def test_the_counts_add_up(before, now):
    found = compare(of(before), of(now))
    assert found.rows == found.same + found.added + found.changed == len(now)
    assert found.rows_before == found.same + found.removed + found.changed == len(before)
    back = compare(of(now), of(before))
    assert (back.added, back.removed, back.changed) == (found.removed, found.added, found.changed)


@settings(deadline=None, max_examples=40)
@given(ROWS)
def test_a_state_is_read_as_it_was_written(rows):
    kept = of(rows)
    assert from_bytes(to_bytes(kept)) == kept
    assert to_bytes(of(reversed(rows))) == to_bytes(kept)
    assert kept.total() == len(rows)


@pytest.mark.parametrize("data", [b"", b"{}", to_bytes(DatasetState([(1, 2)]))[:-1]])
def test_what_is_no_state(data):
    with pytest.raises(UsageError, match="not a state"):
        from_bytes(data)


@pytest.mark.parametrize(
    ("before", "now", "distance"),
    [
        ({"ja": 3, "en": 1}, {"ja": 30, "en": 10}, 0.0),
        ({"ja": 1}, {"en": 1}, 1.0),
        ({"ja": 1, "en": 1}, {"ja": 1}, 0.5),
        ({}, {"en": 1}, 0.0),
    ],
)
def test_drift(before, now, distance):
    assert drift(before, now) == pytest.approx(distance)


def test_drifts_of_what_both_have():
    lengths = {"mean": 10.0, "max": 20}
    before = {"labels": {"a": 3, "b": 1}, "input_characters": lengths, "output_characters": lengths}
    now = {"labels": {"a": 1, "b": 2}, "input_characters": {"mean": 12.5}, "languages": {"en": 1}}
    assert drifts(before, now) == {"labels": 0.4167, "input_characters": [10.0, 12.5]}
    assert drifts(before, {}) == {}


def test_a_difference_is_told_in_full():
    found = compare(of([("a", "x"), ("b", "y"), ("c", "y")]), of([("a", "x"), ("b", "z")]))
    assert found.as_json() == {
        "rows_before": 3, "rows": 2, "same": 1, "added": 0, "changed": 1, "removed": 1,
    }  # fmt: skip


def test_the_report_says_what_changed_since_the_champion():
    from tunepipe.reporting.facts import DataChanges, fitting
    from tunepipe.reporting.sections import data_changes

    found = {"since": "r1", "same": 120, "added": 30, "changed": 4, "removed": 0,
             "drift": {"labels": 0.25, "input_characters": [10.0, 12.4]}}  # fmt: skip
    assert data_changes(fitting(found, DataChanges)) == [
        ("Rows since the champion's training",
         "120 same, 30 added, 4 changed, 0 removed (run r1)"),
        ("Drift since then", "labels 25 % apart; mean characters: inputs 10 then, 12 now"),
    ]  # fmt: skip
    assert data_changes(fitting({}, DataChanges)) == []
