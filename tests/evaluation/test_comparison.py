"""Verdicts: how often they are wrong, how often a true difference is found, and the gate's rule."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, nct, t

from tunepipe.errors import UsageError
from tunepipe.evaluation.comparison import BETTER, UNDECIDED, WORSE, Comparison, compare, decide

CONTRACT = "metric difference low high p_value wins losses ties verdict"
score = st.none() | st.sampled_from([0.0, 0.25, 0.5, 1.0])
rows = st.lists(st.tuples(score, score), max_size=25)


def split(pairs):
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


@settings(deadline=None, max_examples=60)
@given(rows)
def test_what_every_comparison_keeps_to(pairs):
    tuned, base = split(pairs)
    found = compare(tuned, base, metric="m")
    assert found.wins + found.losses + found.ties == found.rows == len(pairs) - found.unanswered
    assert found.unanswered == sum(None in pair for pair in pairs)
    assert -1 <= found.low <= found.difference + 1e-12
    assert found.difference - 1e-12 <= found.high <= 1
    assert 0 < found.p_value <= 1
    if found.verdict != UNDECIDED:
        assert found.p_value <= 0.05
    assert (found.verdict == BETTER) == ((found.low if found.least is None else found.least) > 0)
    assert (found.verdict == WORSE) == (found.high < 0)
    assert (found.more_rows == 0) == (found.verdict != UNDECIDED)
    json.dumps(found.details(), allow_nan=False)


@settings(deadline=None, max_examples=30)
@given(rows)
def test_the_other_way_round_the_answer_is_the_other_way_round(pairs):
    tuned, base = split(pairs)
    one, other = compare(tuned, base, metric="m"), compare(base, tuned, metric="m")
    assert (one.wins, one.losses) == (other.losses, other.wins)
    assert one.p_value == pytest.approx(other.p_value)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-9)


def test_the_json_has_the_contracts_keys_in_order():
    found = compare([1.0, 0.0], [0.0, 0.0], metric="exact_match")
    assert list(found.as_json()) == CONTRACT.split()
    assert found.details().keys() - found.as_json().keys() == {
        "rows",
        "unanswered",
        "margin",
        "non_inferior",
        "more_rows",
    }


@pytest.mark.parametrize(
    ("tuned", "base", "verdict"),
    [
        ([], [], UNDECIDED),
        ([1.0], [0.0], UNDECIDED),
        ([1.0] * 5, [0.0] * 5, UNDECIDED),
        ([1.0] * 6, [0.0] * 6, BETTER),
        ([0.2] * 6, [0.3] * 6, WORSE),
        ([None] * 50, [0.0] * 50, UNDECIDED),
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


def test_the_same_seed_gives_the_same_comparison():
    rng = np.random.default_rng(0)
    tuned, base = rng.random((2, 60)).tolist()
    assert compare(tuned, base, metric="m", seed=1) == compare(tuned, base, metric="m", seed=1)
    assert compare(tuned, base, metric="m", seed=1) != compare(tuned, base, metric="m", seed=2)


@pytest.mark.parametrize(
    ("margin", "holds"), [(0.0, False), (0.02, False), (0.1, True)], ids=["none", "small", "wide"]
)
def test_a_margin_bears_a_loss_and_leaves_the_verdict(margin, holds):
    tuned = [1.0] * 390 + [0.0] * 10 + [1.0] * 8
    base = [1.0] * 400 + [0.0] * 8
    found = compare(tuned, base, metric="m", margin=margin)
    assert found.verdict == UNDECIDED
    assert found.non_inferior is holds


@pytest.mark.parametrize("margin", [-0.1, 1.01, 5, math.nan, math.inf])
def test_a_margin_that_is_no_share_would_switch_the_gate_off(margin):
    with pytest.raises(UsageError, match="out of range") as caught:
        compare([1.0], [0.0], metric="m", margin=margin)
    assert "0 to 1" in caught.value.fix


def verdicts(draw, comparisons):
    rng = np.random.default_rng(8)
    return [
        compare(*(side.tolist() for side in draw(rng)), metric="m", seed=number).verdict
        for number in range(comparisons)
    ]


def share(found, *wanted):
    return sum(verdict in wanted for verdict in found) / len(found)


EQUAL = {
    "scores, 14 rows": lambda rng: rng.beta(2, 2, (2, 14)),
    "right or wrong, 20 rows": lambda rng: (rng.random((2, 20)) < 0.7).astype(float),
    "three values, 10 rows": lambda rng: rng.choice([0, 0.5, 1], (2, 10)),
    "many ties, 15 rows": lambda rng: np.where(
        rng.random(15) < 0.5, rng.random(15), rng.random((2, 15))
    ),
}


def test_of_1000_comparisons_of_equal_models_five_in_a_hundred_err():
    found = [verdicts(draw, 250) for draw in EQUAL.values()]
    for each in found:
        assert share(each, BETTER, WORSE) <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 250)
    assert np.mean([share(each, BETTER, WORSE) for each in found]) <= 0.06


def test_a_difference_in_scores_is_found_with_the_power_of_the_t_test():
    rows, effect = 40, 0.5
    bound = t.ppf(0.975, rows - 1)
    theory = 1 - nct.cdf(bound, rows - 1, effect * np.sqrt(rows))

    def draw(rng):
        difference = np.clip(rng.normal(effect / 5, 1 / 5, rows), -1, 1)
        return np.clip(difference, 0, 1), np.clip(-difference, 0, 1)

    found = share(verdicts(draw, 100), BETTER)
    assert theory == pytest.approx(0.868, abs=0.01)
    assert abs(found - theory) <= 0.1


def test_a_difference_in_right_and_wrong_is_found_with_mcnemars_power():
    rows, wins, losses = 60, 0.3, 0.08
    theory = 0.0
    for differing in range(rows + 1):
        least = binom.isf(0.025, differing, 0.5) + 1
        theory += binom.pmf(differing, rows, wins + losses) * binom.sf(
            least - 1, differing, wins / (wins + losses)
        )

    def draw(rng):
        kind = rng.choice([1.0, -1.0, 0.0], rows, p=[wins, losses, 1 - wins - losses])
        return (kind > 0).astype(float), (kind < 0).astype(float)

    found = share(verdicts(draw, 100), BETTER)
    assert 0.7 < theory < 0.9
    assert abs(found - theory) <= 0.11


def made(verdict, *, low=-0.1, high=0.1, margin=0.0, more_rows=None, unanswered=0):
    return Comparison(
        metric="rouge_l",
        difference=(low + high) / 2,
        low=low,
        high=high,
        p_value=0.5,
        wins=3,
        losses=2,
        ties=1_995,
        verdict=verdict,
        rows=2_000,
        unanswered=unanswered,
        margin=margin,
        more_rows=more_rows,
    )


UP = made(BETTER, low=0.02, high=0.1)
DOWN = made(WORSE, low=-0.1, high=-0.02)
OPEN = made(UNDECIDED, more_rows=1_200)
GUARDED = replace(OPEN, low=-0.01, high=0.03, margin=0.05)
LEAKING = replace(OPEN, low=-0.08, margin=0.05)
BROKEN = replace(DOWN, low=-0.2, high=-0.1, margin=0.05)


@pytest.mark.parametrize(
    ("base", "champion", "guard", "verdict", "says"),
    [
        (UP, None, None, BETTER, "is better than the base model"),
        (UP, UP, None, BETTER, "and better than the current champion"),
        (UP, GUARDED, None, BETTER, "and at most 0.050 worse than the current champion"),
        (UP, LEAKING, None, UNDECIDED, "that the tuned model is at most 0.050 worse than the curr"),
        (UP, replace(DOWN, low=-0.04, margin=0.05), None, WORSE, "worse than the current champion"),
        (GUARDED, UP, None, UNDECIDED, "is better than the base model"),
        (UP, UP, GUARDED, BETTER, "is better"),
        (UP, None, OPEN, BETTER, "is better"),
        (UP, OPEN, None, UNDECIDED, "is better than the current champion"),
        (OPEN, None, None, UNDECIDED, "1,200 more held-out rows"),
        (OPEN, UP, None, UNDECIDED, "is better than the base model"),
        (DOWN, None, None, WORSE, "worse than the base model"),
        (UP, DOWN, None, WORSE, "worse than the current champion"),
        (OPEN, DOWN, GUARDED, WORSE, "worse than the current champion"),
        (UP, UP, LEAKING, UNDECIDED, "a loss of more than 0.050 is not ruled out"),
        (UP, UP, BROKEN, WORSE, "worse on the guard set"),
        (UP, None, DOWN, WORSE, "worse on the guard set"),
        (DOWN, None, BROKEN, WORSE, "worse than the base model"),
    ],
)
def test_the_gate(base, champion, guard, verdict, says):
    decided, reason = decide(base, champion, guard)
    assert decided == verdict
    assert says in reason
    assert reason.endswith(".")


def test_a_model_that_answers_the_easy_rows_alone_is_not_better():
    base = [1.0] * 40 + [0.0] * 20 + [1.0] * 40
    picky = [1.0] * 60 + [None] * 40
    found = compare(picky, base, metric="m", margin=0.05)
    assert found.low > 0 > found.least
    assert (found.verdict, found.non_inferior, found.more_rows) == (UNDECIDED, False, None)
    for others in ((found,), (UP, found), (UP, None, found)):
        verdict, reason = decide(*others)
        assert verdict == UNDECIDED
        assert "40 left out as unanswered; with nought for those that the tuned model al" in reason


def test_missing_answers_that_could_not_change_the_verdict_do_not():
    base, tuned = [0.0] * 70 + [1.0] * 30, [1.0] * 60 + [0.0] * 10 + [1.0] * 20 + [None] * 10
    found = compare(tuned, base, metric="m")
    assert (found.verdict, found.more_rows) == (BETTER, 0)
    assert 0 < found.least < found.low
    assert compare(tuned, [None] * 100, metric="m").least is None
    assert compare([None] * 5 + tuned[5:], base, metric="m").least is not None
    assert compare([None] * 5 + [1.0] * 65, base[:70], metric="m").least is None


def test_a_shown_loss_within_the_guards_margin_is_borne():
    within = replace(DOWN, low=-0.04, high=-0.01, margin=0.05)
    assert decide(UP, None, within)[0] == BETTER


def test_the_reason_counts_what_was_left_out():
    assert "on 2,000 rows, 7 left out as unanswered" in decide(replace(UP, unanswered=7))[1]
