"""Exact tests for two models on the same rows, and how many rows a test needs.

Both tests hold for any number of rows, however few, and each comes with the interval that belongs
to it: nought lies outside exactly when p < 0.05.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np

from tunepipe.evaluation.intervals import CONFIDENCE, Floats, chunks, draws, weighted_sums

ALPHA = round(1 - CONFIDENCE, 9)
POWER = 0.8
ZERO = 1e-12
_MAX_ENUMERATED_ROWS = 13
# Five rows that all point one way are p = 0.0625; six are 0.03125.
_FEWEST_DECISIVE_ROWS = 6


def bound_of_no_difference(rows: int) -> float:
    """How large a difference may be although none of so many rows, >= 1, shows one.

    A share of rows that differ larger than this would have shown itself with 95 % probability.
    """
    return float(1 - ALPHA ** (1 / rows))


def mcnemar(differences: Floats) -> tuple[float, float, float]:
    """McNemar's exact test on right/wrong rows.

    Only the rows on which the models differ count; were they equal, each would be a fair coin. The
    interval is Clopper and Pearson's for that coin, as a share of all rows; it leaves out nought
    exactly when p < 0.05.

    Args:
        differences: 1 where only the tuned model was right, -1 where only the other was, else 0.

    Returns:
        The p-value, and the lower and upper end of the mean difference.

    Source: Q. McNemar, Psychometrika 12 (1947), 153-157; C. J. Clopper and E. S. Pearson,
        Biometrika 26 (1934), 404-413.
    """
    from scipy.stats import binomtest

    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    if wins + losses == 0:
        bound = bound_of_no_difference(len(differences))
        return 1.0, -bound, bound
    coin = binomtest(wins, wins + losses)
    share = coin.proportion_ci(CONFIDENCE, method="exact")
    scale = (wins + losses) / len(differences)
    return (
        float(coin.pvalue),
        float(2 * share.low - 1) * scale,
        float(2 * share.high - 1) * scale,
    )


def sign_flips(differences: Floats, *, seed: int) -> tuple[float, float, float]:
    """The sign-flip test of a mean difference of nought, and the interval that belongs to it.

    Were the models equal, each row's difference could as well have had the other sign. Flipping a
    subset's signs gives a mean at least as far out exactly when the mean of that subset, or of
    the rest, has crossed to the other side of nought; so the sorted subset means hold both the
    p-value and the interval. All subsets up to 13 rows, 10,000 random ones above.

    Args:
        differences: A score's difference in each row, one or more.
        seed: Seeds the random subsets.

    Returns:
        The p-value, and the lower and upper end of the mean difference (-1 and 1 where so few
        rows allow no verdict at all).

    Source: R. A. Fisher, The Design of Experiments (1935), section 21; J. A. Hartigan, Using
        Subsample Values as Typical Values, Journal of the American Statistical Association 64
        (1969), 1303-1317; the +1 of random subsets: B. Phipson and G. K. Smyth, Statistical
        Applications in Genetics and Molecular Biology 9 (2010), 39.
    """
    if not differences.any():
        bound = bound_of_no_difference(len(differences))
        return 1.0, -bound, bound
    lower, upper = _subset_means(differences, seed)
    tries = len(lower) + 1
    crossed = (lower <= ZERO) if differences.mean() > 0 else (upper >= -ZERO)
    p_value = (1 + int(crossed.sum())) / tries
    kept = math.floor(ALPHA * tries + ZERO)
    if kept < 1:
        return p_value, -1.0, 1.0
    low, high = np.sort(lower)[kept - 1], np.sort(upper)[-kept]
    return p_value, _clean(low), _clean(high)


def _clean(value: float) -> float:
    return 0.0 if abs(value) <= ZERO else float(value)


def _subset_means(differences: Floats, seed: int) -> tuple[Floats, Floats]:
    """For each subset, the smaller and the larger of its mean and the mean of the rest."""
    rows, total = len(differences), differences.sum()
    columns = np.column_stack([differences, np.ones(rows)])
    lower, upper = [np.empty(0)], [np.empty(0)]
    for chosen in _subsets(rows, seed):
        sums, sizes = weighted_sums(chosen, columns).T
        # The empty and the full subset are the data as they are, which always count as far out.
        whole = (sizes == 0) | (sizes == rows)
        sizes[whole] = rows / 2
        inside, outside = sums / sizes, (total - sums) / (rows - sizes)
        lower.append(np.where(whole, -np.inf, np.minimum(inside, outside)))
        upper.append(np.where(whole, np.inf, np.maximum(inside, outside)))
    return np.concatenate(lower), np.concatenate(upper)


def _subsets(rows: int, seed: int) -> Iterator[Floats]:
    """Subsets as lines of noughts and ones; where all are taken, one of two complements."""
    if rows <= _MAX_ENUMERATED_ROWS:
        numbers = np.arange(1, 2 ** (rows - 1))[:, None]
        yield ((numbers >> np.arange(rows)) & 1).astype(np.float64)
        return
    rng = np.random.default_rng(seed)
    for size in chunks(draws(rows), rows):
        coins = np.frombuffer(rng.bytes((size * rows + 7) // 8), dtype=np.uint8)
        yield np.unpackbits(coins, count=size * rows).reshape(size, rows).astype(np.float64)


def rows_needed(differences: Floats) -> int | None:
    """How many rows would show a difference like this one with a power of 80 %.

    Args:
        differences: The rows' differences so far, one or more.

    Returns:
        Rows in all, at least six (fewer can show nothing); None where the mean is nought.

    Source: R. J. Connor, Sample Size for Testing Differences in Proportions for the Paired-Sample
        Design, Biometrics 43 (1987), 207-211. It is the normal approximation with the spread under
        equality and under the difference, so it serves scores that are not right or wrong too.
    """
    mean = abs(float(differences.mean()))
    if mean <= ZERO:
        return None
    z_alpha, z_power = NormalDist().inv_cdf(1 - ALPHA / 2), NormalDist().inv_cdf(POWER)
    square = float((differences**2).mean())
    deviation = math.sqrt(max(square - mean**2, 0.0))
    # Under equality the mean is nought, so the deviation is the root of the mean square.
    needed = ((z_alpha * math.sqrt(square) + z_power * deviation) / mean) ** 2
    return max(_FEWEST_DECISIVE_ROWS, math.ceil(needed))
