"""Metrics of answers that should be JSON objects: do they parse, are the fields there and right?

Strict, an answer must be JSON as it is, because a program that reads it fails on a code fence or a
sentence round it; values are equal if they are of one kind and the same, so 1 equals 1.0, but
neither "1" nor true. By content, fences and sentences are removed, and values are compared without
case, space, the form of a number or a date, and the order of a list.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tunepipe.evaluation.metric import Metric, mean, share, shares_of_parts
from tunepipe.evaluation.normalization import canonical_value, json_text
from tunepipe.evaluation.tasks import Object, object_of, parse


def content(text: str) -> str:
    """Return a JSON object's content as canonical JSON; the text itself if there is no object."""
    value = parse(json_text(text))
    return text if value is None else json.dumps(canonical_value(value), ensure_ascii=False)


def measure(
    predictions: Sequence[str], references: Sequence[str], *, paired_only: bool = False
) -> list[Metric]:
    """Measure all JSON metrics of the rows; see `metric.Measure`."""
    pairs = [
        (parse(answer), object_of(reference))
        for answer, reference in zip(predictions, references, strict=True)
    ]
    accuracy = mean("field_accuracy", [field_accuracy(*pair) for pair in pairs])
    exact = share("object_exact", [same(*pair) for pair in pairs])
    if paired_only:
        return [accuracy, exact]
    fields = [{name: _holds(a, name, value) for name, value in b.items()} for a, b in pairs]
    return [
        share("parses", [answer is not None for answer, _ in pairs]),
        share("keys_match", [a is not None and a.keys() == b.keys() for a, b in pairs]),
        accuracy,
        exact,
        *shares_of_parts("field", fields),
    ]


def field_accuracy(answer: Object | None, expected: Object) -> float:
    """The share of the reference's fields that the answer has right; extra fields do not count."""
    if answer is None:
        return 0.0
    if not expected:
        return float(not answer)
    return sum(_holds(answer, name, value) for name, value in expected.items()) / len(expected)


def _holds(answer: Object | None, name: str, value: Any) -> bool:
    return answer is not None and name in answer and same(answer[name], value)


def same(left: Any, right: Any) -> bool:
    """Return True if two JSON values are equal; true and false are not numbers."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)
