"""Metrics of classification: the labels are the references, an answer is one of them or another.

Case, width and surrounding space do not make another label; by content neither do quotes, a full
stop, or `Label:` before it. Precision, recall and F1 agree with scikit-learn's over the references'
labels, with 0 if nothing divides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tunepipe.evaluation.intervals import Floats
from tunepipe.evaluation.metric import Ints, Metric, share
from tunepipe.evaluation.normalization import normalized
from tunepipe.evaluation.tasks import labels_of
from tunepipe.reporting import facts

OTHER = "(another answer)"


@dataclass(frozen=True)
class ConfusionCounts:
    """How often each of the references' labels (lines) got each label or OTHER (columns)."""

    labels: list[str]
    matrix: Ints

    def for_kfp(self) -> facts.Confusion:
        """The two arguments of KFP's `ClassificationMetrics.log_confusion_matrix`.

        KFP takes a square matrix, so where an answer was no label at all, OTHER is one more
        category, which no row expected.
        """
        if not self.matrix[:, -1].any():
            return facts.Confusion(self.labels, self.matrix[:, :-1].tolist())
        none = [0.0] * (len(self.labels) + 1)
        return facts.Confusion([*self.labels, OTHER], [*self.matrix.tolist(), none])

    def classes(self) -> list[facts.ClassScore]:
        """The table of classes: label, support, precision, recall and F1, each 0..1."""
        right = np.diagonal(self.matrix)
        support, answered = self.matrix.sum(axis=1), self.matrix.sum(axis=0)[: len(self.labels)]
        columns = (
            self.labels,
            support.tolist(),
            (right / np.maximum(answered, 1)).tolist(),
            (right / np.maximum(support, 1)).tolist(),
            (2 * right / np.maximum(answered + support, 1)).tolist(),
        )
        return [facts.ClassScore(*line) for line in zip(*columns, strict=True)]


def measure(
    predictions: Sequence[str], references: Sequence[str], *, paired_only: bool = False
) -> list[Metric]:
    """Measure accuracy and macro-F1 of the rows; see `metric.Measure`."""
    labels, answered, expected = _coded(predictions, references)
    size = len(labels)
    hits = np.equal(answered, expected)
    counted = (np.where(hits, expected, size), answered, expected)
    statistics = np.concatenate([np.eye(size + 1)[each][:, :size] for each in counted], axis=1)
    # A rare class may be harder than its few rows show: one more row of each, missed.
    nothing = np.zeros((size, size))
    missed = np.concatenate([nothing, nothing, np.eye(size)], axis=1)
    f1 = Metric("macro_f1", statistics, macro_f1, earned=(0, size), worst=missed)
    return [share("accuracy", hits.tolist()), f1]


def macro_f1(sums: Floats) -> Floats:
    """The mean F1 of the classes that occur, from sums of hits, answers and references by class."""
    hits, answered, expected = np.split(sums, 3, axis=-1)
    occurs = expected > 0
    scores = np.where(occurs, 2 * hits / np.maximum(answered + expected, 1), 0.0)
    average: Floats = scores.sum(axis=-1) / np.maximum(occurs.sum(axis=-1), 1)
    return average


def confusion(predictions: Sequence[str], references: Sequence[str]) -> ConfusionCounts:
    """Count the answers by label; see `measure`."""
    labels, answered, expected = _coded(predictions, references)
    columns = len(labels) + 1
    cells = np.bincount(expected * columns + answered, minlength=len(labels) * columns)
    return ConfusionCounts(labels, cells.reshape(len(labels), columns))


def _coded(predictions: Sequence[str], references: Sequence[str]) -> tuple[list[str], Ints, Ints]:
    """The labels as first written, and each row's answer and reference as their numbers."""
    shown = labels_of(references)
    keys = sorted(shown)
    number = {key: place for place, key in enumerate(keys)}
    answered = [number.get(normalized(text), len(keys)) for text in predictions]
    expected = [number[normalized(text)] for text in references]
    return [shown[key] for key in keys], np.array(answered), np.array(expected)
