"""Tests for two models on the same rows, and the difference that a number of rows can show."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from tunepipe.evaluation.intervals import RESAMPLES, Floats, blocks, drawn_sums, quantile
from tunepipe.reporting.facts import CONFIDENCE

POWER = 0.8
ZERO = 1e-12
# Without a sign of a difference, a number of rows that would show it means nothing.
_MAX_P_VALUE = 0.3
_QUARTILE = NormalDist().inv_cdf(0.75)


def mcnemar(wins: int, losses: int) -> float:
    """McNemar's mid-p test on right/wrong rows.

    Only the rows on which the models differ count; if the models were equal, each would be a fair
    coin. The mid-p, two-sided here, counts half of the probability of what was seen. Where at most
    half of the rows differ, its error is at most 0.05 (exact sums over 6 to 500 rows: 0.0498), and
    it finds 6 to 10 in 100 more of the true differences than the exact test.

    Source: M. W. Fagerland, S. Lydersen, P. Laake, BMC Medical Research Methodology 13 (2013), 91.
    """
    from scipy.special import bdtr

    differing, fewer = wins + losses, min(wins, losses)
    if wins == losses:
        return 1.0
    below = float(bdtr(fewer - 1, differing, 0.5)) if fewer else 0.0
    return below + float(bdtr(fewer, differing, 0.5))


def swap_test(
    ours: Floats, theirs: Floats, combine: Callable[[Floats], Floats], *, seed: int
) -> float:
    """Paired permutation test of a metric of the whole file, such as macro-F1 or BLEU.

    If the models were equal, the two answers of each unit could as well be swapped. The p-value is
    the share of random swaps that give a difference at least as large. The models' statistics have
    the shape (units, numbers).

    Source: the +1 of random swaps: B. Phipson and G. K. Smyth, Statistical Applications in
        Genetics and Molecular Biology 9 (2010), 39.
    """
    change = blocks(ours - theirs, seed)
    units, total, other = len(change), ours.sum(axis=0), theirs.sum(axis=0)
    seen = abs(float(combine(total) - combine(other)))
    if not change.any():
        return 1.0
    rng = np.random.default_rng(seed)

    def draw(size: int) -> Floats:
        bits = np.frombuffer(rng.bytes((size * units + 7) // 8), dtype=np.uint8)
        return np.unpackbits(bits, count=size * units).reshape(size, units).astype(np.float64)

    moved = drawn_sums(change, draw)
    differences = combine(other + moved) - combine(total - moved)
    further = int((np.abs(differences) >= seen - ZERO).sum())
    return (1 + further) / (RESAMPLES + 1)


def confidence_of_look(look: int) -> float:
    """The confidence of the interval when the same held-out rows decide again.

    The k-th decision (the first is 1) may wrongly promote with probability 0.05 / (k (k + 1)). Over
    all decisions, however many, that adds up to at most 0.05, whatever the dependence between them;
    the first one has the usual 95 % interval.
    """
    return 1 - 2 * 0.05 / (look * (look + 1))


def smallest_difference(deviation: float, units: int, confidence: float = CONFIDENCE) -> float:
    """Return the smallest true difference, 0..1, that N units show with a power of 80 %.

    It allows for failures too rare to be seen, as the interval does, so it is about 4 / units even
    if no row differs. `deviation` is the standard deviation of a unit's difference: for right/wrong
    results at most the root of the share of rows on which the models differ.
    """
    if units < 2:
        return 1.0
    reach = quantile(units, confidence)
    # What the scatter asks for, and what failures that no row shows could hide.
    decisive = math.hypot(reach * deviation / math.sqrt(units), reach**2 / units)
    spare = NormalDist().inv_cdf(POWER) * deviation / math.sqrt(units)
    return min(1.0, decisive + spare)


def more_units(
    difference: float, deviation: float, units: int, p_value: float, confidence: float = CONFIDENCE
) -> list[int] | None:
    """Estimate, as a range, how many more units would show a difference like this one.

    A number at the observed difference would be wrong more often than right, because the
    difference itself is uncertain. The range takes its middle half; None if nothing points to a
    difference (p > 0.3).
    """
    if p_value > _MAX_P_VALUE or units < 2:
        return None
    error = _QUARTILE * deviation / math.sqrt(units)
    ends = [abs(difference) + error, abs(difference) - error]
    if ends[1] <= ZERO:
        return None
    return [max(1, _units_for(end, deviation, confidence) - units) for end in ends]


def _units_for(difference: float, deviation: float, confidence: float) -> int:
    """The number of units whose smallest difference is this one."""
    from scipy.optimize import brentq

    def excess(logarithm: float) -> float:
        units = round(math.exp(logarithm))
        return smallest_difference(deviation, units, confidence) - difference

    least, most = math.log(2), math.log(10**9)
    if excess(least) <= 0 or excess(most) >= 0:
        return 2 if excess(least) <= 0 else 10**9
    return math.ceil(math.exp(brentq(excess, least, most)))
