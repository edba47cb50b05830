"""Metrics of function calls: is the right function called, with the right arguments?

Calls of one answer are parallel, so that their order counts in `calls_in_order` alone. A row whose
reference makes no call is right if the answer makes none; what it says instead is not scored.
Values of arguments are equal as `json_metrics.same` has it: 1 equals 1.0, but not "1".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from tunepipe.data.parts import Call, read_calls, write_answer
from tunepipe.evaluation.json_metrics import same
from tunepipe.evaluation.metric import Metric, mean, share, shares_of_parts
from tunepipe.evaluation.normalization import canonical_value

Calls = Sequence[Call]


def content(text: str) -> str:
    """Return an answer's calls with their arguments' content; a text without calls is itself."""
    calls = read_calls(text)
    if not calls:
        return text
    return write_answer("", [Call(call.name, canonical_value(call.arguments)) for call in calls])


def measure(
    predictions: Sequence[str], references: Sequence[str], *, paired_only: bool = False
) -> list[Metric]:
    """Measure all metrics of the rows' calls; see `metric.Measure`."""
    pairs = [
        (read_calls(answer), read_calls(reference))
        for answer, reference in zip(predictions, references, strict=True)
    ]
    scores = [call_accuracy(*pair) for pair in pairs]
    accuracy = mean("call_accuracy", scores)
    exact = share("calls_exact", [score == 1.0 for score in scores])
    if paired_only:
        return [accuracy, exact]
    return [
        share("calls_made", [bool(answer) == bool(expected) for answer, expected in pairs]),
        share(
            "functions_match", [_names(answer) == _names(expected) for answer, expected in pairs]
        ),
        accuracy,
        exact,
        share("calls_in_order", [_same_in_order(*pair) for pair in pairs]),
        *shares_of_parts("argument", [_arguments(*pair) for pair in pairs]),
    ]


def call_accuracy(answer: Calls, reference: Calls) -> float:
    """Score the calls of one answer, 0..1.

    Each call of the reference is paired with the call of the same function that suits it best. A
    pair scores the share of function and arguments that are right, arguments too many included;
    calls that are missing or too many score 0.
    """
    if not answer and not reference:
        return 1.0
    total = sum(score for _, _, score in _matched(answer, reference))
    return total / max(len(answer), len(reference))


def _matched(answer: Calls, reference: Calls) -> list[tuple[int, int, float]]:
    """Pair calls so that the sum of their scores is largest: (answer's, reference's, score)."""
    if not answer or not reference:
        return []
    scores = np.array([[_score(made, expected) for expected in reference] for made in answer])
    if scores.size == 1:
        return [(0, 0, float(scores[0, 0]))]
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(scores, maximize=True)
    return list(zip(rows.tolist(), columns.tolist(), scores[rows, columns].tolist(), strict=True))


def _score(made: Call, expected: Call) -> float:
    if made.name != expected.name:
        return 0.0
    names = made.arguments.keys() | expected.arguments.keys()
    right = sum(_holds(made, name, expected) for name in names)
    return (1 + right) / (1 + len(names))


def _holds(made: Call, name: str, expected: Call) -> bool:
    both = name in made.arguments and name in expected.arguments
    return both and same(made.arguments[name], expected.arguments[name])


def _names(calls: Calls) -> Counter[str]:
    return Counter(call.name for call in calls)


def _same_in_order(answer: Calls, reference: Calls) -> bool:
    return len(answer) == len(reference) and all(
        _score(made, expected) == 1.0 for made, expected in zip(answer, reference, strict=True)
    )


def _arguments(answer: Calls, reference: Calls) -> dict[str, bool]:
    """Say of each argument whether each call of the reference that has it has it right."""
    made = {expected: answer[row] for row, expected, _ in _matched(answer, reference)}
    right: dict[str, bool] = {}
    for number, call in enumerate(reference):
        other = made.get(number)
        for name in call.arguments:
            part = f"{call.name}.{name}"
            holds = other and other.name == call.name and _holds(other, name, call)
            right[part] = right.get(part, True) and bool(holds)
    return right
