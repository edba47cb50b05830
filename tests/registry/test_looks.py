"""The registry counts how often the same held-out rows have decided."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.standin.session import BUCKET
from tunepipe.data.predictions import Prediction
from tunepipe.evaluation.significance import confidence_of_look
from tunepipe.registry import looks, records


def rows(numbers, answer="a"):
    return [Prediction(str(n), "q", "r", f"{answer} {n}", hash=f"row {n}") for n in numbers]


def test_the_same_rows_are_looked_at_again_and_fresh_rows_are_not():
    first, same, grown, fresh = (
        looks.describe(rows(numbers, answer))
        for numbers, answer in (
            (range(200), "a"),
            (range(200), "b"),
            (range(300), "c"),
            (range(1000, 1200), "d"),
        )
    )
    assert looks.count(first, []) == 1
    assert looks.count(same, [first]) == 2
    assert looks.count(grown, [first, same]) == 3
    assert looks.count(fresh, [first, same, grown]) == 1


def test_a_row_is_known_by_its_content_and_without_it_by_its_id():
    row = Prediction("1", "q", "r", "a 1", hash="row 1")
    digest = hashlib.sha256(b"row 1").hexdigest()[:8]
    answers = hashlib.sha256(b'[["1", 0, "a 1"]]').hexdigest()[:16]
    assert looks.describe([row]) == {"rows": [digest], "answers": answers}
    nameless = replace(row, hash="")
    digest = hashlib.sha256(b"1").hexdigest()[:8]
    assert looks.describe([nameless]) == {"rows": [digest], "answers": answers}


def test_the_same_answers_are_not_another_look():
    first = looks.describe(rows(range(50)))
    assert looks.count(looks.describe(rows(range(50))), [first, first]) == 1


@pytest.mark.parametrize("shared", [0, 50, 100, 200])
def test_the_overlap_is_estimated_from_a_few_hashes(shared):
    left, right = rows(range(200)), rows(range(200 - shared, 400 - shared))
    found = looks.overlap(looks.describe(left)["rows"], looks.describe(right)["rows"])
    assert found == pytest.approx(shared / 200, abs=0.2)


@pytest.mark.parametrize(
    ("rows", "others", "share"),
    [
        ("01234", "01234", 1.0),
        ("01234", "56789", 0.0),
        ("01234", "05678", 0.2),
        ("01", "01234567", 1.0),
        ("01234567", "01", 0.25),
        ("0", "0", 1.0),
        ("", "", 0.0),
    ],
)
def test_the_overlap_is_that_of_the_smallest_hashes_of_both(rows, others, share):
    assert looks.overlap(rows, others) == share
    look, other = ({"rows": each, "answers": each} for each in (rows, others))
    assert looks.count(look, [{**other, "answers": "other"}]) == 1 + (share >= 0.2)


@pytest.mark.parametrize("part", [50, 100, 300])
def test_a_part_of_rows_that_have_decided_is_not_fresh_and_rows_mostly_new_are(part):
    """A lower eval_fraction or eval_max holds out a part of the rows that were held out before."""
    many, few = looks.describe(rows(range(400))), looks.describe(rows(range(part), "b"))
    assert looks.count(few, [many]) == 2
    grown = looks.describe(rows(range(10 * part), "c"))
    assert looks.count(grown, [few]) == 1


def test_a_look_keeps_few_hashes_and_those_of_the_newest_runs_are_read(tmp_path):
    look = looks.describe(rows(range(500)))
    assert (len(look["rows"]), {len(each) for each in look["rows"]}) == (32, {8})
    assert (look["rows"], len(look["answers"])) == (sorted(look["rows"]), 16)
    start = datetime(2026, 11, 26, tzinfo=UTC)
    # Their names are in another order than their times.
    for number in range(202):
        at = (start + timedelta(seconds=number)).isoformat(timespec="seconds")
        one = {**look, "answers": f"{number}"}
        run = f"run-{999 - number}"
        records.write(str(tmp_path), f"looks/{at}-{run}.json", {"run": run, "at": at, **one})
    found = looks.earlier(str(tmp_path), "new")
    assert [each["answers"] for each in found] == [str(number) for number in range(2, 202)]


def test_a_run_is_recorded_once_and_does_not_count_itself(tmp_path):
    place = str(tmp_path / "registry")
    assert looks.earlier(place, "r1") == looks.earlier("", "r1") == []
    look = looks.describe(rows(range(20)))
    for _ in "12":
        assert looks.record(place, "r1", look, "better", "2026-11-26T00:00:00+00:00") == 1
    assert looks.earlier(place, "r1") == []
    assert looks.earlier(place, "r2") == [look]
    assert looks.record("", "r1", look, "better", "") == 1
    assert looks.record(place, "r3", {}, "better", "") == 1
    other = looks.describe(rows(range(20), "b"))
    assert looks.record(place, "", other, "better", "2026-11-26T00:00:00+00:00") == 2
    assert len(looks.earlier(place, "r2")) == 1


def test_a_step_that_is_tried_again_writes_nothing_over(cloud):
    """A bucket with a retention policy would refuse it."""
    cloud.ask("facts", {"retention_seconds": 864000})
    place, look = f"gs://{BUCKET}/registry", looks.describe(rows(range(20)))
    for second in (1, 2):
        looks.record(place, "r1", look, "better", f"2026-11-26T00:00:0{second}+00:00")
    assert looks.earlier(place, "r2") == [look]


def test_all_looks_together_err_in_five_of_a_hundred_at_most():
    spent = [(1 - confidence_of_look(look)) / 2 for look in range(1, 10_000)]
    assert spent[0] == pytest.approx(0.025)
    assert sum(spent) <= 0.05
    assert spent == sorted(spent, reverse=True)
