"""The plan's step refuses what would fail a run after its tuning is paid for."""

import json

import pytest
from kfp import dsl

from tunepipe.components import compute_train_steps, load_rows
from tunepipe.errors import DataError, UsageError
from tunepipe.steps.planning import check_later_steps

JSON = [f'{{"kind": {n}}}' for n in range(12)]
WORDS = [f"word {n}" for n in range(201)]


def held_out(folder, references):
    rows = [{"input_text": f"q {n}", "output_text": text} for n, text in enumerate(references)]
    (folder / "eval").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return dsl.Dataset(uri=str(folder / "eval"))


@pytest.mark.parametrize(
    ("references", "settings", "said"),
    [
        (JSON, {"task": "json"}, ""),
        (WORDS, {"task": "auto"}, ""),
        (WORDS, {"task": "text"}, ""),
        (WORDS[:200], {"task": "classification"}, ""),
        (WORDS, {"task": "json"}, "a reference is not a JSON object"),
        (WORDS, {"task": "classification"}, "201 different labels"),
        (JSON, {"task": "nope"}, "'nope' is not a task"),
        (JSON, {"task": "json", "margin": 5}, "5 is out of range"),
        (JSON, {"task": "json", "asking": {"engine": "vllm"}}, "no such setting"),
    ],
)
def test_settings_and_references_are_checked(tmp_path, references, settings, said):
    rows = held_out(tmp_path, references)
    where = {"backend": "", "model": "gemini-3.5-flash", "tables": {}}
    settings = {"max_output_tokens": 256, **settings}
    if not said:
        assert check_later_steps(settings, rows, **where) == ()
        return
    with pytest.raises(UsageError, match=said):
        check_later_steps(settings, rows, **where)


def test_answers_that_would_be_cut_are_told_before_the_tuning_is_paid(tmp_path):
    plan = tmp_path / "plan"
    asked = {"rows": 100, "model": "gemini-3.5-flash", "region": "us-central1"}
    for most, said in ((100, True), (101, False)):
        compute_train_steps.python_func(
            plan=dsl.Artifact(uri=str(plan)),
            eval=held_out(tmp_path, ["short", "word" * 100 + "s"]),
            max_output_tokens=most,
            **asked,
        )
        found = json.loads(plan.read_text())["warnings"]
        assert (
            any("the longest answer of the rows has about 101 tokens" in one for one in found)
            == said
        )


@pytest.mark.parametrize(
    ("backend", "location", "answers"),
    [("gemini", "us-central1", ["the multi-region us"]), ("open-model", "global", [])],
)
def test_the_place_of_a_managed_job_is_planned_with_and_not_the_runs(
    tmp_path, backend, location, answers
):
    where = {"region": "asia-northeast1", "options": {"location": location}}
    plan = tmp_path / "plan"
    compute_train_steps.python_func(
        rows=100, plan=dsl.Artifact(uri=str(plan)), backend=backend, **where
    )
    found = json.loads(plan.read_text())
    assert found["region"] == location
    told = [one for one in found["warnings"] if "multi-region" in one]
    assert [one.rpartition("from ")[2] for one in told] == answers


WRONG = {
    "task": "nope", "margin": 2.0, "guard_margin": -1.0, "max_output_tokens": 0, "seed": -1,
    "asking": {"attempts": 0}, "judge_model": "nope", "judge_prompt": "?",
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_the_component_hands_on_all_of_them(tmp_path, name):
    step = compute_train_steps.python_func
    given = {"rows": 100, "plan": dsl.Artifact(uri=str(tmp_path / "plan")), "backend": "local"}
    assert step(**given)
    with pytest.raises(UsageError):
        step(**given, **{name: WRONG[name]})


def test_a_guard_is_read_when_it_is_brought_in(tmp_path, capsys):
    source, rows = tmp_path / "guard.jsonl", dsl.Dataset(uri=str(tmp_path / "rows"))
    bring = load_rows.python_func
    bring(rows)
    source.write_text('{"input_text": "a", "output_text": "b"}\n')
    bring(rows, str(source))
    assert capsys.readouterr().out.split("\n")[:2] == ["0 rows", "1 rows"]
    source.write_text('{"input_text": "a", "output_text": "b"}\n{"input_text": "a"}\n')
    with pytest.raises(DataError):
        bring(rows, str(source))
