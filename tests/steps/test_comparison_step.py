"""Comparison, report and promotion, as the steps of a pipeline do them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from kfp import dsl

from tunepipe.data.predictions import Prediction, write
from tunepipe.errors import DataError, UsageError
from tunepipe.registry import champions, records
from tunepipe.reporting.report import report_page
from tunepipe.steps.artifacts import model_of, paths_of, point_at
from tunepipe.steps.comparison import compare_step, with_cost
from tunepipe.steps.promotion import decide_step, keep_step, promote_step
from tunepipe.steps.reporting import report_step

ROWS = 60


def artifact(path, kind=dsl.Artifact):
    return kind(uri=str(path))


def predictions(path, right: int):
    rows = [
        Prediction(str(n), f"question {n} <b>", f"answer {n}", f"answer {n if n < right else 'no'}")
        for n in range(ROWS)
    ]
    write(rows, path)
    return artifact(path)


@pytest.fixture
def given(tmp_path):
    return {
        "tuned": predictions(tmp_path / "tuned", 50),
        "base": predictions(tmp_path / "base", 10),
        "champion": None,
    }


def compared(given, tmp_path, **settings):
    settings = {"task": "text", "margin": 0.0, "guard_margin": 0.0, "seed": 0, **settings}
    return compare_step(given, str(tmp_path / "comparison"), **settings)


def test_a_clearly_better_model_is_said_to_be_better(given, tmp_path):
    found = compared(given, tmp_path)
    said = json.loads((tmp_path / "comparison").read_text())
    assert found.verdict == said["verdict"] == "better"
    assert said["scores"]["tuned"]["metrics"]["exact_match"]["value"] == pytest.approx(50 / 60)
    assert said["scores"]["base"]["metrics"]["exact_match"]["value"] == pytest.approx(10 / 60)
    assert sum(flip["flip"] == "fixed" for flip in said["flips"]) == 40


def test_against_a_champion_as_good_there_is_not_enough_evidence(given, tmp_path):
    given["champion"] = predictions(tmp_path / "champion", 50)
    found = compared(given, tmp_path)
    assert found.verdict == "not-enough-evidence"
    assert "champion" in found.reason


def test_an_empty_file_is_no_champion(given, tmp_path):
    (tmp_path / "champion").touch()
    given["champion"] = artifact(tmp_path / "champion")
    assert compared(given, tmp_path).verdict == "better"


@pytest.mark.parametrize("content", ["", None])
def test_without_the_tuned_models_answers_nothing_is_compared(given, tmp_path, content):
    Path(given["tuned"].path).unlink()
    if content is not None:
        Path(given["tuned"].path).write_text(content)
    with pytest.raises(UsageError, match="missing or empty") as refused:
        compared(given, tmp_path)
    assert refused.value.where == "predictions.tuned"
    assert not (tmp_path / "comparison").exists()


def test_without_a_base_model_there_is_not_enough_evidence(given, tmp_path):
    """A tuned model's own base may be out of reach; the tuning is paid all the same."""
    (tmp_path / "base").write_text("")
    given["guard_tuned"], given["guard_base"] = given["tuned"], given["base"]
    found = compared(given, tmp_path)
    assert found.verdict == "not-enough-evidence"
    assert "missing: 60 answers of the other model" in found.reason
    assert found.scores["base"]["unanswered"] == ROWS


def test_what_must_not_get_worse_holds_a_better_model_back(given, tmp_path):
    given["guard_tuned"] = predictions(tmp_path / "guard_tuned", 30)
    given["guard_base"] = predictions(tmp_path / "guard_base", 55)
    found = compared(given, tmp_path)
    assert found.verdict == "worse"
    assert "guard" in found.reason
    said = json.loads((tmp_path / "comparison").read_text())
    assert said["comparisons"]["base"]["verdict"] == "better"
    assert said["comparisons"]["guard"]["losses"] == 25


def test_a_guard_with_missing_answers_does_not_hold(given, tmp_path):
    """A guard of 60 prompts, of which the tuned model answered six, used to pass unmentioned."""
    rows = [Prediction(str(n), f"q {n}", "yes", "yes" if n < 6 else None) for n in range(ROWS)]
    write(rows, tmp_path / "guard_tuned")
    write([replace(row, prediction="yes") for row in rows], tmp_path / "guard_base")
    given["guard_tuned"] = artifact(tmp_path / "guard_tuned")
    given["guard_base"] = artifact(tmp_path / "guard_base")
    found = compared(given, tmp_path)
    assert found.verdict == "worse"
    assert "on the guard set" in found.reason
    write([replace(row, prediction="yes" if n else None) for n, row in enumerate(rows)],
          tmp_path / "guard_tuned")  # fmt: skip
    found = compared(given, tmp_path)
    assert found.verdict == "not-enough-evidence"
    assert "1 answer of the guard set is missing" in found.reason


def test_a_loss_in_a_declared_slice_keeps_a_better_model_back(tmp_path):
    for name in ("tuned", "base"):
        rows = []
        for n in range(200):
            english = n < 150
            right = english if name == "tuned" else (not english or n < 40)
            row = Prediction(str(n), f"q {n}", f"answer {n}", f"answer {n}" if right else "no")
            rows.append(replace(row, fields={"language": "en" if english else "ja"}))
        write(rows, tmp_path / name)
    given = {name: artifact(tmp_path / name) for name in ("tuned", "base")}
    assert compared(given, tmp_path).verdict == "better"
    found = compared(given, tmp_path, slice_by=["language"])
    assert (found.verdict, "language=ja" in found.reason) == ("worse", True)


def test_small_losses_do_not_add_up_against_the_first_champion(given, tmp_path):
    given["champion"] = predictions(tmp_path / "champion", 51)
    given["first"] = predictions(tmp_path / "first", 60)
    found = compared(given, tmp_path, margin=0.12)
    said = json.loads((tmp_path / "comparison").read_text())
    assert said["comparisons"]["champion"]["non_inferior"]
    assert not said["comparisons"]["first"]["non_inferior"]
    assert found.verdict == "worse"
    assert "the first champion" in found.reason


def test_a_second_look_at_the_same_rows_asks_for_more(tmp_path):
    for name, right in (("tuned", 36), ("base", 22)):
        predictions(tmp_path / name, right)
    given = {name: artifact(tmp_path / name) for name in ("tuned", "base")}
    assert compared(given, tmp_path).verdict == "better"
    first = json.loads((tmp_path / "comparison").read_text())
    assert first["scores"]["tuned"]["look"] == 1
    other = [first["look"] | {"answers": str(number)} for number in range(40)]
    found = compared(given, tmp_path, looks=other)
    again = json.loads((tmp_path / "comparison").read_text())
    assert again["scores"]["tuned"]["look"] == 41
    assert again["comparisons"]["base"]["confidence"] == pytest.approx(1 - 0.1 / (41 * 42))
    assert again["comparisons"]["base"]["low"] < first["comparisons"]["base"]["low"]
    assert "99.99 % interval" in found.reason


def test_the_cost_of_an_answer_is_limited(given, tmp_path):
    rows = [
        Prediction(str(n), f"q {n}", "yes", "yes", input_tokens=1000, output_tokens=200)
        for n in range(ROWS)
    ]
    write(rows, tmp_path / "tuned")
    write([replace(row, prediction="no") for row in rows], tmp_path / "base")
    price = {"read": 1.0, "written": 10.0}
    found = compared(given, tmp_path, price=price, max_cost_per_answer=0.01)
    assert found.verdict == "better"
    assert found.scores["tuned"]["serving"]["cost_usd"] == pytest.approx(0.003)
    found = compared(given, tmp_path, price=price, max_cost_per_answer=0.001)
    assert found.verdict == "not-enough-evidence"
    assert "above the limit of 0.001 USD" in found.reason
    found = compared(given, tmp_path, price=price | {"tuned_factor": 1.5})
    costs = {name: found.scores[name]["serving"]["cost_usd"] for name in ("tuned", "base")}
    assert costs == pytest.approx({"tuned": 0.0045, "base": 0.003})
    found = compared(given, tmp_path, max_latency_ms=100.0)
    assert "95th percentile of latency is limited to 100 ms, but was not measured" in found.reason


@pytest.mark.parametrize(
    ("read", "written", "price", "cost"),
    [
        (1000.0, 200.0, {"read": 1.0, "written": 10.0}, 0.003),
        (1000.0, 0.0, {"read": 1.0, "written": 10.0, "tuned_factor": 3.0}, 0.003),
        (None, 200.0, {"read": 1.0, "written": 10.0}, None),
        (1000.0, None, {"read": 1.0, "written": 10.0}, None),
        (1000.0, 200.0, {}, None),
    ],
)
def test_the_cost_of_an_answer_is_known_with_its_tokens_and_a_price(read, written, price, cost):
    serving = {"input_tokens": read, "output_tokens": written}
    known = serving if cost is None else {**serving, "cost_usd": pytest.approx(cost)}
    assert with_cost(serving, price, is_tuned=True) == known


@pytest.mark.parametrize(("learnt", "left"), [(30, 30), (55, 5), (60, 0)])
def test_rows_that_the_champion_was_trained_on_are_left_out(given, tmp_path, learnt, left):
    """The champion knows its training rows by heart, and is no better than base on the others."""
    right = {"tuned": range(25, 60), "base": range(10), "champion": range(learnt)}
    for name, numbers in right.items():
        rows = [
            Prediction(str(n), f"q {n}", "yes", "yes" if n in numbers else "no",
                       hash=f"{n:016x}", fields={"kind": "old" if n < 30 else "new"})
            for n in range(ROWS)
        ]  # fmt: skip
        write(rows, tmp_path / name)
        given[name] = artifact(tmp_path / name)
    place = str(tmp_path / "registry")
    dataset = [f"{n:016x}" for n in range(learnt)] + [f"{n:016x}-2" for n in range(500, 520)]
    records.record_trained_rows(place, "r1", [*dataset, "f" * 16], held_out=["f" * 16])
    everything = compared(given, tmp_path)
    assert everything.verdict != "better"
    where = {"champion": records.find_trained_rows(place, "r1")}
    found = compared(given, tmp_path, trained=where, slice_by=["kind"])
    said = json.loads((tmp_path / "comparison").read_text())
    against = said["comparisons"]["champion"]
    assert (against["trained_rows"], against["rows"]) == (learnt, left)
    assert f"{learnt} rows left out, because that model was trained on them" in found.reason
    assert (found.verdict == "better") == (left == 30)
    assert ("too few rows are left" in found.reason) == (left < 10)
    page = report_page({**said, "rows": []})
    assert f"{learnt} rows left out, because the champion was trained on them" in page


def test_metrics_are_logged_with_their_intervals(given, tmp_path):
    tuned, base, confusion = dsl.Metrics(), dsl.Metrics(), dsl.ClassificationMetrics()
    compared(given, tmp_path).log(tuned, base, confusion)
    assert tuned.metadata["exact_match"] > base.metadata["exact_match"]
    assert tuned.metadata["exact_match_low"] < tuned.metadata["exact_match_high"]
    assert not confusion.metadata


def test_a_classification_logs_its_confusion_matrix(tmp_path):
    for name, shift in (("tuned", 0), ("base", 1)):
        rows = [Prediction(str(n), "q", "ab"[n % 2], "ab"[(n + shift) % 2]) for n in range(20)]
        write(rows, tmp_path / name)
    given = {name: artifact(tmp_path / name) for name in ("tuned", "base")}
    confusion = dsl.ClassificationMetrics()
    compared(given, tmp_path, task="classification").log(dsl.Metrics(), dsl.Metrics(), confusion)
    assert confusion.metadata["confusionMatrix"]["rows"] == [{"row": [10, 0]}, {"row": [0, 10]}]


def test_the_pages_are_written_of_what_there_is(given, tmp_path):
    compared(given, tmp_path)
    plan = tmp_path / "plan"
    plan.write_text(json.dumps({"train_steps": 470, "batch_size": 16}))
    ports = dict.fromkeys(("champion", "problems", "split", "tuning")) | given
    ports |= {
        name: artifact(tmp_path / f"{name}.out") for name in ("report", "summary", "model_card")
    }
    ports |= {"comparison": artifact(tmp_path / "comparison"), "plan": artifact(plan)}
    report_step({**ports, "run": {"id": "r1"}}, None)
    report = (tmp_path / "report.out").read_text(encoding="utf-8")
    assert "The tuned model is better" in report
    assert "470" in report
    assert "question 59 <b>" not in report, "rows are escaped"
    assert "question 59 &lt;b&gt;" in report
    assert "r1" in (tmp_path / "summary.out").read_text(encoding="utf-8")
    assert (tmp_path / "model_card.out").read_text(encoding="utf-8").startswith("---\n")


def test_only_better_promotes(given, tmp_path):
    place = str(tmp_path / "registry")
    compared(given, tmp_path)
    assert promote_step("projects/p/models/1", str(tmp_path / "comparison"), place, "r1") == "1"
    move = champions.champion(place)
    assert (move.model, move.run, move.verdict) == ("projects/p/models/1", "r1", "better")
    given["champion"] = predictions(tmp_path / "champion", 50)
    compared(given, tmp_path)
    with pytest.raises(DataError, match="only `better` promotes"):
        promote_step("projects/p/models/2", str(tmp_path / "comparison"), place, "r2")
    assert keep_step(str(tmp_path / "comparison"), place).startswith("champion 1 stays: ")


def test_of_two_runs_at_once_over_the_same_rows_one_takes_them_for_fresh(given, tmp_path):
    """Both were compared when neither had decided yet."""
    place, comparison = str(tmp_path / "registry"), str(tmp_path / "comparison")
    compared(given, tmp_path)
    result = json.loads(Path(comparison).read_text())
    assert decide_step("projects/p/models/1", comparison, place, "r1").startswith("champion 1: ")
    assert decide_step("projects/p/models/1", comparison, place, "r1").startswith("champion 1: ")
    other = {**result, "look": {**result["look"], "answers": "other"}}
    (tmp_path / "other").write_text(json.dumps(other))
    assert decide_step("projects/p/models/2", str(tmp_path / "other"), place, "r2") == (
        "champion 1 stays: another run decided on the same held-out rows meanwhile; run again"
    )
    assert decide_step("projects/p/models/1", comparison, place, "r1").startswith("champion 1: ")
    other["scores"]["tuned"]["look"] = 2  # compared after the first had decided
    (tmp_path / "other").write_text(json.dumps(other))
    assert decide_step("projects/p/models/2", str(tmp_path / "other"), place, "r2").startswith(
        "champion 2: "
    )


@pytest.mark.parametrize(
    ("compared_with", "said"),
    [
        ({"champion_version": 0}, "champion 1 stays: it came into service meanwhile and was not "),
        ({"champion_version": 1}, "champion 2: The tuned model is better"),
        ({}, "champion 2: The tuned model is better"),  # by an older version
    ],
)
def test_a_champion_that_came_into_service_meanwhile_stays(given, tmp_path, compared_with, said):
    """Two runs over other rows: no decision counts for the other run."""
    place, comparison = str(tmp_path / "registry"), tmp_path / "comparison"
    compared(given, tmp_path, champion_version=0)
    result = {**json.loads(comparison.read_text()), "look": {}}
    assert result.pop("champion_version") == 0
    for name, fields in (("first", {"champion_version": 0}), ("second", compared_with)):
        (tmp_path / name).write_text(json.dumps(result | fields))
    for _ in range(2):  # a step that is tried again says the same
        first = decide_step("projects/p/models/1", str(tmp_path / "first"), place, "r1")
        assert first.startswith("champion 1: The tuned model is better")
    for _ in range(2):
        second = decide_step("projects/p/models/2", str(tmp_path / "second"), place, "r2")
        assert second.startswith(said)


def test_without_a_registry_nothing_is_promoted_and_nothing_fails(given, tmp_path):
    compared(given, tmp_path)
    assert promote_step("model", str(tmp_path / "comparison"), "", "r1") == ""
    assert keep_step(str(tmp_path / "comparison"), "").startswith("there is still no champion: ")


def test_an_artifact_is_its_folder_unless_it_stands_for_a_model_elsewhere(tmp_path):
    model = artifact(tmp_path / "model", dsl.Model)
    assert model_of(model) == str(tmp_path / "model")
    point_at(model, "projects/p/locations/r/endpoints/1")
    assert model_of(model) == "projects/p/locations/r/endpoints/1"
    point_at(model, "")
    assert model_of(model) == ""


def test_only_files_that_hold_anything_are_read(tmp_path):
    (tmp_path / "full").write_text("x")
    (tmp_path / "empty").touch()
    given = {name: artifact(tmp_path / name) for name in ("full", "empty", "missing")}
    assert paths_of({**given, "none": None}) == {"full": str(tmp_path / "full")}
