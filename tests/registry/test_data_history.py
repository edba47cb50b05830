"""What a series has seen, and how the data differ from the champion's."""

import json
from pathlib import Path

import pytest

from tunepipe.data.rows import read_examples
from tunepipe.registry import champions, data_history, records
from tunepipe.stores.generations import identity

STATS = {
    "languages": {"en": 4}, "labels": {"yes": 2, "no": 2},
    "input_characters": {"mean": 10.0}, "output_characters": {"mean": 3.0},
}  # fmt: skip


@pytest.fixture
def data(tmp_path):
    """Write rows; gives their address and fingerprint."""

    def write(*rows):
        path = tmp_path / "rows.jsonl"
        lines = [json.dumps({"input_text": row[0], "output_text": row[1]}) for row in rows]
        path.write_text("\n".join(lines))
        return str(path), identity(str(path)).fingerprint

    return write


def decided(data, place, series="weekly", least=0):
    return data_history.decide(*data, place, series, least, "auto")


def test_only_a_series_remembers(data, tmp_path):
    place, now = str(tmp_path / "registry"), data("ax", "by")
    assert decided(now, place) == "changed"
    data_history.remember(*now, place, "weekly", "r1", "auto", STATS)
    assert decided(now, place) == "unchanged"
    assert data_history.last(place, "weekly") == {"run": "r1", "fingerprint": now[1]}
    data_history.remember(*now, place, "weekly", "r1", "auto", STATS)  # a step tried again
    data_history.remember(*now, place, "", "r2", "auto", STATS)
    data_history.remember(*now, place, "weekly", "", "auto", STATS)
    files = (path for path in Path(place).rglob("*") if path.is_file())
    assert sorted(str(path.relative_to(place)) for path in files) == [
        f"data/{now[1][:32]}", "runs/r1.json", "runs/r2.json", "seen/weekly/000001.json",
    ]  # fmt: skip
    assert decided(now, place, series="") == "changed"
    assert decided(now, place, series="other") == "changed"
    assert decided(now, "") == "changed"


def test_a_run_that_ends_since_nothing_changed_says_since_when(data, tmp_path, capsys):
    place = str(tmp_path / "registry")
    data_history.remember(*data("ax"), place, "weekly", "r1", "auto", STATS)
    for series, run, reason in (
        ("weekly", "r2", "unchanged since run r1"), ("other", "r3", "unchanged"),
    ):  # fmt: skip
        assert data_history.record_unchanged(place, series, run) == reason
        assert capsys.readouterr().out == f"{reason}\n"
        assert records.read_outcome(place, run) == records.RunOutcome("", reason)


@pytest.mark.parametrize(
    ("rows", "least", "decision"),
    [
        (("ax", "by", "cz"), 0, "changed"),
        (("ax", "by", "cz"), 1, "changed"),
        (("ax", "by", "cz"), 2, "unchanged"),
        (("az", "bz"), 2, "changed"),  # other answers are new to learn
        (("by", "ax"), 1, "unchanged"),  # another order is not
        (("ax",), 1, "unchanged"),
    ],
)
def test_enough_new_rows(data, tmp_path, rows, least, decision):
    place = str(tmp_path / "registry")
    data_history.remember(*data("ax", "by"), place, "weekly", "r1", "auto", STATS)
    assert decided(data(*rows), place, least=least) == decision


def test_broken_rows_are_validations_to_name(data, tmp_path):
    place = str(tmp_path / "registry")
    data_history.remember(*data("ax", "by"), place, "weekly", "r1", "auto", STATS)
    (tmp_path / "rows.jsonl").write_text("{")
    now = str(tmp_path / "rows.jsonl")
    assert decided((now, identity(now).fingerprint), place, least=5) == "changed"


def test_the_champions_data_are_compared_with(data, tmp_path):
    place = str(tmp_path / "registry")
    now = data("ax", "by")
    assert data_history.since_champion(now[0], place, "auto", STATS) == {}
    data_history.remember(*now, place, "", "r1", "auto", STATS)
    moved = {"verdict": "better", "reason": "", "moved_at": "", "moved_by": ""}
    champions.promote(place, "model", run="r0", **moved)  # of which no data are recorded
    assert data_history.since_champion(now[0], place, "auto", STATS) == {}
    champions.promote(place, "model", run="r1", **moved)
    broken = tmp_path / "broken.jsonl"
    broken.write_text("{")
    assert data_history.since_champion(str(broken), place, "auto", STATS) == {}
    data_history.remember(*data("cz"), place, "", "r2", "auto", STATS)  # never promoted
    later = STATS | {"labels": {"yes": 4}, "input_characters": {"mean": 12.0}}
    found = data_history.since_champion(data("ax", "bz", "cz")[0], place, "auto", later)
    assert found == {
        "since": "r1", "rows_before": 2, "rows": 3, "same": 1, "added": 1, "changed": 1,
        "removed": 0,
        "drift": {"labels": 0.5, "languages": 0.0, "input_characters": [10.0, 12.0],
                  "output_characters": [3.0, 3.0]},
    }  # fmt: skip


def test_the_rows_that_a_run_was_trained_on_are_kept_as_hashes(data, tmp_path):
    place, now = str(tmp_path / "registry"), data("ax", "by", "cz", "by")
    ids = [example.id for example in read_examples(now[0])]
    data_history.remember(*now, place, "", "r1", "auto", STATS, held_out={ids[0]})
    address = records.find_trained_rows(place, "r1")
    assert records.read_trained_rows(address) == {ids[1], ids[2]}, "by occurs twice and counts once"
    assert (tmp_path / "registry" / "trained" / "r1").stat().st_size == 16
    data_history.remember(*now, place, "", "r1", "auto", STATS, held_out={ids[0]})
    data_history.remember(*now, place, "", "r2", "auto", STATS)
    assert records.find_trained_rows(place, "r2") == records.find_trained_rows("", "r1") == ""
    assert records.read_trained_rows("") == frozenset()
