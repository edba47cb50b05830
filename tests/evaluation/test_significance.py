"""The exact tests: against enumeration, scipy and their own intervals."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, permutation_test

from tunepipe.evaluation.significance import (
    bound_of_no_difference,
    mcnemar,
    rows_needed,
    sign_flips,
)

tenths = st.integers(-10, 10).map(lambda n: n / 10)


def flipped(differences):
    """Every way of signs, one by one."""
    return [np.mean(np.multiply(s, differences)) for s in product((1, -1), repeat=len(differences))]


@settings(deadline=None, max_examples=60)
@given(st.lists(tenths, min_size=1, max_size=8).filter(any))
def test_up_to_thirteen_rows_all_sign_flips_are_counted(differences):
    p_value, low, high = sign_flips(np.array(differences), seed=0)
    mean = abs(np.mean(differences))
    far = sum(abs(value) >= mean - 1e-12 for value in flipped(differences))
    assert p_value == pytest.approx(far / 2 ** len(differences))
    assert (p_value <= 0.05) == (low > 0 or high < 0)
    assert low - 1e-12 <= np.mean(differences) <= high + 1e-12


@settings(deadline=None, max_examples=20)
@given(st.lists(tenths, min_size=1, max_size=8).filter(any), tenths)
def test_the_interval_holds_what_the_test_would_not_reject(differences, shift):
    _, low, high = sign_flips(np.array(differences), seed=0)
    p_value, *_ = sign_flips(np.array(differences) - shift, seed=0)
    if np.ptp(differences) > 0 and min(abs(low - shift), abs(high - shift)) > 1e-9:
        assert (p_value > 0.05) == (low < shift < high)


def test_random_subsets_agree_with_scipys_permutation_test():
    differences = np.random.default_rng(2).normal(0.1, 0.25, 30)
    p_value, low, high = sign_flips(differences, seed=0)
    peer = permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=9_999, rng=1
    )
    assert p_value == pytest.approx(peer.pvalue, abs=0.01)
    spread = 2.05 * differences.std(ddof=1) / np.sqrt(30)
    assert (low, high) == pytest.approx(
        (differences.mean() - spread, differences.mean() + spread), abs=0.01
    )


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_five_rows_can_show_nothing(rows):
    assert sign_flips(np.full(rows, 0.5), seed=0) == (2 / 2**rows, -1.0, 1.0)
    assert mcnemar(np.ones(rows))[1] < 0


def test_six_rows_can():
    assert sign_flips(np.full(6, 0.5), seed=0)[:2] == (2 / 64, 0.5)
    assert mcnemar(np.ones(6))[1] > 0


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_a_fair_coin_on_the_rows_that_differ(wins, losses, ties):
    if wins + losses == 0:
        return
    differences = np.repeat([1.0, -1.0, 0.0], [wins, losses, ties])
    p_value, low, high = mcnemar(differences)
    assert p_value == pytest.approx(binomtest(wins, wins + losses).pvalue)
    assert (p_value < 0.05) == (low > 0 or high < 0)
    assert low <= differences.mean() + 1e-12
    assert high >= differences.mean() - 1e-12


@pytest.mark.parametrize("rows", [1, 10, 300])
def test_no_difference_on_few_rows_does_not_rule_one_out(rows):
    bound = bound_of_no_difference(rows)
    assert (1 - bound) ** rows == pytest.approx(0.05)
    assert mcnemar(np.zeros(rows)) == (1.0, -bound, bound)
    assert sign_flips(np.zeros(rows), seed=0) == (1.0, -bound, bound)


def rejections(test, draw):
    rng = np.random.default_rng(9)
    return sum(test(draw(rng)) <= 0.05 for _ in range(400)) / 400


@pytest.mark.parametrize("rows", [7, 16, 40])
def test_equal_models_are_told_apart_no_more_than_five_times_in_a_hundred(rows):
    def score(rng):
        return np.where(rng.random(rows) < 0.4, 1.0, rng.beta(1, 3, rows))

    found = rejections(lambda d: sign_flips(d, seed=0)[0], lambda rng: score(rng) - score(rng))
    assert found <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 400)


@pytest.mark.parametrize(("share", "difference"), [(0.3, 0.1), (0.5, 0.2)])
def test_so_many_rows_find_it_four_times_in_five(share, difference):
    wins = (share + difference) / 2
    odds = [share - wins, 1 - share, wins]
    pilot = np.repeat([-1.0, 0.0, 1.0], np.round(np.array(odds) * 1_000).astype(int))
    rows = rows_needed(pilot)
    drawn = np.random.default_rng(4).multinomial(rows, odds, size=600)
    found = np.mean([binomtest(w, w + lost).pvalue <= 0.05 for lost, _, w in drawn.tolist()])
    # The exact test gives a few points away to be exact.
    assert 0.71 <= found <= 0.84


def test_rows_needed_for_scores_is_the_textbook_number():
    rng = np.random.default_rng(1)
    pilot = rng.normal(0, 1, 100_000)
    pilot += 0.2 - pilot.mean()
    # (1.96 + 0.8416)^2 / 0.2^2 = 196.2; the root mean square instead of the deviation adds 2.7.
    assert rows_needed(pilot) == pytest.approx(199, abs=3)


def test_no_difference_needs_no_number_and_a_plain_one_at_least_six():
    assert rows_needed(np.array([1.0, -1.0])) is None
    assert rows_needed(np.array([1.0])) == 6
