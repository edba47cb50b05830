"""Verdicts: how often they are wrong, how often a true difference is found, and the gate's rule."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import to_builtins
from msgspec.structs import replace
from scipy.stats import binom

from tunepipe.errors import UsageError
from tunepipe.evaluation.classification_metrics import measure
from tunepipe.evaluation.comparison import Gate, compare, compare_metrics, in_words
from tunepipe.evaluation.intervals import Sample
from tunepipe.evaluation.metric import Clusters
from tunepipe.reporting.facts import BETTER, EXCLUDED, UNDECIDED, WORSE, Comparison

CONTRACT = "metric difference low high p_value wins losses ties verdict"
score = st.none() | st.sampled_from([0.0, 0.25, 0.5, 1.0])
rows = st.lists(st.tuples(score, score), max_size=25)


def split(pairs):
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def test_one_row_is_counted_as_one():
    one = Comparison(metric="m", rows=1, groups=1)
    assert in_words(one).endswith(" on 1 row")
    assert in_words(replace(one, rows=2)).endswith(" on 2 rows in 1 independent group")


@settings(deadline=None, max_examples=60)
@given(rows, st.sampled_from(["wrong", "excluded"]), st.sampled_from([0, 0.05]))
def test_what_every_comparison_keeps_to(pairs, missing, margin):
    found = compare(*split(pairs), metric="m", missing=missing, margin=margin)
    assert found.wins + found.losses + found.ties == found.rows
    complete = sum(None not in pair for pair in pairs)
    assert found.rows == (complete if missing == EXCLUDED else len(pairs))
    assert found.missing_tuned == sum(pair[0] is None for pair in pairs)
    assert found.missing_other == sum(pair[1] is None for pair in pairs)
    assert -1 <= found.low <= found.difference + 1e-9
    assert found.difference - 1e-9 <= found.high <= 1
    assert 0 < found.p_value <= 1
    # No verdict contradicts the interval or the p-value.
    assert (found.verdict == BETTER) == (found.low > 0)
    assert (found.verdict == WORSE) == (found.high < 0)
    assert (found.verdict != UNDECIDED) <= (found.p_value <= 0.05)
    assert found.non_inferior == (found.low > -margin)
    json.dumps(to_builtins(found), allow_nan=False)


@pytest.mark.parametrize(("gain", "counts"), [(1e-12, (0, 0, 3)), (2e-12, (1, 1, 1))])
def test_rounding_is_neither_won_nor_lost(gain, counts):
    found = compare([gain, 0.0, 0.5], [0.0, gain, 0.5], metric="m")
    assert (found.wins, found.losses, found.ties) == counts


@settings(deadline=None, max_examples=30)
@given(rows)
def test_the_other_way_round_the_answer_is_the_other_way_round(pairs):
    tuned, base = split(pairs)
    one, other = (compare(*pair, metric="m") for pair in ((tuned, base), (base, tuned)))
    assert (one.wins, one.losses) == (other.losses, other.wins)
    if None not in tuned + base:
        assert one.p_value == pytest.approx(other.p_value)
        assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-7)


def test_the_json_begins_with_the_contracts_keys_in_order():
    found = to_builtins(compare([1.0, 0.0], [0.0, 0.0], metric="exact_match"))
    assert list(found)[:9] == CONTRACT.split()
    assert {"missing", "groups", "margin", "non_inferior", "smallest_difference"} <= found.keys()


@pytest.mark.parametrize(
    ("tuned", "base", "verdict"),
    [
        ([], [], UNDECIDED),
        ([1.0], [0.0], UNDECIDED),
        ([1.0] * 6, [0.0] * 6, UNDECIDED),
        ([1.0] * 7, [0.0] * 7, BETTER),
        ([0.2] * 50, [0.3] * 50, WORSE),
        ([0.2] * 20, [0.3] * 20, UNDECIDED),
        ([None] * 50, [1.0] * 50, WORSE),
        ([1.0] * 50, [None] * 50, UNDECIDED),
        ([0.5] * 500, [0.5] * 500, UNDECIDED),
        ([1.0] * 40 + [0.0] * 20, [0.0] * 40 + [1.0] * 20, BETTER),
        ([1.0] * 35 + [0.0] * 25, [0.0] * 35 + [1.0] * 25, UNDECIDED),
        ([0.1 + 0.2] * 30, [0.3] * 30, UNDECIDED),
    ],
)
def test_plain_cases(tuned, base, verdict):
    assert compare(tuned, base, metric="m").verdict == verdict


def test_different_numbers_of_rows_are_no_comparison():
    with pytest.raises(ValueError, match="shorter"):
        compare([1.0, 0.0], [1.0], metric="m")


@pytest.mark.parametrize(
    ("margin", "holds"), [(0.0, False), (0.02, False), (0.1, True)], ids=["none", "small", "wide"]
)
def test_a_margin_accepts_a_loss_and_leaves_the_verdict(margin, holds):
    tuned = [1.0] * 390 + [0.0] * 10 + [1.0] * 8
    base = [1.0] * 400 + [0.0] * 8
    found = compare(tuned, base, metric="m", margin=margin)
    assert found.verdict == UNDECIDED
    assert found.non_inferior is holds


@pytest.mark.parametrize("margin", [-0.1, 1.01, 5, math.nan, math.inf])
def test_a_margin_that_is_not_a_share_would_switch_the_gate_off(margin):
    with pytest.raises(UsageError, match="out of range") as caught:
        compare([1.0], [0.0], metric="m", margin=margin)
    assert "0 to 1" in caught.value.fix


def verdicts(draw, comparisons):
    rng = np.random.default_rng(8)
    return [
        compare(*(side.tolist() for side in draw(rng)), metric="m").verdict
        for _ in range(comparisons)
    ]


def share(found, *wanted):
    return sum(verdict in wanted for verdict in found) / len(found)


EQUAL = {
    "scores, 14 rows": lambda rng: rng.beta(2, 2, (2, 14)),
    "right or wrong, 20 rows": lambda rng: (rng.random((2, 20)) < 0.7).astype(float),
    "right or wrong, 200 rows": lambda rng: (rng.random((2, 200)) < 0.7).astype(float),
    "three values, 30 rows": lambda rng: rng.choice([0, 0.5, 1], (2, 30)),
    "scores, 150 rows": lambda rng: rng.beta(2, 2, (2, 150)),
}


def test_of_comparisons_of_equal_models_five_in_a_hundred_err():
    for name, draw in EQUAL.items():
        if name.startswith("right or wrong"):
            found = share(verdicts(draw, 400), BETTER, WORSE)
        else:
            rng = np.random.default_rng(8)
            found = np.mean([p_value(*draw(rng)) <= 0.05 for _ in range(400)])
        assert found <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 400), name


def p_value(ours, theirs):
    """The p-value that a verdict by scores agrees with, at a tenth of the interval's cost."""
    return Sample.of(ours - theirs, np.ones(len(ours)), -1.0, 1.0).p_value()


@pytest.mark.parametrize("rows", [10, 50, 200])
def test_a_gain_that_a_rare_loss_takes_back_is_not_called_better(rows):
    """In the audit of 2026-11-26 0.375 with ten rows and 0.135 with fifty."""
    rng, called = np.random.default_rng(8), 0
    for _ in range(500):
        gains = np.where(rng.random(rows) < 0.1, -0.45, 0.05)
        called += gains.mean() > 0 and p_value(gains, np.zeros(rows)) <= 0.05
    assert called / 500 <= 0.025 + 2.5 * np.sqrt(0.025 / 500)


def test_a_difference_in_scores_is_found_from_two_hundred_rows_on_as_the_t_test_finds_it():
    """The t-test finds 0.94; with 40 rows and 0.1 it finds 0.87 and this interval 0.46."""

    def draw(rng):
        return np.clip(rng.normal(0.05, 0.2, 200), -1, 1), np.zeros(200)

    rng = np.random.default_rng(8)
    assert np.mean([p_value(*draw(rng)) <= 0.05 for _ in range(200)]) >= 0.84


def test_a_difference_in_right_and_wrong_is_found_with_more_than_the_exact_tests_power():
    rows, wins, losses = 60, 0.3, 0.08
    exact = 0.0
    for differing in range(rows + 1):
        least = binom.isf(0.025, differing, 0.5) + 1
        exact += binom.pmf(differing, rows, wins + losses) * binom.sf(
            least - 1, differing, wins / (wins + losses)
        )

    def draw(rng):
        kind = rng.choice([1.0, -1.0, 0.0], rows, p=[wins, losses, 1 - wins - losses])
        return (kind > 0).astype(float), (kind < 0).astype(float)

    assert share(verdicts(draw, 300), BETTER) >= exact + 0.01


def test_clusters_are_not_independent_rows():
    """Equal models with clusters of ten were called different in 0.39 of the cases."""
    rng, called = np.random.default_rng(3), 0
    groups = [str(n // 10) for n in range(200)]
    for number in range(200):
        shift = np.repeat(rng.normal(0, 0.3, 20), 10)
        tuned = (rng.random(200) < np.clip(0.6 + shift, 0, 1)).astype(float)
        base = (rng.random(200) < np.clip(0.6 - shift, 0, 1)).astype(float)
        gains = (tuned - base).reshape(20, 10).sum(axis=1)
        p_value = Sample.of(gains, np.full(20, 10.0), -1.0, 1.0).p_value()
        called += p_value <= 0.05
        if number < 10:
            found = compare(tuned.tolist(), base.tolist(), metric="m", groups=groups)
            assert (found.groups, found.p_value) == (20, pytest.approx(p_value))
    assert called / 200 <= 0.05 + 2.5 * np.sqrt(0.05 / 200)


def test_five_copies_of_each_row_decide_what_the_rows_decide():
    tuned, base = [1.0] * 4 + [0.0] * 6, [0.0] * 10
    groups = [str(n) for n in range(10)] * 5
    once = compare(tuned, base, metric="m")
    copied = compare(tuned * 5, base * 5, metric="m", groups=groups)
    assert (once.verdict, copied.verdict) == (UNDECIDED, UNDECIDED)
    assert copied.groups == 10
    assert copied.p_value > 0.05


def test_a_missing_answer_is_a_wrong_one():
    """In the audit: 'better' by 40 points, where counted as wrong it is 11 of 20 against 10."""
    tuned = [1.0] * 11 + [0.0] * 4 + [None] * 5
    base = [1.0] * 5 + [0.0] * 10 + [1.0] * 5
    found = compare(tuned, base, metric="m")
    assert (found.verdict, found.rows, found.missing_tuned) == (UNDECIDED, 20, 5)
    assert found.difference == pytest.approx(0.05)
    excluded = compare(tuned, base, metric="m", missing=EXCLUDED)
    assert (excluded.rows, excluded.difference) == (15, pytest.approx(0.4))


def made(verdict, *, low=-0.1, high=0.1, margin=0.0, more_rows=None, **fields):
    values = {
        "metric": "rouge_l",
        "difference": (low + high) / 2,
        "low": low,
        "high": high,
        "p_value": 0.5,
        "wins": 3,
        "losses": 2,
        "ties": 1_995,
        "verdict": verdict,
        "rows": 2_000,
        "groups": 2_000,
        "margin": margin,
        "more_rows": more_rows,
    }
    return Comparison(**{**values, **fields})


UP = made(BETTER, low=0.02, high=0.1)
DOWN = made(WORSE, low=-0.1, high=-0.02)
OPEN = made(UNDECIDED, more_rows=(1_200, 4_000))
GUARDED = replace(OPEN, low=-0.01, high=0.03, margin=0.05)
LEAKING = replace(OPEN, low=-0.08, margin=0.05)
BROKEN = replace(DOWN, low=-0.2, high=-0.1, margin=0.05)
SMALL_LOSS = replace(DOWN, low=-0.04, high=-0.01, margin=0.05)


@pytest.mark.parametrize(
    ("base", "champion", "guard", "verdict", "says"),
    [
        (UP, None, None, BETTER, "is better than the base model"),
        (UP, UP, None, BETTER, "and better than the current champion"),
        (UP, GUARDED, None, BETTER, "and at most 5.0 points worse than the current champion"),
        (UP, LEAKING, None, UNDECIDED, "that the tuned model is at most 5.0 points worse than"),
        (UP, SMALL_LOSS, None, BETTER, "at most 5.0 points worse than the current champion"),
        (GUARDED, UP, None, UNDECIDED, "is better than the base model"),
        (UP, UP, GUARDED, BETTER, "is better"),
        (UP, None, OPEN, BETTER, "is better"),
        (UP, OPEN, None, UNDECIDED, "is better than the current champion"),
        (OPEN, None, None, UNDECIDED, "1\u202f200 to 4\u202f000 more held-out rows"),
        (OPEN, UP, None, UNDECIDED, "is better than the base model"),
        (DOWN, None, None, WORSE, "worse than the base model"),
        (UP, DOWN, None, WORSE, "worse than the current champion"),
        (OPEN, DOWN, GUARDED, WORSE, "worse than the current champion"),
        (UP, UP, LEAKING, UNDECIDED, "a loss of more than 5.0 points is not ruled out"),
        (UP, UP, BROKEN, WORSE, "worse on the guard set"),
        (UP, None, DOWN, WORSE, "worse on the guard set"),
        (DOWN, None, BROKEN, WORSE, "worse than the base model"),
        (UP, None, SMALL_LOSS, BETTER, "is better"),
        # An answer of the guard that is missing is no sign that the guard holds.
        (UP, None, replace(GUARDED, missing_tuned=1), UNDECIDED, "1 answer of the guard set"),
        (UP, None, replace(OPEN, missing_other=2), UNDECIDED, "2 answers of the guard set"),
    ],
)
def test_the_gate(base, champion, guard, verdict, says):
    decided, reason = Gate(base, champion, guard=guard).decide()
    assert decided == verdict
    assert says in reason
    assert reason.endswith(".")


def test_small_losses_against_each_champion_do_not_add_up():
    verdict, reason = Gate(UP, GUARDED, first=LEAKING).decide()
    assert verdict == UNDECIDED
    assert "the first champion" in reason
    assert Gate(UP, GUARDED, first=GUARDED).decide()[0] == BETTER


def test_a_loss_in_a_declared_slice_stops_a_promotion():
    verdict, reason = Gate(UP, slices=["language=ja"]).decide()
    assert (verdict, reason) == (WORSE, "The tuned model is worse in the slice language=ja.")


@pytest.mark.parametrize(
    ("serving", "limits", "verdict", "says"),
    [
        ({"latency_p95_ms": 900.0}, {"max_latency_ms": 1000}, BETTER, "is better"),
        ({"latency_p95_ms": 1200.0}, {"max_latency_ms": 1000}, UNDECIDED, "1200 ms, above"),
        ({}, {"max_latency_ms": 1000}, UNDECIDED, "was not measured"),
        ({"cost_usd": 0.02}, {"max_cost_per_answer": 0.01}, UNDECIDED, "0.02 USD, above"),
        ({"cost_usd": 0.02}, {}, BETTER, "is better"),
    ],
)
def test_what_an_answer_may_take(serving, limits, verdict, says):
    decided, reason = Gate(UP, serving=serving, **limits).decide()
    assert decided == verdict
    assert says in reason


def test_the_reason_counts_missing_answers_and_groups():
    reason = Gate(replace(UP, missing_tuned=7, groups=300)).decide()[1]
    assert "in 300 independent groups; missing: 7 answers of the tuned model, counted as" in reason


def test_the_p_value_of_a_metric_of_the_file_agrees_with_its_interval():
    """Three of 40 had p < 0.05 next to an interval that holds 0 before."""
    rng = np.random.default_rng(4)
    alone, shown = Clusters.of([""] * 60), 0
    for _ in range(12):
        wanted = rng.choice(list("aaaaaabbcd"), 60)
        models = [
            np.where(rng.random(60) < right, wanted, rng.choice(list("abcd"), 60))
            for right in (0.82, 0.6)
        ]
        pair = [measure(list(model), list(wanted))[1] for model in models]
        found = compare_metrics(*pair, alone)
        assert (found.verdict != UNDECIDED) == (found.p_value <= 0.05)
        shown += found.verdict != UNDECIDED
    assert 0 < shown < 12


def test_two_models_that_have_nothing_right_are_not_shown_to_be_equal():
    wanted, nothing = list("abc") * 20, ["d"] * 60
    pair = [measure(nothing, wanted)[1] for _ in "ab"]
    found = compare_metrics(*pair, Clusters.of([""] * 60), margin=0.02)
    assert (found.verdict, found.p_value, found.non_inferior) == (UNDECIDED, 1.0, False)
    assert found.low == pytest.approx(-found.high)
    assert 0.05 < found.high < 0.08
