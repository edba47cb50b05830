"""Intervals: against scipy, and their coverage by simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from tunepipe.evaluation.intervals import chunks, draws, percentile_interval, resampled_sums, wilson
from tunepipe.evaluation.metric import mean, share

TRIALS = 250


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys(case):
    successes, trials = case
    peer = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    assert wilson(successes, trials) == pytest.approx((peer.low, peer.high), abs=1e-9)


@pytest.mark.parametrize("trials", [1, 2, 3, 7, 10, 49, 240, 1_000])
@pytest.mark.parametrize("share", [0, 1, 0.5])
def test_wilsons_ends_hold_the_share_in_spite_of_rounding(trials, share):
    low, high = wilson(share * trials, trials)
    assert 0 <= low <= share <= high <= 1
    assert low < high


@pytest.mark.parametrize("rows", [5, 400], ids=["all rows differ", "rows alike"])
def test_resampled_sums_have_the_moments_of_drawing_with_replacement(rows):
    values = (np.arange(rows) % 5).astype(float)
    sums = resampled_sums(np.column_stack([values, np.ones(rows)]), seed=0)
    assert sums.shape == (10_000, 2)
    assert (sums[:, 1] == rows).all()
    error = np.sqrt(rows * values.var() / 10_000)
    assert sums[:, 0].mean() == pytest.approx(values.sum(), abs=4 * error)
    assert sums[:, 0].var() == pytest.approx(rows * values.var(), rel=0.08)


def test_the_same_seed_gives_the_same_sums_and_another_seed_others():
    values = np.random.default_rng(0).random((50, 2))
    assert (resampled_sums(values, seed=3) == resampled_sums(values, seed=3)).all()
    assert (resampled_sums(values, seed=3) != resampled_sums(values, seed=4)).any()


def test_all_metrics_share_their_resamples():
    values = np.random.default_rng(0).random(40)
    sums = resampled_sums(np.column_stack([values, 1 - values, np.ones(40)]), seed=0)
    assert sums[:, 0] + sums[:, 1] == pytest.approx(sums[:, 2])
    alone = resampled_sums(values[:, None], seed=0)
    among_many = resampled_sums(np.column_stack([values] * 9), seed=0)
    assert alone[:, 0] == pytest.approx(among_many[:, 8])


@pytest.mark.parametrize(("rows", "count"), [(1, 10_000), (20_000, 10_000), (100_000, 2_000)])
def test_work_is_bounded(rows, count):
    assert draws(rows) == count
    assert draws(10**9) == 1_000


@pytest.mark.parametrize(("count", "width"), [(1, 1), (10_000, 3), (7, 10**9), (0, 1)])
def test_chunks_add_up(count, width):
    assert sum(chunks(count, width)) == count


def coverage(draw, truth, rows, *intervals):
    """How often each kind of interval holds the truth, on the same draws."""
    rng = np.random.default_rng(5)
    held = np.zeros((TRIALS, len(intervals)))
    for trial in held:
        found = mean("m", draw(rng, rows))
        sums = resampled_sums(found.statistics, seed=0)
        ends = [interval(found, sums) for interval in intervals]
        trial[:] = [low <= truth <= high for low, high in ends]
    return held.mean(axis=0).tolist()


def ours(found, sums):
    estimate = found.estimate(sums)
    return estimate.low, estimate.high


def plain(found, sums):
    return np.quantile(found.combine(sums), [0.025, 0.975])


# With 250 trials a true 95 % shows 91.5 % or less, or 98.5 % or more, once in a hundred times.
def test_the_bootstrap_covers_the_truth_of_few_rows_where_the_plain_one_does_not():
    covered, too_narrow = coverage(lambda rng, n: rng.beta(2, 3, n), 0.4, 10, ours, plain)
    assert 0.915 <= covered <= 0.985
    assert too_narrow < covered - 0.02


def test_the_bootstrap_covers_the_truth_of_scores_that_are_often_perfect():
    def draw(rng, rows):
        return np.where(rng.random(rows) < 0.5, 1.0, rng.random(rows))

    (covered,) = coverage(draw, 0.75, 40, ours)
    assert 0.915 <= covered <= 0.985


@pytest.mark.parametrize(("truth", "rows"), [(0.5, 20), (0.9, 40)])
def test_wilson_covers_the_truth_as_often_as_it_says(truth, rows):
    drawn = np.random.default_rng(5).binomial(rows, truth, 2_000)
    held = [low <= truth <= high for low, high in (wilson(right, rows) for right in drawn)]
    assert 0.93 <= np.mean(held) <= 0.97


def test_a_share_has_wilsons_interval():
    estimate = share("s", [True] * 7 + [False] * 3).estimate(np.empty((0, 2)))
    assert estimate.value == pytest.approx(0.7)
    assert (estimate.low, estimate.high) == wilson(7, 10)


def test_many_rows_need_no_widening():
    replicates = np.arange(100_001) / 100_000
    assert percentile_interval(replicates, 10**6) == pytest.approx((0.025, 0.975), abs=1e-4)


def test_resamples_without_a_value_are_left_out():
    replicates = np.array([np.nan, *np.linspace(0, 1, 1001)])
    assert percentile_interval(replicates, 10**6) == pytest.approx((0.025, 0.975), abs=1e-3)


@pytest.mark.parametrize(("scores", "value"), [([0.7], 0.7), ([1.0] * 8, 1.0), ([0.2] * 3, 0.2)])
def test_rows_all_alike_are_no_proof_that_there_is_no_spread(scores, value):
    found = mean("m", scores)
    estimate = found.estimate(resampled_sums(found.statistics, seed=0))
    assert estimate.value == pytest.approx(value)
    assert (estimate.low, estimate.high) == wilson(value * len(scores), len(scores))
    assert estimate.high - estimate.low > 0.2
