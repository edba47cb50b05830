"""The tests of equality, and what a number of rows can show."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from tunepipe.evaluation.classification_metrics import measure
from tunepipe.evaluation.comparison import compare_metrics
from tunepipe.evaluation.intervals import Sample
from tunepipe.evaluation.metric import Clusters, ratio
from tunepipe.evaluation.significance import (
    confidence_of_look,
    mcnemar,
    more_units,
    smallest_difference,
    swap_test,
)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 60), st.integers(0, 60))
def test_the_mid_p_is_the_exact_p_less_half_of_what_was_seen(wins, losses):
    found = mcnemar(wins, losses)
    if wins == losses:
        assert found == 1
    else:
        seen = float(binom.pmf(wins, wins + losses, 0.5))
        assert found == pytest.approx(binomtest(wins, wins + losses).pvalue - seen)


def error_of_mcnemar(rows, differing):
    """How often equal models are told apart, by exact sums."""
    total = 0.0
    for count in range(1, rows + 1):
        wins = np.arange(count + 1)
        told = np.array([mcnemar(int(w), count - int(w)) < 0.05 for w in wins])
        total += binom.pmf(count, rows, differing) * binom.pmf(wins, count, 0.5)[told].sum()
    return total


@pytest.mark.parametrize("rows", [6, 15, 30, 50, 80])
@pytest.mark.parametrize("differing", [0.1, 0.34, 0.5])
def test_the_error_of_the_mid_p_holds_where_at_most_half_of_the_rows_differ(rows, differing):
    assert error_of_mcnemar(rows, differing) <= 0.05


def test_swaps_of_a_mean_agree_with_the_score_test():
    rng = np.random.default_rng(2)
    ours, theirs = (np.column_stack([rng.random(60), np.ones(60)]) for _ in "12")
    ours[:, 0] = np.clip(ours[:, 0] + 0.08, 0, 1)
    gains = ours[:, 0] - theirs[:, 0]
    peer = Sample.of(gains, np.ones(60), -1, 1).p_value()
    assert swap_test(ours, theirs, ratio, seed=0) == pytest.approx(peer, abs=0.03)


def test_equal_models_have_a_p_value_of_one():
    same = np.ones((9, 2))
    assert swap_test(same, same.copy(), ratio, seed=0) == 1


def test_swaps_of_macro_f1_tell_equal_models_apart_no_more_than_five_times_in_a_hundred():
    rng, errors = np.random.default_rng(5), 0
    for seed in range(200):
        wanted = rng.choice(list("aaaabbc"), 60)
        models = [np.where(rng.random(60) < 0.7, wanted, rng.choice(list("abc"), 60)) for _ in "12"]
        ours, theirs = (measure(list(model), list(wanted))[1] for model in models)
        p_value = swap_test(ours.statistics, theirs.statistics, ours.combine, seed=seed)
        errors += p_value <= 0.05
    assert errors / 200 <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 200)


def test_a_seed_changes_a_verdict_only_within_the_error_of_the_resampling():
    """Eleven of 93 verdicts near the threshold changed in the audit, by any metric."""
    rng, near = np.random.default_rng(12), 0
    alone, swaps = Clusters.of([""] * 80), 10_000
    while near < 8:
        wanted = rng.choice(list("aaaabbc"), 80)
        models = [np.where(rng.random(80) < right, wanted, rng.choice(list("abc"), 80))
                  for right in (0.8, 0.62)]  # fmt: skip
        accuracy, f1 = zip(*(measure(list(model), list(wanted)) for model in models), strict=True)
        if not 0.03 <= swap_test(*(one.statistics for one in f1), f1[0].combine, seed=0) <= 0.07:
            continue
        near += 1
        found = [compare_metrics(*f1, alone, seed=seed) for seed in range(7)]
        p_values = [one.p_value for one in found]
        error = np.sqrt(0.05 * 0.95 / swaps)
        assert np.std(p_values) <= 2.5 * error
        width = (found[0].high - found[0].low) / 4
        if len({one.verdict for one in found}) > 1:
            close = min(abs(p - 0.05) for p in p_values) <= 3 * error
            assert close or min(abs(one.low) for one in found) <= 0.1 * width
        # A metric with a score for each row depends on no seed at all.
        assert compare_metrics(*accuracy, alone, seed=0) == compare_metrics(
            *accuracy, alone, seed=5
        )


@pytest.mark.parametrize(("rows", "differing"), [(100, 0.2), (300, 0.1), (1000, 0.3)])
def test_the_smallest_difference_is_shown_four_times_in_five(rows, differing):
    size = smallest_difference(np.sqrt(differing - 0.05**2), rows)
    wins = (differing + size) / 2
    drawn = np.random.default_rng(4).multinomial(
        rows, [wins, differing - wins, 1 - differing], size=300
    )
    shown = 0
    for won, lost, same in drawn.tolist():
        gains = np.repeat([1.0, -1.0, 0.0], [won, lost, same])
        shown += Sample.of(gains, np.ones(rows), -1, 1).low(0.95) > 0
    assert 0.74 <= shown / 300 <= 0.9


def test_no_number_of_rows_shows_a_difference_without_chance_to_miss_one():
    assert smallest_difference(0.0, 1) == 1
    assert smallest_difference(0.0, 100) == pytest.approx(3.97 / 100, abs=0.003)
    sizes = [smallest_difference(0.4, rows) for rows in (10, 100, 1_000, 10_000)]
    assert sizes == sorted(sizes, reverse=True)


def test_more_rows_are_a_range_and_nothing_without_a_sign_of_a_difference():
    assert more_units(0.05, 0.4, 100, p_value=0.31) is None
    assert more_units(0.001, 0.4, 100, p_value=0.2) is None
    few, many = more_units(0.05, 0.4, 100, p_value=0.2)
    assert 1 <= few < many
    assert smallest_difference(0.4, 100 + few) == pytest.approx(0.05 + 0.6745 * 0.04, abs=0.001)
    # At the sixth look at the same rows it takes more of them.
    assert more_units(0.05, 0.4, 100, p_value=0.2, confidence=confidence_of_look(6))[0] > few


def test_a_number_of_rows_that_is_followed_settles_it_more_often_than_not():
    """Of those who see a sign of a difference that is there, and add the larger number."""
    rng, settled = np.random.default_rng(6), []
    for _ in range(400):
        pilot = rng.choice([1.0, -1.0, 0.0], 150, p=[0.14, 0.08, 0.78])
        sample = Sample.of(pilot, np.ones(150), -1, 1)
        more = more_units(sample.mean, sample.deviation, 150, sample.p_value())
        if more is None or sample.low(0.95) > 0:
            continue
        added = rng.choice([1.0, -1.0, 0.0], min(more[1], 20_000), p=[0.14, 0.08, 0.78])
        everything = np.concatenate([pilot, added])
        settled.append(Sample.of(everything, np.ones(len(everything)), -1, 1).low(0.95) > 0)
    assert len(settled) > 50
    assert np.mean(settled) >= 0.75
