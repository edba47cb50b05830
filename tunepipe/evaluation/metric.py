"""What a metric is: each row's numbers, and how their sums become one value.

Kept this way, a metric can be asked for its value, resampled without looking at a text again, and
compared row by row. The metrics themselves stand in `metrics_text`, `metrics_labels` and
`metrics_json`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tunepipe.evaluation.intervals import Estimate, Floats, percentile_interval, wilson


@dataclass(frozen=True)
class Metric:
    """One metric on some rows.

    Args:
        name: Its name in every output.
        statistics: Each row's numbers, shape (rows, numbers).
        combine: Makes values 0..1 of sums of the statistics: shape (…, numbers) to (…).
        share: Whether every row is right or wrong, so that the value is a share of rows.
        by_row: Whether the value is the mean of the rows' scores, which stand in column 0.
    """

    name: str
    statistics: Floats
    combine: Callable[[Floats], Floats]
    share: bool = False
    by_row: bool = False

    @property
    def value(self) -> float:
        """The metric on all its rows, 0..1."""
        return float(self.combine(self.statistics.sum(axis=0)))

    @property
    def defined(self) -> bool:
        """Whether there is a value: a share of no row has none."""
        return not math.isnan(self.value)

    def on(self, rows: npt.NDArray[np.bool_]) -> Metric:
        """The same metric on a part of its rows."""
        return replace(self, statistics=self.statistics[rows])

    def estimate(self, sums: Floats) -> Estimate:
        """The value with its interval: Wilson's for a share, else the bootstrap's.

        Args:
            sums: The statistics' sums in each resample; not looked at for a share.
        """
        value, rows = self.value, len(self.statistics)
        if self.share:
            right, asked = self.statistics.sum(axis=0)
            return Estimate(value, *wilson(float(right), float(asked)))
        if rows > 1:
            low, high = percentile_interval(self.combine(sums), rows)
            if low < high:
                return Estimate(value, low, high)
        # Rows all alike show no spread, but do not prove that there is none. No score in 0..1
        # spreads wider than right and wrong do, so the interval of a share covers it.
        return Estimate(value, *wilson(value * rows, rows))


def mean(name: str, scores: Sequence[float] | Floats) -> Metric:
    """The mean of the rows' scores, 0..1."""
    values = np.asarray(scores, dtype=np.float64)
    return Metric(name, np.column_stack([values, np.ones_like(values)]), ratio, by_row=True)


def share(name: str, right: Sequence[bool]) -> Metric:
    """The share of rows that are right."""
    values = np.asarray(right, dtype=np.float64)
    statistics = np.column_stack([values, np.ones_like(values)])
    return Metric(name, statistics, ratio, share=True, by_row=True)


def share_of(name: str, right: Sequence[bool], asked: Sequence[bool]) -> Metric:
    """The share of rows that are right, of those rows alone that are asked; one or more are."""
    return Metric(name, np.column_stack([right, asked]).astype(np.float64), ratio, share=True)


def ratio(sums: Floats) -> Floats:
    """The first number by the second; NaN where a resample asks no row."""
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient: Floats = sums[..., 0] / sums[..., 1]
    return quotient
