"""The plan's step refuses what would fail a run after its tuning is paid for."""

import json

import pytest
from kfp import dsl

from tunepipe.components import compute_train_steps
from tunepipe.data.text_pairs import estimate_tokens
from tunepipe.errors import UsageError
from tunepipe.planning.plan import HeldOut
from tunepipe.steps.planning import check_held_out

JSON = [f'{{"kind": {n}}}' for n in range(12)]
WORDS = [f"word {n}" for n in range(201)]


def held_out(folder, references):
    rows = [{"input_text": f"q {n}", "output_text": text} for n, text in enumerate(references)]
    (folder / "eval").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return dsl.Dataset(uri=str(folder / "eval"))


@pytest.mark.parametrize(
    ("references", "task", "message"),
    [
        (JSON, "json", ""),
        (WORDS, "auto", ""),
        (WORDS, "text", ""),
        (WORDS[:200], "classification", ""),
        (WORDS, "json", "a reference is not a JSON object"),
        (WORDS, "classification", "201 different labels"),
        (JSON, "nope", "'nope' is not a task"),
    ],
)
def test_references_are_checked_against_the_task(tmp_path, references, task, message):
    rows = held_out(tmp_path, references)
    asking = {"max_output_tokens": 256.0}  # as KFP has it
    if not message:
        warnings, found = check_held_out(rows, {"task": task}, asking)
        assert (warnings, found.rows) == ((), len(set(references)))
        known = {"json": "field_accuracy", "classification": "accuracy", "text": "rouge_l"}
        decided = known["json" if references is JSON else "text" if task == "auto" else task]
        assert (found.metric, found.metric_reason.split(",")[0]) == (
            decided, f"the task is {next(name for name in known if known[name] == decided)}"
        )  # fmt: skip
        return
    with pytest.raises(UsageError, match=message):
        check_held_out(rows, {"task": task}, asking)


@pytest.mark.parametrize(
    ("scoring", "message"),
    [
        ({"metric": "kind"}, "the metric kind is not known for the task json"),
        ({"metric": "field:nope"}, "the metric field:nope is not known"),
        ({"metric": "field:kind", "slice_by": ["topic", "language"]}, ""),
        ({"metric": "field_accuracy_strict", "normalize": "content"}, ""),
        ({"metric": "field_accuracy_content", "normalize": "content"}, "is not known"),
        ({"slice_by": ["topci"]}, "no row has the field topci"),
        ({"slice_by": ["group"]}, "no row has the field group"),
        ({"slice_by": ["number"]}, "the field number has 201 values, more than 200"),
        ({"slice_by": ["class"]}, "the field class has 201 values, more than 200"),
    ],
)
def test_what_the_comparison_would_refuse_is_refused_before_the_tuning(tmp_path, scoring, message):
    rows = [{"input_text": f"q {n}", "output_text": f'{{"kind": {n}}}', "topic": "ab"[n % 2],
             "number": n} for n in range(201)]  # fmt: skip
    (tmp_path / "eval").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file, scoring = dsl.Dataset(uri=str(tmp_path / "eval")), {"task": "auto", **scoring}
    if not message:
        _, found = check_held_out(file, scoring, {"max_output_tokens": 256.0})
        assert found.metric == scoring["metric"]
        return
    with pytest.raises(UsageError, match=message):
        check_held_out(file, scoring, {"max_output_tokens": 256.0})


@pytest.mark.parametrize(
    "asking", [{}, {"answers": 3.0}, {"guard": {"read": 20.0, "written": 3.0}}]
)
def test_what_an_answer_reads_and_writes_is_the_mean_of_the_rows(tmp_path, asking):
    asked = {"max_output_tokens": 256.0, **asking}
    for references in (["word" * 5], ["word" * 5, "word"]):
        _, found = check_held_out(held_out(tmp_path, references), {"task": "text"}, asked)
        read, written = (sum(map(estimate_tokens, texts)) / len(references) for texts in (
            [f"q {n}" for n in range(len(references))], references,
        ))  # fmt: skip
        assert found == HeldOut(
            len(references), "rouge_l", found.metric_reason, int(asking.get("answers", 1)),
            read, written, guard_tokens=(20, 3) if "guard" in asking else (0, 0),
        )  # fmt: skip
    assert check_held_out(None, {"task": "text"}, asked) == (
        (), HeldOut(0, answers=found.answers, guard_tokens=found.guard_tokens),
    )  # fmt: skip


def test_rows_that_repeat_another_are_asked_but_prove_nothing(tmp_path):
    held_out(tmp_path, WORDS[:30])
    lines = (tmp_path / "eval").read_text().splitlines(keepends=True)
    other_answers = [line.replace("word ", "or ") for line in lines[:6]]
    (tmp_path / "eval").write_text("".join(lines + lines[:6] + other_answers))
    rows = dsl.Dataset(uri=str(tmp_path / "eval"))
    _, found = check_held_out(rows, {"task": "text"}, {"max_output_tokens": 256.0})
    assert (found.rows, found.repeats, found.asked) == (30, 12, 42)


@pytest.mark.parametrize("champions", [[], ["champion"], ["champion", "first"]])
def test_the_champions_are_asked_too_and_cost_what_a_tuned_model_does(tmp_path, champions):
    plan = tmp_path / "plan"
    compute_train_steps.python_func(
        plan=dsl.Artifact(uri=str(plan)),
        summary=dsl.Markdown(uri=str(tmp_path / "summary")),
        eval=held_out(tmp_path, WORDS[:100]),
        scoring={"trained": dict.fromkeys(champions, "")},
        rows=100,
        model="gemini-3.5-flash",
        region="us-central1",
    )
    read = sum(estimate_tokens(f"q {n}") for n in range(100))
    written = sum(map(estimate_tokens, WORDS[:100]))
    models = 1 + 1.5 * (1 + len(champions))
    cost = json.loads(plan.read_text())["evaluation_cost_usd"]
    assert cost == pytest.approx(models * (read * 1.5 + written * 9) / 1e6)
    said = f"x {2 + len(champions)} models = {100 * (2 + len(champions))} answers"
    assert said in (tmp_path / "summary").read_text()


def test_answers_that_would_be_cut_are_told_before_the_tuning_is_paid(tmp_path):
    plan = tmp_path / "plan"
    asked = {"rows": 100, "model": "gemini-3.5-flash", "region": "us-central1"}
    for most, said in ((100, True), (101, False)):
        compute_train_steps.python_func(
            plan=dsl.Artifact(uri=str(plan)),
            summary=dsl.Markdown(uri=str(tmp_path / "summary")),
            eval=held_out(tmp_path, ["short", "word" * 100 + "s"]),
            max_output_tokens=most,
            **asked,
        )
        found = json.loads(plan.read_text())["warnings"]
        cut = "the longest answer of the rows has about 101 tokens"
        assert [one.startswith(cut) for one in found].count(True) == said, found


@pytest.mark.parametrize(
    ("backend", "location", "answers"),
    [("gemini", "us-central1", ["the multi-region us"]), ("open-model", "global", [])],
)
def test_the_place_of_a_managed_job_is_planned_with_and_not_the_runs(
    tmp_path, backend, location, answers
):
    where = {"region": "asia-northeast1", "options": {"location": location}}
    plan = tmp_path / "plan"
    pages = {"plan": dsl.Artifact(uri=str(plan)), "summary": dsl.Markdown(uri=f"{plan}.md")}
    compute_train_steps.python_func(rows=100, **pages, backend=backend, **where)
    found = json.loads(plan.read_text())
    assert found["region"] == location
    told = [one for one in found["warnings"] if "multi-region" in one]
    assert [one.rpartition("from ")[2] for one in told] == answers
