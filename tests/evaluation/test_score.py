"""Files in, the contract's object out."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fixtures.pages import Page
from tunepipe.data import predictions
from tunepipe.data.predictions import Prediction
from tunepipe.errors import UsageError
from tunepipe.evaluation.comparison import compare
from tunepipe.evaluation.intervals import wilson
from tunepipe.evaluation.score import evaluate, holm
from tunepipe.evaluation.tasks import choose_task
from tunepipe.reporting.facts import UNDECIDED, Estimate, Facts, Slice
from tunepipe.reporting.report import report_page
from tunepipe.reporting.sections import caveats, within_rows

COMPARISON = ["metric", "difference", "low", "high", "p_value", "wins", "losses", "ties", "verdict"]
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
    "exact_match_content",
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
    return [Prediction(str(n), f"q {n}", reference, answer) for n, (answer, reference) in pairs]


def files(tmp_path, *models, references):
    paths = [tmp_path / f"{number}.jsonl" for number in range(len(models))]
    for path, answers in zip(paths, models, strict=True):
        predictions.write(made(answers, references), path)
    return paths


def score(path, base="", **settings):
    baseline = predictions.read(base) if base else None
    return evaluate(predictions.read(path), baseline, **settings).as_json()


def test_the_object_is_the_contracts(tmp_path):
    tuned, base = files(tmp_path, ["a b"] * 30, ["a c"] * 30, references=["a b"] * 30)
    alone, compared = score(tuned, task="text"), score(tuned, base, task="text")
    assert list(alone)[:3] == ["rows", "metrics", "comparison"]
    assert alone["rows"] == 30
    assert alone["comparison"] is None
    assert list(alone["metrics"]) == TEXT
    assert all(list(metric) == ["value", "low", "high"] for metric in alone["metrics"].values())
    assert list(compared["comparison"])[:9] == COMPARISON
    assert compared["comparison"]["metric"] == "rouge_l"
    assert compared["comparison"]["difference"] == pytest.approx(0.5)
    assert compared["comparison"]["verdict"] == "better"
    assert compared["metrics"] == alone["metrics"]


@pytest.mark.parametrize(
    ("task", "primary", "names"),
    [
        (
            "classification",
            "accuracy",
            ["answered", "accuracy", "macro_f1", "accuracy_content", "macro_f1_content"],
        ),
        (
            "json",
            "field_accuracy",
            [
                "answered",
                "parses",
                "keys_match",
                "field_accuracy",
                "object_exact",
                "field:a",
                "field_accuracy_content",
                "object_exact_content",
            ],
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
    for metrics in (found.metrics, found.baseline.metrics):
        for metric in metrics.values():
            assert -1e-12 <= metric.low <= metric.value + 1e-12
            assert metric.value - 1e-12 <= metric.high <= 1 + 1e-12
    for difference in found.differences.values():
        assert -1 <= difference.low <= difference.high <= 1
    assert found.unanswered == models[0].count(None)
    assert found.baseline.unanswered == models[1].count(None)
    assert found.comparison.rows == len(wanted)
    assert ("rouge_l" in found.metrics) == (
        task == "text" and any(a is not None for a in models[0])
    )
    json.dumps(found.details(), allow_nan=False)


def test_a_missing_answer_is_wrong_unless_it_is_excluded():
    rows = made(["yes"] * 8 + [None] * 2, ["yes"] * 9 + [""])
    found = evaluate(rows, task="text")
    assert (found.rows, found.unanswered) == (10, 2)
    # An empty reference is no reason to take a missing answer for a right one.
    assert found.metrics["exact_match"].value == 0.8
    assert found.metrics["rouge_l"].value == pytest.approx(0.8)
    assert found.metrics["answered"] == Estimate(0.8, *wilson(8, 10))
    excluded = evaluate(rows, task="text", missing="excluded")
    assert excluded.metrics["exact_match"].value == 1
    assert excluded.metrics["answered"].value == 0.8
    assert (excluded.as_json()["missing"], found.as_json()["missing"]) == ("excluded", "wrong")


@pytest.mark.parametrize(("missing", "rows", "wins"), [("wrong", 10, 8), ("excluded", 7, 7)])
def test_a_comparison_counts_missing_answers_of_both(missing, rows, wins):
    tuned = made(["yes"] * 8 + [None] * 2, ["yes"] * 10)
    base = made([None] + ["no"] * 9, ["yes"] * 10)
    found = evaluate(tuned, base, task="classification", missing=missing).comparison
    assert (found.rows, found.missing_tuned, found.missing_other) == (rows, 2, 1)
    assert found.wins == wins


def test_nothing_answered_at_all_is_reported_and_not_scored(tmp_path):
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


@pytest.mark.parametrize("metric", ["exact_match", "bleu", "chrf", "regex:a b", "number:0.1"])
def test_every_metric_may_decide(tmp_path, metric):
    wanted = [f"a b {n} c d" for n in range(30)]
    tuned, base = files(tmp_path, wanted, ["a"] * 30, references=wanted)
    found = score(tuned, base, task="text", metric=metric)
    assert found["comparison"]["metric"] == found["metric"] == metric
    assert found["comparison"]["verdict"] == ("better" if metric != "regex:a b" else UNDECIDED)


def test_macro_f1_may_decide_and_sees_the_class_that_accuracy_does_not():
    """1,000 rows, 5 % fraud, and a tuned model that never says fraud: +2 points of accuracy."""
    wanted = ["fraud" if n % 20 == 0 else "normal" for n in range(1000)]
    base = [
        w if n % 14 else {"fraud": "normal", "normal": "fraud"}[w] for n, w in enumerate(wanted)
    ]
    rows = made(["normal"] * 1000, wanted), made(base, wanted)
    by_accuracy = evaluate(*rows)
    assert by_accuracy.comparison.verdict == "better"
    by_f1 = evaluate(*rows, metric="macro_f1")
    assert by_f1.comparison.verdict == "worse"
    assert by_f1.comparison.high < 0
    # The dead class is a slice of its own, with its loss.
    (fraud,) = [each for each in by_accuracy.slices if each.value == "fraud"]
    assert (fraud.verdict, fraud.declared, fraud.rows) == ("worse", False, 50)
    assert by_accuracy.lost_slices == []
    assert evaluate(*rows, slice_by=["class"]).lost_slices == ["class=fraud"]
    # A class whose rows are all of one kind says nothing of rows of other kinds.
    (normal,) = [each for each in by_f1.slices if each.value == "normal"]
    assert normal.comparison.low > 0


def test_details_tell_the_report_what_the_contract_leaves_out():
    tuned = made(["yes", "no", "yes", None], ["yes", "yes", "no", "no"])
    base = made(["no", "yes", "yes", "no"], ["yes", "yes", "no", "no"])
    found = evaluate(tuned, base, task="classification")
    details = found.details()
    assert details["task"] == "classification"
    assert details["unanswered"] == 1
    assert details["flips"] == [
        {"id": "0", "answer": 0, "flip": "fixed"},
        {"id": "1", "answer": 0, "flip": "broken"},
        {"id": "3", "answer": 0, "flip": "broken"},
    ]
    assert details["confusion"]["matrix"][0][1] == 1
    assert [line["support"] for line in details["classes"]] == [2, 2]
    assert [line.recall for line in found.baseline.classes] == [0.5, 0.5]
    assert details["comparison"]["rows"] == 4
    assert details["differences"].keys() == {
        "accuracy",
        "macro_f1",
        "accuracy_content",
        "macro_f1_content",
    }
    assert details["baseline"]["accuracy"]["value"] == 0.5


def test_the_difference_of_a_metric_is_that_of_its_values():
    wanted = [f"the {n} quick brown fox jumps" for n in range(40)]
    tuned = made([text[: 9 + n % 20] for n, text in enumerate(wanted)], wanted)
    base = made([text[: 5 + n % 20] for n, text in enumerate(wanted)], wanted)
    found = evaluate(tuned, base, task="text")
    for name, difference in found.differences.items():
        assert difference.value == pytest.approx(
            found.metrics[name].value - found.baseline.metrics[name].value
        )
        assert difference.low <= difference.value <= difference.high
    assert found.comparison.low == pytest.approx(found.differences["rouge_l"].low)


@pytest.mark.parametrize(
    ("base", "found"),
    [
        (made(["a"] * 2, ["r"] * 2), "the baseline lacks 1 of 3 rows"),
        (made(["a"] * 4, ["r"] * 4), "the baseline has 1 row not in the predictions"),
        (made(["a"] * 3, ["r", "x", "r"]), "1 row with another reference"),
        (
            [replace(row, input="another") for row in made(["a"] * 3, ["r"] * 3)],
            "3 rows with another input in the baseline, first 0",
        ),
    ],
)
def test_a_baseline_on_other_rows_is_refused(base, found):
    with pytest.raises(UsageError, match=found):
        evaluate(made(["a"] * 3, ["r"] * 3), base, task="text")


def test_without_a_row_there_is_nothing_to_score():
    for base in (None, made("a", "r")):
        with pytest.raises(UsageError, match="there is no row to score") as refused:
            evaluate([], base, task="text")
        assert (refused.value.where, bool(refused.value.fix)) == ("rows", True)


def test_the_order_of_the_baselines_rows_does_not_matter():
    tuned, base = made("abcd", "abxx"), made("axcx", "abxx")
    assert evaluate(tuned, base, task="text") == evaluate(tuned, base[::-1], task="text")


def test_a_baseline_without_inputs_is_compared():
    tuned, base = made("abcd", "abxx"), made("axcx", "abxx")
    bare = [replace(row, input="") for row in base]
    assert evaluate(tuned, bare, task="text") == evaluate(tuned, base, task="text")


def test_a_metric_of_another_task_is_refused_with_and_without_a_baseline():
    for base in (None, made("axcx", "abxx")):
        with pytest.raises(UsageError, match="nope is not known"):
            evaluate(made("abcd", "abxx"), base, task="text", metric="nope")


def test_an_unknown_task_is_refused():
    with pytest.raises(UsageError, match="'sums' is not a task"):
        evaluate(made("a", "a"), task="sums")


@pytest.mark.parametrize(
    ("references", "task"),
    [
        (["yes", "no"] * 5, "classification"),
        (["yes", "no"] * 2, "text"),
        (["yes"] * 5, "classification"),
        ([f"label {n % 5}" for n in range(20)], "classification"),
        ([f"label {n % 200}" for n in range(600)], "classification"),
        ([f"label {n % 31}" for n in range(3100)], "classification"),
        ([f"label {n % 201}" for n in range(1200)], "text"),
        (["x" * 51, "y"] * 30, "text"),
        (["", "y"] * 30, "classification"),
        (['{"a": 1}'] * 30, "json"),
        (['{"a": 1}'] * 30 + ["no"], "classification"),
        ([f"a sentence of its own {n}" for n in range(60)], "text"),
        (["one"], "text"),
    ],
)
def test_the_task_is_told_from_the_references(references, task):
    found = choose_task(references)
    assert found.name == task
    assert found.reason
    assert choose_task(references, "text") == ("text", "set")


def grouped(answers, references, **fields):
    rows = made(answers, references)
    return [
        replace(row, fields={name: values[n] for name, values in fields.items()})
        for n, row in enumerate(rows)
    ]


def test_rows_of_a_group_or_with_the_same_content_are_one_unit():
    wanted, tuned, base = ["yes"] * 50, ["yes"] * 20 + ["no"] * 30, ["no"] * 50
    names = [str(n % 10) for n in range(50)]
    alone = evaluate(made(tuned, wanted), made(base, wanted), task="text", metric="exact_match")
    assert (alone.groups, alone.comparison.verdict) == (50, "better")
    by_field = evaluate(
        grouped(tuned, wanted, customer=names), made(base, wanted), group_by="customer"
    )
    assert by_field.groups == by_field.comparison.groups == 10
    in_file = [
        replace(row, group=name) for row, name in zip(made(tuned, wanted), names, strict=True)
    ]
    assert evaluate(in_file).groups == 10
    repeated = [
        replace(row, input=f"q {n}") for row, n in zip(made(tuned, wanted), names, strict=True)
    ]
    assert evaluate(repeated).groups == 10
    hashed = [replace(row, hash=n) for row, n in zip(made(tuned, wanted), names, strict=True)]
    assert evaluate(hashed).groups == 10
    # Several references to a prompt, in rows as the pipeline writes them, but not other files of
    # the same name, nor what a user's own files may leave out of the input.
    several = [replace(row, hash=str(n), reference=str(n)) for n, row in enumerate(repeated)]
    assert evaluate(several).groups == 10
    assert evaluate([replace(row, fields={"media": [{}]}) for row in several]).groups == 50
    assert evaluate([replace(row, hash="") for row in several]).groups == 50
    with pytest.raises(UsageError, match="no row has the field nope"):
        evaluate(made(tuned, wanted), group_by="nope")


def test_a_label_is_one_slice_however_it_is_written():
    wanted = ["Yes", "yes", "no"] * 10
    found = evaluate(made(wanted, wanted), task="classification", slice_by=["class"])
    assert [row.label for row in found.classes] == ["no", "Yes"]
    assert {each.value: each.rows for each in found.slices} == {"no": 10, "Yes": 20}


def test_declared_slices_are_compared_with_holms_correction():
    wanted = ["yes"] * 200
    language = ["en" if n < 150 else "ja" for n in range(200)]
    tuned = ["yes"] * 150 + ["no"] * 50
    base = ["no"] * 120 + ["yes"] * 80
    rows = grouped(tuned, wanted, language=language)
    found = evaluate(rows, made(base, wanted), task="text", slice_by=["language"])
    assert found.comparison.verdict == "better"
    english, japanese = found.slices
    assert (english.verdict, japanese.verdict) == ("better", "worse")
    assert found.lost_slices == ["language=ja"]
    # What decides is in the object too, as on the page.
    verdict, reason = "worse", "The tuned model is worse in the slice language=ja."
    assert found.decide() == (verdict, reason)
    assert (found.as_json()["verdict"], found.as_json()["reason"]) == (verdict, reason)
    assert japanese.p_adjusted >= japanese.comparison.p_value
    with pytest.raises(UsageError, match="no row has the field nope"):
        evaluate(rows, slice_by=["nope"])


def test_of_equal_models_any_slice_differs_in_five_of_a_hundred_at_most():
    """Nominal 0.05; with 300 repeats 0.09 is 3.2 standard errors above it."""
    rng, shown = np.random.default_rng(13), 0
    for _ in range(300):
        models = (rng.random((2, 4, 40)) < 0.7).astype(float).tolist()
        compared = [compare(*pair, metric="m") for pair in zip(*models, strict=True)]
        found = holm([Slice(comparison=one, p_adjusted=one.p_value) for one in compared])
        shown += any(each.verdict != UNDECIDED for each in found)
        # The comparison within a slice says nothing else than the slice.
        assert all(each.comparison.verdict == each.verdict for each in found)
    assert shown <= 27


def test_a_slice_too_small_to_show_anything_says_so_and_blocks_nothing():
    wanted = ["yes"] * 103
    language = ["en"] * 100 + ["ja"] * 3
    rows = grouped(["yes"] * 100 + ["no"] * 3, wanted, language=language)
    base = made(["no"] * 100 + ["yes"] * 3, wanted)
    found = evaluate(rows, base, task="text", slice_by=["language"])
    assert found.lost_slices == []
    (japanese,) = [each for each in found.slices if each.value == "ja"]
    assert japanese.comparison.smallest_difference == 1


def test_several_answers_to_a_row_are_one_unit_and_their_variance_is_shown():
    rows = [
        Prediction(str(n), f"q {n}", "yes", "yes" if (n + k) % 3 else "no", answer=k)
        for n in range(30)
        for k in range(4)
    ]
    found = evaluate(rows, task="text", metric="exact_match")
    assert (found.rows, found.groups) == (120, 30)
    assert found.within_rows.answers == 4
    assert found.within_rows.rows_that_vary == 1
    assert found.within_rows.deviation_within_rows > 0.4
    assert found.as_json()["within_rows"]["answers"] == 4
    said = "4 answers a row: 100 % of the rows have answers that score differently"
    assert said in within_rows(found.within_rows)
    assert said in Page(report_page({"scores": {"tuned": found.details()}})).text
    assert evaluate(rows, rows, task="text").comparison.groups == 30
    assert evaluate(made("ab", "ab")).within_rows is None


def test_no_difference_is_shown_to_a_model_that_answered_nothing():
    """A run without a base model to ask: the page said in green that it is beaten."""
    wanted = [f"word {n}" for n in range(30)]
    answers, nothing = made(wanted, wanted), made([None] * 30, wanted)
    found = evaluate(answers, nothing, task="text")
    assert (found.comparison.verdict, found.differences) == (UNDECIDED, {})
    compared = {"base": found.comparison}
    page = report_page(Facts(scores={"tuned": found}, comparisons=compared))
    assert "Points against base" in page
    assert '<circle class="even' in page
    assert '<circle class="good' not in page
    assert evaluate(nothing, answers, task="text").differences["rouge_l"].high < 0


def test_what_rouge_cannot_see_is_checked_next_to_it():
    """Every tuned answer lost sign and percent: ROUGE-L 100, exact match 0."""
    wanted = [f"the change is -{n}.5% 👍 and not more" for n in range(10, 60)]
    tuned = [f"the change is {n}.5 and more not" for n in range(10, 60)]
    found = evaluate(made(tuned, wanted), made(wanted, wanted), task="text")
    values = {name: one.value for name, one in found.metrics.items() if name.startswith("check:")}
    assert values == {
        "check:numbers": 0,
        "check:units": 0,
        "check:symbols": 0,
        "check:emoji": 0,
        "check:negations": 1,
    }
    assert found.differences["check:numbers"].high < 0
    said = caveats(Facts(scores={"tuned": found}, comparisons={"base": found.comparison}))
    assert said == [
        "what words do not show: numbers right in 0.0 of 100, units right in 0.0 of 100, symbols"
        " right in 0.0 of 100, emoji right in 0.0 of 100",
        "differences below 8.4 points may stay unseen",
    ]


@pytest.mark.parametrize("swapped", [False, True])
def test_a_model_that_invents_numbers_loses_by_them(swapped):
    """Half of the references hold a number; one model adds one to each of the others."""
    wanted = [f"it costs {n}" if n % 2 else "all is well" for n in range(60)]
    invented = [text if n % 2 else f"{text} {n}" for n, text in enumerate(wanted)]
    models = [made(wanted, wanted), made(invented, wanted)]
    found = evaluate(*(models if swapped else models[::-1]), task="text", metric="check:numbers")
    assert found.comparison.verdict == ("better" if swapped else "worse")
    assert found.comparison.wins + found.comparison.losses == 30
    for name, gain in found.differences.items():
        ours, theirs = found.metrics[name], found.baseline.metrics[name]
        assert gain.value == pytest.approx(ours.value - theirs.value, abs=1e-9), name


def test_strict_and_content_scores_are_side_by_side_and_either_may_decide():
    wanted = ["positive", "negative"] * 40
    tuned = [f"Label: **{text.title()}**." for text in wanted]
    base = [text if n % 2 else "no idea" for n, text in enumerate(wanted)]
    strict = evaluate(made(tuned, wanted), made(base, wanted))
    assert (strict.metrics["accuracy"].value, strict.comparison.verdict) == (0, "worse")
    assert strict.metrics["accuracy_content"].value == 1
    content = evaluate(made(tuned, wanted), made(base, wanted), normalize="content")
    assert (content.metrics["accuracy"].value, content.comparison.verdict) == (1, "better")
    assert content.metrics["accuracy_strict"].value == 0
    decided = evaluate(made(tuned, wanted), made(base, wanted), metric="accuracy_content")
    assert decided.comparison.verdict == "better"


@pytest.mark.parametrize("settings", [{"normalize": "loose"}, {"missing": "ignored"}])
def test_an_unknown_setting_is_refused(settings):
    with pytest.raises(UsageError, match="is not valid"):
        evaluate(made("ab", "ab"), **settings)


def test_serving_figures_are_summarised():
    rows = [
        replace(row, seconds=0.1 * (n + 1), input_tokens=10, output_tokens=n)
        for n, row in enumerate(made("ab" * 10, "ab" * 10))
    ]
    found = evaluate(rows, made("ab" * 10, "ab" * 10)).serving
    assert found["latency_p50_ms"] == pytest.approx(1050)
    assert found["latency_p95_ms"] == pytest.approx(1905)
    assert (found["input_tokens"], found["output_tokens"]) == (10, 9.5)
    assert evaluate(made("ab", "ab")).serving == {}


def test_rows_can_be_sliced_by_the_language_of_their_input():
    texts = ["what is the answer to this one?", "これは何ですか。"]
    rows = [Prediction(str(n), f"{texts[n % 2]} {n}", "yes", "yes") for n in range(20)]
    found = evaluate(rows, slice_by=["language"])
    assert [(each.field, each.value) for each in found.slices][:2] == [
        ("language", "en"),
        ("language", "ja"),
    ]


def test_flips_are_the_rows_that_the_comparison_counts():
    wanted = ["yes"] * 20
    tuned = made([None] * 5 + ["yes"] * 15, wanted)
    base = made(["yes"] * 14 + ["no"] * 6, wanted)
    for missing, broken in (("wrong", 5), ("excluded", 0)):
        found = evaluate(tuned, base, missing=missing)
        flips = [each["flip"] for each in found.flips]
        counts = found.comparison.wins, found.comparison.losses
        assert (flips.count("fixed"), flips.count("broken")) == counts == (6, broken)


def test_several_answers_to_a_row_do_not_make_its_reference_a_label():
    rows = [Prediction(str(n), f"q {n}", f"text {n}", "x", answer=k)
            for n in range(20) for k in range(3)]  # fmt: skip
    assert evaluate(rows).task == "text"
