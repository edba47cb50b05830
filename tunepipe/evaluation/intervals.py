"""Confidence intervals: a score interval for bounded means, the bootstrap for metrics of a file.

The score interval serves shares, means and paired differences alike. For a share it is Wilson's,
for the difference of two right/wrong results on the same rows it is Tango's, and for any other
bounded mean it is their generalisation: a value is kept if the sample does not contradict it under
the distribution that fits best among all those with that mean *within the metric's range*. That
distribution may hold values worse than any row of the sample. So the interval allows for failures
that are too rare to be seen, is never of zero width, and does not jump between rows that are all
equal and rows that are nearly so.

The bootstrap draws whole units (rows, or groups of rows that belong together) with replacement and
adds up what the metric is made of, its sufficient statistics. A metric of the whole file, such as
BLEU, then costs no more than a mean.

Sources: E. B. Wilson, JASA 22 (1927), 209-212; T. Tango, Statistics in Medicine 17 (1998),
    891-908; A. B. Owen, Empirical Likelihood (2001), for the distribution that fits best.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from tunepipe.reporting.facts import CONFIDENCE

Floats = npt.NDArray[np.float64]

RESAMPLES = 10_000
# Above 10,000 rows there are fewer resamples, so that the work stays bounded; never below 1,000.
_MAX_DRAWS = 100_000_000
_MIN_RESAMPLES = 1_000
_CHUNK_CELLS = 1_000_000
_CACHED_CELLS = 10_000
_LOOKED_AT = 1_000
_FEW_COLUMNS = 4
# How much of the nominal error is used; see `quantile`.
_LEVEL = 0.92


def wilson(successes: float, trials: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval for a share.

    Args:
        successes: How many of the trials went right, 0..trials; may be a fraction.
        trials: How many there were, > 0.
        confidence: Of the interval, between 0 and 1.
    """
    z, share = NormalDist().inv_cdf((1 + confidence) / 2), successes / trials
    centre = share + z**2 / (2 * trials)
    reach = z * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    scale = 1 + z**2 / trials
    low, high = (centre - reach) / scale, (centre + reach) / scale
    # For a share of 0 or 1 an end is the share itself, which rounding misses.
    return max(0.0, min(low, share)), min(1.0, max(high, share))


@dataclass(frozen=True)
class Sample:
    """Units whose sums and sizes make a bounded mean: sum of all sums by sum of all sizes.

    Args:
        sums: Each distinct unit's sum, in units of the mean size.
        sizes: Its size, in units of the mean size.
        times: How many units are like that.
        lowest: The least value of a mean, such as -1 for a difference of scores.
        highest: The largest.
    """

    sums: Floats
    sizes: Floats
    times: Floats
    lowest: float
    highest: float

    @classmethod
    def of(cls, sums: Floats, sizes: Floats, lowest: float, highest: float) -> Sample:
        """Count equal units once; units of size 0 say nothing and are left out."""
        full = sizes > 0
        units = np.column_stack([sums[full], sizes[full]])
        if (sizes[full] == 1).all():
            values, times = np.unique(units[:, 0], return_counts=True)
            units = np.column_stack([values, np.ones_like(values)])
        else:
            units, times = np.unique(units, axis=0, return_counts=True)
        scale = float(units[:, 1] @ times) / max(times.sum(), 1)
        units = units / (scale or 1.0)
        return cls(units[:, 0], units[:, 1], times.astype(np.float64), lowest, highest)

    @property
    def units(self) -> int:
        """How many units there are."""
        return int(self.times.sum())

    @property
    def mean(self) -> float:
        """The value; 0 without a unit."""
        return float(self.sums @ self.times) / max(self.units, 1)

    @property
    def deviation(self) -> float:
        """The standard deviation of a unit about the mean."""
        residuals = self.sums - self.mean * self.sizes
        return math.sqrt(float(self.times @ residuals**2) / max(self.units, 1))

    def mirrored(self) -> Sample:
        """The same sample with the sign of every value changed."""
        return Sample(-self.sums, self.sizes, self.times, -self.highest, -self.lowest)

    def statistic(self, value: float) -> float:
        """The squared score statistic of a mean of `value`, which is below the sample's mean."""
        # The residuals' mean is to be zero; the worst that one more unit could add is `worst`.
        residuals, units = self.sums - value * self.sizes, self.units
        excess = float(residuals @ self.times) / units
        worst = min(self.lowest - value, float(residuals.min()))
        if worst >= 0:
            return math.inf

        def slope(tilt: float) -> float:
            return float((residuals / (1 + tilt * residuals)) @ self.times)

        # The best fitting distribution weighs each unit by 1 / (1 + tilt * residual). If no tilt
        # brings the mean to zero, the rest of the weight is on the worst value.
        last = -1 / worst
        if residuals.min() > worst and slope(last) >= 0:
            tilt = last
        else:
            from scipy.optimize import brentq

            edge = last * (1 - 1e-9)
            tilt = brentq(slope, 0.0, edge, xtol=1e-12) if slope(edge) < 0 else edge
        weights = self.times / (units * (1 + tilt * residuals))
        rest = max(0.0, 1 - float(weights.sum()))
        variance = float(weights @ residuals**2) + rest * worst**2
        return units * excess**2 / variance if variance > 0 else math.inf

    def low(self, confidence: float) -> float:
        """The lower end of the interval."""
        if self.units < 2:
            return self.lowest
        limit, mean = quantile(self.units, confidence) ** 2, self.mean
        from scipy.optimize import brentq

        floor = self.lowest + 1e-12
        if mean <= floor or self.statistic(floor) <= limit:
            return self.lowest
        end = mean - 1e-12 * max(1.0, abs(mean))
        return float(brentq(lambda value: self.statistic(value) - limit, floor, end, xtol=1e-10))

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """The interval of the mean."""
        return self.low(confidence), -self.mirrored().low(confidence)

    def p_value(self, value: float = 0.0) -> float:
        """Two-sided p-value of the mean being `value`; agrees with `interval`."""
        if self.units < 2 or abs(self.mean - value) < 1e-12:
            return 1.0
        from scipy.special import stdtr

        side = self if self.mean > value else self.mirrored()
        square = side.statistic(value if self.mean > value else -value)
        if math.isinf(square):
            square = float(self.units)
        return min(1.0, 2 * float(stdtr(self.units - 1, -math.sqrt(square))) / _LEVEL)


def quantile(units: int, confidence: float) -> float:
    """Return the critical value of a statistic of N units, >= 2, in standard errors.

    Student's t takes care of few units. The level is held 8 % below the nominal one: a statistic
    of right and wrong jumps, and with the plain quantile one-sided errors of up to 0.0255 were
    found where 0.025 is meant (exact sums, `benchmarks/evaluation.py`).
    """
    # Student's t from scipy.special: scipy.stats takes a second to import.
    from scipy.special import stdtrit

    return float(stdtrit(units - 1, 1 - _LEVEL * (1 - confidence) / 2))


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
    values, drawn = statistics, _draws_of_rows(rng, rows, count)
    # Sorting all rows to find equal ones is worth it only if a few of them are so.
    if 4 * len(np.unique(statistics[:_LOOKED_AT], axis=0)) <= min(rows, _LOOKED_AT):
        values, times = np.unique(statistics, axis=0, return_counts=True)
        drawn = _draws_of_cells(rng, times, count)
    return np.concatenate([weighted_sums(weights, values) for weights in drawn])


def weighted_sums(weights: Floats, values: Floats) -> Floats:
    """The matrix product, shape (lines, rows) by (rows, numbers).

    A few columns need no threads: on a busy machine BLAS would wait for them far longer than it
    computes.
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
    """Return the number of resamples: 10,000, and fewer above 10,000 rows."""
    return min(RESAMPLES, max(_MIN_RESAMPLES, _MAX_DRAWS // rows))


def chunks(count: int, width: int) -> Iterator[int]:
    """Cut `count` lines of `width` cells into pieces that fit into memory; give their sizes."""
    size = max(1, _CHUNK_CELLS // width)
    while count > 0:
        yield min(size, count)
        count -= size


def percentile_interval(
    replicates: Floats, units: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Read the interval off the resampled values, widened as few units need it.

    The plain percentile interval is too narrow for few units, because it uses the normal's
    quantiles and a spread that is short by (n-1)/n. The expanded one moves the percentiles out to
    where Student's t and that factor put them; for many units the two agree.

    Args:
        replicates: The metric in every resample; NaN if a resample does not define it.
        units: How many units were resampled, >= 2.
        confidence: Of the interval, between 0 and 1.

    Source: T. Hesterberg, What Teachers Should Know About the Bootstrap, The American Statistician
        69 (2015), 371-386, on the expanded percentile interval.
    """
    from scipy.special import stdtrit

    reach = float(stdtrit(units - 1, (1 + confidence) / 2))
    tail = NormalDist().cdf(-math.sqrt(units / (units - 1)) * reach)
    low, high = np.nanquantile(replicates, [tail, 1 - tail])
    return float(low), float(high)
