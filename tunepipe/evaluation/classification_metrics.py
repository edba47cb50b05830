"""Metrics of classification: the labels are the references, an answer is one of them or another.

Case, width and surrounding space do not make another label; by content neither do quotes, a full
stop, or `Label:` before it. Precision, recall and F1 agree with scikit-learn's over the references'
labels, with 0 if nothing divides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tunepipe.evaluation.intervals import Floats
from tunepipe.evaluation.metric import Ints, Metric, share
from tunepipe.evaluation.normalization import normalized
from tunepipe.evaluation.tasks import labels_of
from tunepipe.reporting import facts

OTHER = "(another answer)"


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


def confusion(
    predictions: Sequence[str], references: Sequence[str]
) -> tuple[facts.Confusion, list[facts.ClassScore]]:
    """Count the answers by label, and score each class; see `measure`.

    KFP's `log_confusion_matrix` takes a square matrix, so where an answer was no label at all,
    OTHER is one more category, which no row expected.
    """
    labels, answered, expected = _coded(predictions, references)
    columns = len(labels) + 1
    cells = np.bincount(expected * columns + answered, minlength=len(labels) * columns)
    cells = cells.reshape(len(labels), columns)
    right, support, said = np.diagonal(cells), cells.sum(axis=1), cells.sum(axis=0)[:-1]
    precision, recall = right / np.maximum(said, 1), right / np.maximum(support, 1)
    f1 = 2 * right / np.maximum(said + support, 1)
    values = (column.tolist() for column in (support, precision, recall, f1))
    classes = [facts.ClassScore(*line) for line in zip(labels, *values, strict=True)]
    if not cells[:, -1].any():
        return facts.Confusion(labels, cells[:, :-1].tolist()), classes
    square: list[Any] = [*cells.tolist(), [0.0] * columns]
    return facts.Confusion([*labels, OTHER], square), classes


def _coded(predictions: Sequence[str], references: Sequence[str]) -> tuple[list[str], Ints, Ints]:
    """The labels as first written, and each row's answer and reference as their numbers."""
    shown = labels_of(references)
    keys = sorted(shown)
    number = {key: place for place, key in enumerate(keys)}
    answered = [number.get(normalized(text), len(keys)) for text in predictions]
    expected = [number[normalized(text)] for text in references]
    return [shown[key] for key in keys], np.array(answered), np.array(expected)
