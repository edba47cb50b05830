"""Confidence intervals: tests of bounded means, and the bootstrap for metrics of a file.

A value is in the interval of a mean if the sample does not contradict it. Right/wrong results have
the score test: for a share that is Wilson's interval, for the difference of two models Tango's.
Any other bounded mean of up to 500 units has an exact test of its own (`Sample.tail`), more units
have the score test, which by then agrees with it. All of them allow for failures down to the
metric's lowest value that are too rare to be seen. So no interval is of zero width, or jumps
between rows that are all equal and rows that are nearly so.

The bootstrap draws whole units (rows, or groups of rows that belong together) with replacement and
adds up what the metric is made of, its sufficient statistics. A metric of the whole file, such as
BLEU, then costs no more than a mean.

Sources: E. B. Wilson, JASA 22 (1927), 209-212; T. Tango, Statistics in Medicine 17 (1998),
    891-908; A. B. Owen, Empirical Likelihood (2001), for the distribution that fits best;
    I. Waudby-Smith and A. Ramdas, JRSS B 86 (2024), 1-27, for the statistic of the exact test.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from tunepipe.reporting.facts import CONFIDENCE

Floats = npt.NDArray[np.float64]

RESAMPLES = 10_000
# This many units, drawn at random, are put together into one that the resampling has no more.
MAX_BLOCKS = 4_000
# Cells that are drawn and counted at a time: few enough for the processor's cache.
_CHUNK_CELLS = 200_000
_SLICE = 64
# How much of the nominal error is used; see `quantile`.
_LEVEL = 0.92
# The exact test: the most units, the cells of its grid of sums, and the deviations that it spans.
_EXACT_UNITS, _CELLS, _DEVIATIONS = 500, 8_192, 20
# A sum further than this from its mean, in deviations, does not occur.
_FAR = 6.0
# The distributions that it goes through: tilted by this share of what brings the mean to the value
# (from 0 on), or up by this number of standard errors (below 0); and its largest bet.
_TILTS = np.array([-2.0, -1.0, 0.0, 0.25, 0.5, 0.75, 1.0])
_MAX_BET = 0.95


def wilson(successes: float, trials: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval for a share of `trials`, > 0; `successes` may be a fraction."""
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

    Each distinct unit has its sum and size, in units of the mean size, and how many units are like
    that (`times`). The bounds are those of a mean, such as -1 and 1 for a difference of scores.
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
        # Pairs as complex numbers, which numpy sorts fast.
        pairs, times = np.unique(sums[full] + 1j * sizes[full], return_counts=True)
        size = float(pairs.imag @ times) / max(times.sum(), 1) or 1.0
        return cls(pairs.real / size, pairs.imag / size, times.astype(np.float64), lowest, highest)

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

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """The interval of the mean."""
        return self.low(confidence), -self.mirrored().low(confidence)

    def p_value(self, value: float = 0.0) -> float:
        """Two-sided p-value of the mean being `value`; agrees with `interval`."""
        if self.units < 2 or abs(self.mean - value) < 1e-12:
            return 1.0
        tail = self.tail(value) if self.mean > value else self.mirrored().tail(-value)
        return max(1e-300, min(1.0, 2 * tail / _LEVEL))

    def low(self, confidence: float) -> float:
        """The lower end of the interval."""
        from scipy.optimize import brentq

        level, floor = _LEVEL * (1 - confidence) / 2, self.lowest + 1e-6
        end = self.mean - 1e-9
        if self.units < 2 or end <= floor or self.tail(floor) >= level:
            return self.lowest
        return float(brentq(lambda value: self.tail(value) - level, floor, end, xtol=1e-6))

    def tail(self, value: float) -> float:
        """The chance of a sample with a mean this high if the true mean is `value`, which is lower.

        It is the largest over a family of distributions with that mean: the sample tilted towards
        lower values, with the rest of the way made up by unseen rows of the lowest value. Samples
        are ordered by the sum of log(1 + bet * residual), the wealth of someone who bets against
        the value: a single total failure costs that far more than it costs the mean.
        """
        residuals, units = self.sums - value * self.sizes, self.units
        worst = min(self.lowest - value, float(residuals.min()))
        if worst >= 0:
            return 0.0
        from scipy.special import stdtr

        ends = (self.lowest, 0.0, self.highest)
        if units > _EXACT_UNITS or ((self.sizes == 1).all() and np.isin(self.sums, ends).all()):
            square = min(self.statistic(value), float(units) * units)
            return float(stdtr(units - 1, -math.sqrt(square)))
        mean = float(residuals @ self.times) / units
        if mean < 1e-8 * -worst:
            return 1.0
        # 1. The distributions: weights of the residuals, and the rest on the worst value.
        variance = max(float(self.times @ (residuals - mean) ** 2) / units, 1e-18)
        error = math.sqrt(variance / units)
        tilts = np.where(_TILTS < 0, _TILTS * error, _TILTS * mean) / variance
        exponents = np.clip(-tilts[:, None] * (residuals - mean), -50, 50)
        weights = self.times * np.exp(exponents)
        weights /= weights.sum(axis=1, keepdims=True)
        means = weights @ residuals
        rest = np.maximum(means, 0.0) / (np.maximum(means, 0.0) - worst)
        weights = np.column_stack([weights * (1 - rest)[:, None], rest])
        # 2. The statistic of each value, and its sum's distribution by Fourier transforms.
        last = -_MAX_BET / worst
        bet = max(1e-6 * last, self._tilt(residuals, last, 1e-7 * last))
        wealth = np.log1p(bet * np.append(residuals, worst))
        wealth -= float(wealth[:-1] @ self.times) / units
        centres = weights @ wealth
        variances = (weights * (wealth - centres[:, None]) ** 2).sum(axis=1)
        deviation = math.sqrt(units * float(variances.max()))
        cell = _DEVIATIONS * deviation / _CELLS
        places = np.floor(wealth / cell).astype(np.int64)
        upper = wealth / cell - places
        grid = [
            np.bincount(places % _CELLS, each * (1 - upper), _CELLS)
            + np.bincount((places + 1) % _CELLS, each * upper, _CELLS)
            for each in weights
        ]
        sums = np.fft.irfft(_power(np.fft.rfft(grid, axis=1), units), _CELLS, axis=1)
        # 3. The sample's own sum is at 0, spread over the cells next to it by the rounding of each
        # unit; what is above it is in the first third of the circle.
        own = 1 + int(2 * math.sqrt(units / 6))
        above = sums[:, : _CELLS // 3].sum(axis=1) + sums[:, -own:].sum(axis=1)
        exact = float(np.where(-units * centres > _FAR * deviation, 0.0, above).max())
        # Of few units the spread is uncertain too: Student's test has to agree.
        return max(exact, float(stdtr(units - 1, -mean / (error * math.sqrt(units / (units - 1))))))

    def _tilt(self, residuals: Floats, last: float, accuracy: float) -> float:
        """The tilt, at most the last, that brings the residuals' mean, each by 1 + tilt x it, to 0.

        Of all bets against the residuals this one would have grown fastest on the sample.
        """
        from scipy.optimize import brentq

        def slope(tilt: float) -> float:
            return float((residuals / (1 + tilt * residuals)) @ self.times)

        return last if slope(last) >= 0 else float(brentq(slope, 0.0, last, xtol=accuracy))

    def statistic(self, value: float) -> float:
        """The squared score statistic of a mean of `value`, which is below the sample's mean."""
        # The residuals' mean is to be zero; the worst that one more unit could add is `worst`.
        residuals, units = self.sums - value * self.sizes, self.units
        excess = float(residuals @ self.times) / units
        worst = min(self.lowest - value, float(residuals.min()))
        if worst >= 0:
            return math.inf

        # The best fitting distribution weighs each unit by 1 / (1 + tilt * residual). If no tilt
        # brings the mean to zero, the rest of the weight is on the worst value.
        last = -1 / worst if residuals.min() > worst else -(1 - 1e-9) / worst
        tilt = self._tilt(residuals, last, 1e-12)
        weights = self.times / (units * (1 + tilt * residuals))
        rest = max(0.0, 1 - float(weights.sum()))
        variance = float(weights @ residuals**2) + rest * worst**2
        return units * excess**2 / variance if variance > 0 else math.inf


def _power(values: npt.NDArray[np.complex128], exponent: int) -> npt.NDArray[np.complex128]:
    """Raise to a whole power, > 0, by squaring, which is much faster than numpy's power."""
    half = values if exponent == 1 else _power(values, exponent // 2)
    if exponent == 1:
        return half
    return half * half * values if exponent % 2 else half * half


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

    From the shape (rows, numbers), rows >= 1, to the shape (resamples, numbers).
    """
    values, rng = blocks(statistics, seed), np.random.default_rng(seed)
    rows = len(values)

    def draw(size: int) -> Floats:
        drawn = rng.integers(0, rows, (size, rows)) + np.arange(0, size * rows, rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * rows).reshape(size, rows)
        return times.astype(np.float64)

    return drawn_sums(values, draw)


def drawn_sums(values: Floats, draw: Callable[[int], Floats]) -> Floats:
    """Add up the units' numbers, each as often as a draw says, in as many draws as are made.

    `draw` makes some of them, shape (draws, units): as many as fit into memory at a time.
    """
    sums = []
    for size in chunks(RESAMPLES, len(values)):
        times = draw(size)
        # In slices that a BLAS does not share out among threads, which on a busy machine wait for
        # each other: 13 ms of CPU time became 0.7.
        slices = (slice(at, at + _SLICE) for at in range(0, len(values), _SLICE))
        products = (times[:, part] @ values[part] for part in slices)
        sums.append(sum(products, start=np.zeros((len(times), values.shape[1]))))
    return np.concatenate(sums)


def blocks(statistics: Floats, seed: int) -> Floats:
    """Add up units that are put together at random, so that there are at most 4,000 of them.

    Such blocks are as independent as the units are, and their sums have the same spread: the width
    of an interval changes by about 1 %.
    """
    rows = len(statistics)
    if rows <= MAX_BLOCKS:
        return statistics
    order = np.random.default_rng((seed, 2)).permutation(rows)
    starts = np.arange(MAX_BLOCKS) * rows // MAX_BLOCKS
    together: Floats = np.add.reduceat(statistics[order], starts, axis=0)
    return together


def chunks(count: int, width: int) -> Iterator[int]:
    """Cut `count` lines of `width` cells into pieces that fit into memory; give their sizes."""
    size = max(1, _CHUNK_CELLS // width)
    for start in range(0, count, size):
        yield min(size, count - start)


def percentile_interval(
    replicates: Floats, units: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Read the interval off the resampled values, widened as few units need it.

    The plain percentile interval is too narrow for few units, because it uses the normal's
    quantiles and a spread that is short by (n-1)/n. The expanded one moves the percentiles out to
    where Student's t and that factor put them; for many units, >= 2, the two agree. A resample that
    does not define the metric is NaN.

    Source: T. Hesterberg, What Teachers Should Know About the Bootstrap, The American Statistician
        69 (2015), 371-386, on the expanded percentile interval.
    """
    from scipy.special import stdtrit

    reach = float(stdtrit(units - 1, (1 + confidence) / 2))
    tail = NormalDist().cdf(-math.sqrt(units / (units - 1)) * reach)
    low, high = np.nanquantile(replicates, [tail, 1 - tail])
    return float(low), float(high)


def percentile_p_value(replicates: Floats, units: int) -> float:
    """Two-sided p-value of a value that is at most 0; agrees with `percentile_interval`."""
    from scipy.special import stdtr

    ordered = np.sort(replicates[~np.isnan(replicates)])
    share = float(np.interp(0.0, ordered, np.linspace(0.0, 1.0, len(ordered))))
    if share in (0.0, 1.0):
        return share
    reach = NormalDist().inv_cdf(share) / math.sqrt(units / (units - 1))
    return min(1.0, 2 * float(stdtr(units - 1, reach)))
