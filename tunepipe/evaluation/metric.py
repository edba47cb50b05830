"""The definition of a metric: each row's numbers, and how their sums become one value.

Kept this way, a metric can be asked for its value, resampled without looking at a text again, and
compared row by row or group by group. The metrics themselves are in `text_metrics`,
`classification_metrics`, `json_metrics` and `custom_metrics`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tunepipe.data.predictions import Prediction
from tunepipe.evaluation.intervals import (
    Floats,
    Sample,
    percentile_interval,
    resampled_sums,
    wilson,
)
from tunepipe.evaluation.tasks import MAX_PARTS
from tunepipe.reporting.facts import CONFIDENCE, Estimate

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
NO_SUMS: Floats = np.empty(0)


@dataclass(frozen=True)
class Clusters:
    """Which rows belong together: the number of each row's unit, 0..count-1."""

    of_row: Ints
    count: int

    @classmethod
    def of(cls, *keys: Sequence[str]) -> Clusters:
        """Put rows together that agree in any of their keys; an empty key joins nothing."""
        rows = len(keys[0])
        if all(len(set(filter(None, key))) == sum(map(bool, key)) for key in keys):
            return cls(np.arange(rows), rows)
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        # Rows and keys are the two sides of a graph; its components are the units.
        numbers: dict[tuple[int, str], int] = {}
        edges = [
            (row, numbers.setdefault((which, value), rows + len(numbers)))
            for which, key in enumerate(keys)
            for row, value in enumerate(key)
            if value
        ]
        left, right = np.array(edges, dtype=np.int64).reshape(-1, 2).T
        size = rows + len(numbers)
        graph = coo_matrix((np.ones(len(left), dtype=np.int8), (left, right)), (size, size))
        _, label = connected_components(graph, directed=False)
        _, of_row = np.unique(label[:rows], return_inverse=True)
        return cls(of_row.astype(np.int64), int(of_row.max(initial=-1)) + 1)

    @classmethod
    def of_rows(cls, rows: Sequence[Prediction], *keys: Sequence[str]) -> Clusters:
        """Put rows together that are not independent: of one id, group, content or prompt.

        Prompts count where the pipeline wrote the row (it has a hash), as in its split: a user's
        file may leave most of them out. The names of files do not tell prompts apart.
        """
        same = [row.hash or (f"{row.input}\0{row.reference}" if row.input else "") for row in rows]
        prompts = [row.input if row.hash and "media" not in row.fields else "" for row in rows]
        return cls.of([row.id for row in rows], [row.group for row in rows], same, prompts, *keys)

    @property
    def single(self) -> bool:
        """Whether every row is a unit of its own."""
        return self.count == len(self.of_row)

    def on(self, rows: Bools) -> Clusters:
        """The units of a part of the rows."""
        if rows.all():
            return self
        numbers, of_row = np.unique(self.of_row[rows], return_inverse=True)
        return Clusters(of_row.astype(np.int64), len(numbers))

    def sums(self, statistics: Floats) -> Floats:
        """Add up the rows' numbers by unit, shape (units, numbers)."""
        if self.single:
            return statistics
        columns = [
            np.bincount(self.of_row, weights=column, minlength=self.count)
            for column in statistics.T
        ]
        return np.column_stack(columns)


@dataclass(frozen=True)
class Metric:
    """One metric on some rows.

    Args:
        statistics: Each row's numbers, shape (rows, numbers).
        combine: Makes values 0..1 of sums of the statistics: shape (…, numbers) to (…).
        kind: "share" (each row right or wrong), "mean" (each row a score), or "file" (a value of
            all rows together, such as BLEU). Of the first two, column 0 is the score and column 1
            is 1 if the row counts, else 0.
        earned: First and last column + 1 of what a good answer earns; a missing answer has 0 there.
        worst: For the lower end of the interval, rows of the worst kind that the sample may lack,
            shape (any, numbers); None takes an average row that earns nothing.
    """

    name: str
    statistics: Floats
    combine: Callable[[Floats], Floats]
    kind: str = "file"
    earned: tuple[int, int] = (0, 1)
    worst: Floats | None = None

    @property
    def by_row(self) -> bool:
        """Whether the value is the mean of the rows' scores."""
        return self.kind != "file"

    @property
    def value(self) -> float:
        """The metric on all its rows, 0..1."""
        return float(self.combine(self.statistics.sum(axis=0)))

    @property
    def defined(self) -> bool:
        """Whether there is a value: a share of no row has none."""
        return bool(len(self.statistics)) and not math.isnan(self.value)

    @property
    def scores(self) -> Floats:
        """The metric of each row alone, NaN if the row does not count."""
        values: Floats = self.combine(self.statistics)
        return values

    def on(self, rows: Bools) -> Metric:
        """The same metric on a part of its rows."""
        if rows.all():
            return self
        return replace(self, statistics=self.statistics[rows])

    def without(self, rows: Bools) -> Metric:
        """The same metric with nothing earned on these rows."""
        if not rows.any():
            return self
        statistics = self.statistics.copy()
        statistics[rows, slice(*self.earned)] = 0.0
        return replace(self, statistics=statistics)

    def with_unseen(self, sums: Floats, seed: int) -> Floats:
        """The value in each resample, if rows of the worst kind were in the sample too.

        Each of those that the sample may lack is drawn as often as any one row is.
        """
        if self.worst is not None:
            unseen = self.worst[self.worst @ (self.statistics.sum(axis=0) > 0) > 0]
        else:
            unseen = self.statistics.mean(axis=0)[None, :]
            unseen[:, slice(*self.earned)] = 0.0
        times = np.random.default_rng((seed, 1)).poisson(1.0, (len(sums), len(unseen)))
        return self.combine(sums + times.astype(np.float64) @ unseen)

    def estimate(self, units: Clusters, sums: Floats = NO_SUMS, seed: int = 0) -> Estimate:
        """The value with its 95 % interval; a metric of the whole file needs `resampled` sums."""
        value = self.value
        if self.kind == "share" and units.single:
            right, rows = map(float, self.statistics.sum(axis=0))
            return Estimate(value, *wilson(right, rows))
        if self.by_row:
            by_unit = units.sums(self.statistics)
            return Estimate(value, *Sample.of(by_unit[:, 0], by_unit[:, 1], 0.0, 1.0).interval())
        if units.count > 1:
            low = percentile_interval(self.with_unseen(sums, seed), units.count)[0]
            high = percentile_interval(self.combine(sums), units.count)[1]
            low, high = min(low, value), max(high, value)
            if low < high:
                return Estimate(value, low, high)
        return Estimate(value, *wilson(value * units.count, units.count, CONFIDENCE))


def resampled(metrics: Sequence[Metric], units: Clusters, seed: int) -> list[Floats]:
    """Add up one metric of each model in every resample, the same ones for all models."""
    if metrics[0].by_row or units.count < 2:
        return [NO_SUMS for _ in metrics]
    statistics = np.hstack([units.sums(metric.statistics) for metric in metrics])
    return np.split(resampled_sums(statistics, seed=seed), len(metrics), axis=1)


# Measures the metrics of a task, of answers against the references in the same order; `paired_only`
# leaves out all metrics but those that are shown both strict and by content.
Measure = Callable[..., list[Metric]]


def mean(name: str, scores: Sequence[float] | Floats) -> Metric:
    """The mean of the rows' scores, 0..1; right/wrong throughout makes it a share."""
    values = np.asarray(scores, dtype=np.float64)
    statistics = np.column_stack([values, np.ones_like(values)])
    return Metric(name, statistics, ratio, kind="mean")


def share(name: str, right: Sequence[bool], counts: Sequence[bool] | None = None) -> Metric:
    """The share of rows that are right, of those that count: all of them by default."""
    statistics = np.column_stack([right, [True] * len(right) if counts is None else counts])
    return Metric(name, statistics.astype(np.float64), ratio, kind="share")


def shares_of_parts(kind: str, rows: Sequence[Mapping[str, bool]]) -> list[Metric]:
    """Measure the 50 most frequent parts of the references, such as fields, named "kind:part"."""
    occurrences = Counter(name for row in rows for name in row).most_common(MAX_PARTS)
    return [
        share(
            f"{kind}:{name}", [row.get(name, False) for row in rows], [name in row for row in rows]
        )
        for name, _ in occurrences
    ]


def ratio(sums: Floats) -> Floats:
    """The first number by the second; NaN if a resample asks no row."""
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient: Floats = sums[..., 0] / sums[..., 1]
    return quotient
