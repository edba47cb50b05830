"""The first step refuses what would fail a run after its tuning is paid for."""

import json

import pytest

from tunepipe.components import prepare_run
from tunepipe.data.text_pairs import estimate_tokens
from tunepipe.errors import DataError, UsageError
from tunepipe.registry import champions, data_history, records

ROWS = [{"input_text": f"question {n}", "output_text": f"answer {n}"} for n in range(4)]
WRONG = {
    "task": "nope", "margin": 2.0, "guard_margin": -1.0, "max_output_tokens": 0, "seed": -1,
    "scoring": {"mising": "wrong"}, "metric": "number:much", "answers": 0,
    "asking": {"attempts": 0}, "judge_model": "nope", "judge_prompt": "?",
}  # fmt: skip


@pytest.fixture
def given(tmp_path):
    return {"dataset_uri": write(tmp_path / "rows.jsonl", ROWS), "backend": "local"}


def write(path, rows) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def prepare(**given):
    return prepare_run.python_func(**given)


@pytest.mark.parametrize("name", WRONG)
def test_the_settings_of_every_later_step_are_checked(given, name):
    with pytest.raises(UsageError):
        prepare(**given, **{name: WRONG[name]})


def test_later_steps_are_given_plain_values_alone(given):
    asked = {"asking": {"workers": 2}, "scoring": {"missing": "excluded"}}
    found = prepare(**given, **asked, margin=0.1, judge_model="gemini-3.5-flash")
    assert (found.Output, found.champion, found.guard_fingerprint) == ("changed", "", "")
    assert found.asking == {
        "max_output_tokens": 256,
        "answers": 1,
        "group_by": "",
        "workers": 2,
    }
    assert found.scoring == {
        "task": "auto",
        "metric": "",
        "margin": 0.1,
        "guard_margin": 0.0,
        "seed": 0,
        "missing": "excluded",
        "champion_version": 0,
        "looks": [],
        "trained": {},
        "price": {},
    }
    judging = {"model": "gemini-3.5-flash", "prompt": "", "missing": "excluded"}
    assert found.judging == judging
    assert json.loads(json.dumps(found)) == list(found)


def test_every_guarded_row_is_read(given, tmp_path, capsys):
    guard = tmp_path / "guard.jsonl"
    given["guard_uri"] = write(guard, ROWS[:1])
    found = prepare(**given)
    first = found.guard_fingerprint
    assert found.asking["guard"] == {
        name: estimate_tokens(ROWS[0][field])
        for name, field in (("read", "input_text"), ("written", "output_text"))
    }
    assert "1 guarded row\n" in capsys.readouterr().out
    write(guard, ROWS[:2])
    assert prepare(**given).guard_fingerprint not in ("", first)
    write(guard, [ROWS[0], {"input_text": "a"}])
    with pytest.raises(DataError):
        prepare(**given)


def test_guarded_rows_that_the_model_cannot_be_shown_are_refused(given, tmp_path):
    data = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    turns = [{"role": "user", "parts": [data]}, {"role": "model", "parts": [{"text": "a"}]}]
    given["guard_uri"] = write(tmp_path / "guard.jsonl", [{"contents": turns}])
    with pytest.raises(DataError, match="holds image, which tiny does not take") as caught:
        prepare(**given)
    assert caught.value.where == "line 1 of the guarded rows"


def test_a_champion_is_found_while_it_serves(given, tmp_path):
    registry, model = str(tmp_path / "registry"), tmp_path / "model"
    model.mkdir()
    move = champions.promote(
        registry, str(model), run="r1", verdict="better", reason="", moved_at="", moved_by=""
    )
    found = prepare(**given, registry=registry)
    assert (found.champion, found.scoring["champion_version"]) == (move.model, 1)


def test_the_first_champion_is_found_where_a_margin_could_be_spent_again(given, tmp_path):
    registry = str(tmp_path / "registry")
    moves = []
    for number in range(2):
        model = tmp_path / f"model {number}"
        model.mkdir()
        how = {"verdict": "better", "reason": "", "moved_at": "", "moved_by": ""}
        moves.append(champions.promote(registry, str(model), run=f"r{number}", **how))
        if not number:
            assert prepare(**given, registry=registry, margin=0.05).first == ""
    found = prepare(**given, registry=registry, margin=0.05)
    assert (found.champion, found.first) == (moves[1].model, moves[0].model)
    assert prepare(**given, registry=registry).first == ""


def test_over_data_that_the_series_has_seen_the_run_ends_here(given, tmp_path):
    place = {"registry": str(tmp_path / "registry"), "series": "weekly"}
    first = prepare(**given, **place, run_id="r1")
    assert first.Output == "changed"
    data_history.remember(
        given["dataset_uri"], first.fingerprint, *place.values(), "r1", "auto", {}
    )
    second = prepare(**given, **place, run_id="r2")
    assert second.Output == "unchanged"
    assert second.unchanged_since == "unchanged since run r1"
    assert records.read_outcome(place["registry"], "r2").reason == "unchanged since run r1"
    write(tmp_path / "rows.jsonl", [*ROWS, {"input_text": "new", "output_text": "row"}])
    assert prepare(**given, **place, run_id="r3").Output == "changed"
    assert prepare(**given, **place, run_id="r3", min_new_rows=2).Output == "unchanged"
