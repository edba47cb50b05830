"""Intervals: against scipy, and their coverage by simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from tunepipe.core.intervals import chunks, draws, percentile_interval, resampled_sums, wilson
from tunepipe.core.metrics import mean, share

DRAWS_OF_A_METRIC = 300


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys(case):
    successes, trials = case
    peer = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    assert wilson(successes, trials) == pytest.approx((peer.low, peer.high), abs=1e-9)


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


def coverage(draw, truth, rows, estimate):
    rng = np.random.default_rng(5)
    intervals = [estimate(draw(rng, rows)) for _ in range(DRAWS_OF_A_METRIC)]
    return sum(low <= truth <= high for low, high in intervals) / DRAWS_OF_A_METRIC


def interval_of_mean(scores):
    found = mean("m", scores)
    estimate = found.estimate(resampled_sums(found.statistics, seed=0))
    return estimate.low, estimate.high


def interval_of_share(right):
    estimate = share("s", right).estimate(np.empty((0, 2)))
    return estimate.low, estimate.high


# With 300 draws a true 95 % shows 92 % or less, or 98 % or more, about once in a hundred times.
@pytest.mark.parametrize(
    ("draw", "truth", "rows"),
    [
        (lambda rng, n: rng.beta(2, 3, n), 0.4, 10),
        (lambda rng, n: rng.beta(2, 3, n), 0.4, 60),
        (lambda rng, n: np.where(rng.random(n) < 0.5, 1.0, rng.random(n)), 0.75, 30),
    ],
    ids=["beta, 10 rows", "beta, 60 rows", "half of them perfect, 30 rows"],
)
def test_the_bootstrap_covers_the_truth_as_often_as_it_says(draw, truth, rows):
    assert 0.92 <= coverage(draw, truth, rows, interval_of_mean) <= 0.98


@pytest.mark.parametrize(("truth", "rows"), [(0.5, 20), (0.9, 40)])
def test_wilson_covers_the_truth_as_often_as_it_says(truth, rows):
    found = coverage(lambda rng, n: rng.random(n) < truth, truth, rows, interval_of_share)
    assert 0.92 <= found <= 0.98


def test_the_plain_percentile_interval_would_be_too_narrow_for_ten_rows():
    def plain(scores):
        found = mean("m", scores)
        means = found.combine(resampled_sums(found.statistics, seed=0))
        return tuple(np.quantile(means, [0.025, 0.975]))

    def draw(rng, rows):
        return rng.beta(2, 3, rows)

    assert coverage(draw, 0.4, 10, plain) < coverage(draw, 0.4, 10, interval_of_mean) - 0.02


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
