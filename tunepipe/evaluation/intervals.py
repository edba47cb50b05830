"""95 % intervals: Wilson's for a share, the bootstrap over rows for everything else.

The bootstrap draws whole rows with replacement and adds up what the metric is made of (its
sufficient statistics: a row's score, or a row's n-gram counts), so a metric of the whole file, such
as BLEU, costs no more than a mean. How often each row was drawn is a vector; all statistics of all
metrics then come from one matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

CONFIDENCE = 0.95
RESAMPLES = 10_000
# Above 20,000 rows there are fewer resamples, so that the work stays bounded; never below 1,000.
_MAX_DRAWS = 200_000_000
_MIN_RESAMPLES = 1_000
_CHUNK_CELLS = 4_000_000
_CACHED_CELLS = 10_000
_FEW_COLUMNS = 4


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float]:
        """Give `{"value", "low", "high"}`."""
        return {"value": self.value, "low": self.low, "high": self.high}


def wilson(successes: float, trials: float) -> tuple[float, float]:
    """Wilson's score interval for a share.

    Args:
        successes: How many of the trials went right, 0..trials; may be a fraction.
        trials: How many there were, > 0.

    Source: E. B. Wilson, Journal of the American Statistical Association 22 (1927), 209-212.
    """
    z, share = NormalDist().inv_cdf((1 + CONFIDENCE) / 2), successes / trials
    centre = share + z**2 / (2 * trials)
    reach = z * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    scale = 1 + z**2 / trials
    low, high = (centre - reach) / scale, (centre + reach) / scale
    # For a share of 0 or 1 an end is the share itself, which rounding misses.
    return max(0.0, min(low, share)), min(1.0, max(high, share))


def resampled_sums(statistics: Floats, *, seed: int) -> Floats:
    """Draw the rows with replacement, again and again, and add up their statistics.

    Args:
        statistics: A row's numbers in each line, shape (rows, numbers), rows >= 1.
        seed: The same seed gives the same sums.

    Returns:
        The sums, shape (resamples, numbers).
    """
    rows = len(statistics)
    count = draws(rows)
    rng = np.random.default_rng(seed)
    distinct, times = np.unique(statistics, axis=0, return_counts=True)
    few = 8 * len(distinct) <= rows
    values = distinct if few else statistics
    drawn = _draws_of_cells(rng, times, count) if few else _draws_of_rows(rng, rows, count)
    return np.concatenate([weighted_sums(weights, values) for weights in drawn])


def weighted_sums(weights: Floats, values: Floats) -> Floats:
    """The matrix product, shape (lines, rows) by (rows, numbers).

    A few columns are no work for several threads: on a busy machine BLAS would wait for them far
    longer than it computes.
    """
    if values.shape[1] > _FEW_COLUMNS:
        return weights @ values
    sums: Floats = np.einsum("ij,kj->ik", weights, np.ascontiguousarray(values.T))
    return sums


def _draws_of_cells(
    rng: np.random.Generator, times: npt.NDArray[Any], count: int
) -> Iterator[Floats]:
    """Rows alike are one cell: how often each cell is drawn follows a multinomial."""
    rows = int(times.sum())
    for size in chunks(count, len(times)):
        yield rng.multinomial(rows, times / rows, size=size).astype(np.float64)


def _draws_of_rows(rng: np.random.Generator, rows: int, count: int) -> Iterator[Floats]:
    # Counting a few thousand cells at a time stays in the processor's nearest cache.
    together = max(1, _CACHED_CELLS // rows)
    for size in chunks(count, rows):
        drawn = rng.integers(0, rows, (size, rows))
        weights = np.empty((size, rows))
        for start in range(0, size, together):
            lines = drawn[start : start + together]
            lines += np.arange(0, lines.size, rows)[:, None]
            counted = np.bincount(lines.ravel(), minlength=lines.size)
            weights[start : start + together] = counted.reshape(lines.shape)
        yield weights


def draws(rows: int) -> int:
    """How often to draw for so many rows: 10,000 times, above 20,000 rows less often."""
    return min(RESAMPLES, max(_MIN_RESAMPLES, _MAX_DRAWS // rows))


def chunks(count: int, width: int) -> Iterator[int]:
    """Cut `count` lines of `width` cells into pieces that fit into memory; give their sizes."""
    size = max(1, _CHUNK_CELLS // width)
    while count > 0:
        yield min(size, count)
        count -= size


def percentile_interval(replicates: Floats, rows: int) -> tuple[float, float]:
    """Read the interval off the resampled values, widened as few rows need it.

    The plain percentile interval is too narrow for few rows, because it uses the normal's
    quantiles and a spread that is short by (n-1)/n. The expanded one moves the percentiles out to
    where Student's t and that factor put them; for many rows the two agree.

    Args:
        replicates: The metric in every resample; NaN where a resample does not define it.
        rows: How many rows were resampled, >= 2.

    Source: T. Hesterberg, What Teachers Should Know About the Bootstrap, The American Statistician
        69 (2015), 371-386, on the expanded percentile interval.
    """
    # Student's t from scipy.special: scipy.stats takes a second to import.
    from scipy.special import stdtrit

    quantile = float(stdtrit(rows - 1, (1 + CONFIDENCE) / 2))
    tail = NormalDist().cdf(-math.sqrt(rows / (rows - 1)) * quantile)
    low, high = np.nanquantile(replicates, [tail, 1 - tail])
    return float(low), float(high)
