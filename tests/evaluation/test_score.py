"""Files in, the contract's object out."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunepipe.data import predictions
from tunepipe.data.predictions import Prediction
from tunepipe.errors import UsageError
from tunepipe.evaluation.intervals import wilson
from tunepipe.evaluation.score import detect_task, evaluate, score

COMPARISON = "metric,difference,low,high,p_value,wins,losses,ties,verdict"
TEXT = [
    "answered",
    "exact_match",
    "exact_match_normalized",
    "token_f1",
    "rouge_1",
    "rouge_2",
    "rouge_l",
    "bleu",
    "chrf",
    "edit_similarity",
]
answers = st.none() | st.sampled_from(
    ["", "yes", "no", "a long answer 東京", '{"a": 1}', '{"a": 2}']
)
references = {
    "text": st.sampled_from(["", "yes", "a long answer 東京"]),
    "classification": st.sampled_from(["yes", "no", "maybe"]),
    "json": st.sampled_from(['{"a": 1}', '{"a": 1, "b": []}', "{}"]),
}


def made(answers, references):
    pairs = enumerate(zip(answers, references, strict=True))
    return [Prediction(str(n), "q", reference, answer) for n, (answer, reference) in pairs]


def files(tmp_path, *models, references):
    paths = [tmp_path / f"{number}.jsonl" for number in range(len(models))]
    for path, answers in zip(paths, models, strict=True):
        predictions.write(made(answers, references), path)
    return paths


def test_the_object_is_the_contracts(tmp_path):
    tuned, base = files(tmp_path, ["a b"] * 30, ["a c"] * 30, references=["a b"] * 30)
    alone, compared = score(tuned), score(tuned, base)
    assert list(alone) == ["rows", "metrics", "comparison"]
    assert alone["rows"] == 30
    assert alone["comparison"] is None
    assert list(alone["metrics"]) == TEXT
    assert all(list(metric) == ["value", "low", "high"] for metric in alone["metrics"].values())
    assert ",".join(compared["comparison"]) == COMPARISON
    assert compared["comparison"]["metric"] == "rouge_l"
    assert compared["comparison"]["difference"] == pytest.approx(0.5)
    assert compared["comparison"]["verdict"] == "better"
    assert compared["metrics"] == alone["metrics"]


@pytest.mark.parametrize(
    ("task", "primary", "names"),
    [
        ("classification", "accuracy", ["answered", "accuracy", "macro_f1"]),
        (
            "json",
            "field_accuracy",
            ["answered", "parses", "keys_match", "field_accuracy", "object_exact", "field:a"],
        ),
    ],
)
def test_each_task_has_its_metrics_and_one_that_decides(tmp_path, task, primary, names):
    tuned, base = files(tmp_path, ['{"a": 1}'] * 9, ["{}"] * 9, references=['{"a": 1}'] * 9)
    found = score(tuned, base, task=task)
    assert list(found["metrics"]) == names
    assert found["comparison"]["metric"] == primary
    assert found["comparison"]["wins"] == 9


@pytest.mark.parametrize("task", ["text", "classification", "json"])
@settings(deadline=None, max_examples=12)
@given(st.data())
def test_any_rows_can_be_scored_and_compared(task, data):
    wanted = data.draw(st.lists(references[task], min_size=1, max_size=8))
    models = [
        data.draw(st.lists(answers, min_size=len(wanted), max_size=len(wanted))) for _ in "12"
    ]
    found = evaluate(made(models[0], wanted), made(models[1], wanted), task=task)
    for metrics in (found.metrics, found.baseline):
        for metric in metrics.values():
            assert -1e-12 <= metric.low <= metric.value + 1e-12
            assert metric.value - 1e-12 <= metric.high <= 1 + 1e-12
    for difference in found.differences.values():
        assert -1 <= difference.low <= difference.high <= 1
    assert found.unanswered == models[0].count(None)
    assert found.baseline_unanswered == models[1].count(None)
    both = sum(None not in pair for pair in zip(*models, strict=True))
    assert found.comparison.rows == both
    assert ("rouge_l" in found.metrics) == (
        task == "text" and any(a is not None for a in models[0])
    )
    json.dumps(found.details(), allow_nan=False)


def test_an_unanswered_row_is_counted_and_is_no_nought(tmp_path):
    rows = made(["yes"] * 8 + [None] * 2, ["yes"] * 10)
    found = evaluate(rows, task="text")
    assert found.rows == 10
    assert found.unanswered == 2
    assert found.metrics["exact_match"].value == 1
    assert found.metrics["answered"].as_json() == {
        "value": 0.8,
        "low": wilson(8, 10)[0],
        "high": wilson(8, 10)[1],
    }


def test_a_comparison_leaves_out_rows_that_either_did_not_answer():
    tuned = made(["yes"] * 8 + [None] * 2, ["yes"] * 10)
    base = made([None] + ["no"] * 9, ["yes"] * 10)
    comparison = evaluate(tuned, base, task="classification").comparison
    assert (comparison.rows, comparison.unanswered, comparison.wins) == (7, 3, 7)
    assert comparison.verdict == "better"


def test_nothing_answered_at_all_is_said_and_not_scored(tmp_path):
    tuned, base = files(tmp_path, [None] * 4, ["yes"] * 4, references=["yes"] * 4)
    found = score(tuned, base)
    assert found["rows"] == 4
    assert list(found["metrics"]) == ["answered"]
    assert found["metrics"]["answered"]["value"] == 0
    assert found["comparison"]["verdict"] == "not-enough-evidence"


def test_one_row_has_an_interval_as_wide_as_one_row_deserves():
    found = evaluate(made(["a b"], ["a c"]), task="text")
    assert found.metrics["token_f1"].value == pytest.approx(0.5)
    assert found.metrics["token_f1"].high - found.metrics["token_f1"].low > 0.75


def test_the_seed_decides_the_resamples_and_nothing_else(tmp_path):
    wanted = [f"{word} {n} b" for n, word in enumerate("abcdefgh" * 5)]
    (path,) = files(
        tmp_path, [text[: 1 + n % 5] for n, text in enumerate(wanted)], references=wanted
    )
    assert score(path, seed=1) == score(path, seed=1)
    one, other = score(path, seed=1)["metrics"], score(path, seed=2)["metrics"]
    assert one["chrf"]["low"] != other["chrf"]["low"]
    assert [m["value"] for m in one.values()] == [m["value"] for m in other.values()]


def test_another_metric_may_decide_if_it_has_a_score_for_each_row(tmp_path):
    tuned, base = files(tmp_path, ["a b"] * 9, ["a"] * 9, references=["a b"] * 9)
    assert score(tuned, base, metric="exact_match")["comparison"]["metric"] == "exact_match"
    with pytest.raises(UsageError, match="bleu has no score for a single row") as error:
        score(tuned, base, metric="bleu")
    assert "edit_similarity" in error.value.fix


def test_details_tell_the_report_what_the_contract_leaves_out():
    tuned = made(["yes", "no", "yes", None], ["yes", "yes", "no", "no"])
    base = made(["no", "yes", "yes", "no"], ["yes", "yes", "no", "no"])
    found = evaluate(tuned, base, task="classification").details()
    assert found["task"] == "classification"
    assert found["unanswered"] == 1
    assert found["flips"] == [{"id": "0", "flip": "fixed"}, {"id": "1", "flip": "broken"}]
    assert found["confusion"] == {"labels": ["no", "yes"], "matrix": [[0, 1], [1, 1]]}
    assert [line["support"] for line in found["classes"]] == [1, 2]
    assert found["comparison"]["rows"] == 3
    assert found["differences"].keys() == {"accuracy", "macro_f1"}
    assert found["baseline"]["accuracy"]["value"] == 0.5


def test_the_difference_of_a_metric_is_that_of_its_values():
    wanted = [f"the {n} quick brown fox jumps" for n in range(40)]
    tuned = made([text[: 9 + n % 20] for n, text in enumerate(wanted)], wanted)
    base = made([text[: 5 + n % 20] for n, text in enumerate(wanted)], wanted)
    found = evaluate(tuned, base, task="text")
    for name, difference in found.differences.items():
        assert difference.value == pytest.approx(
            found.metrics[name].value - found.baseline[name].value
        )
        assert difference.low <= difference.value <= difference.high
    assert found.comparison.low == pytest.approx(found.differences["rouge_l"].low, abs=0.01)


@pytest.mark.parametrize(
    ("base", "found"),
    [
        (made(["a"] * 2, ["r"] * 2), "1 of 3 ids are missing"),
        (made(["a"] * 4, ["r"] * 4), "0 of 3 ids are missing in the baseline, which holds 4"),
        (made(["a"] * 3, ["r", "x", "r"]), "1 rows have another reference"),
        (
            [replace(row, input="another") for row in made(["a"] * 3, ["r"] * 3)],
            "3 rows have another input in the baseline, first 0",
        ),
    ],
)
def test_a_baseline_on_other_rows_is_refused(base, found):
    with pytest.raises(UsageError, match=found):
        evaluate(made(["a"] * 3, ["r"] * 3), base, task="text")


def test_the_order_of_the_baselines_rows_does_not_matter():
    tuned, base = made("abcd", "abxx"), made("axcx", "abxx")
    assert evaluate(tuned, base, task="text") == evaluate(tuned, base[::-1], task="text")


def test_a_baseline_without_inputs_is_compared():
    tuned, base = made("abcd", "abxx"), made("axcx", "abxx")
    bare = [replace(row, input="") for row in base]
    assert evaluate(tuned, bare, task="text") == evaluate(tuned, base, task="text")


def test_a_metric_of_another_task_is_refused_with_and_without_a_baseline():
    for base in (None, made("axcx", "abxx")):
        with pytest.raises(UsageError, match="nope has no score"):
            evaluate(made("abcd", "abxx"), base, task="text", metric="nope")


def test_an_unknown_task_is_refused():
    with pytest.raises(UsageError, match="no task sums"):
        evaluate(made("a", "a"), task="sums")


@pytest.mark.parametrize(
    ("references", "task"),
    [
        (["yes", "no"] * 5, "classification"),
        (["yes", "no"] * 4, "text"),
        (["yes"] * 5, "classification"),
        ([f"label {n % 30}" for n in range(150)], "classification"),
        ([f"label {n % 31}" for n in range(400)], "text"),
        (["x" * 51, "y"] * 30, "text"),
        (["", "y"] * 30, "text"),
        (['{"a": 1}'] * 30, "json"),
        (['{"a": 1}'] * 30 + ["no"], "classification"),
        (["[1]", "[2]"] * 30, "classification"),
        ([f"a sentence of its own {n}" for n in range(60)], "text"),
        (["one"], "text"),
    ],
)
def test_the_task_is_told_from_the_references(references, task):
    assert detect_task(made(["a"] * len(references), references)) == task
