"""Whole comparisons: every number, and the sentence that people read.

python -m tests.evaluation.test_whole_comparisons    # writes comparisons.json anew; read its diff
"""

import json
from pathlib import Path

import numpy as np
import pytest
from msgspec import to_builtins
from msgspec.structs import replace

from tunepipe.evaluation.classification_metrics import measure
from tunepipe.evaluation.comparison import Gate, compare, compare_metrics, in_words
from tunepipe.evaluation.metric import Clusters
from tunepipe.evaluation.significance import confidence_of_look
from tunepipe.reporting.facts import EXCLUDED

GOLDEN = Path(__file__).with_name("comparisons.json")


def scores(rows: int, gain: float, seed: int = 1) -> tuple[list[float], list[float]]:
    rng = np.random.default_rng(seed)
    base = rng.beta(2, 2, rows)
    return np.clip(base + rng.normal(gain, 0.2, rows), 0, 1).tolist(), base.tolist()


def right(wins: int, losses: int, both: int, neither: int) -> tuple[list[float], list[float]]:
    tuned = [1.0] * wins + [0.0] * losses + [1.0] * both + [0.0] * neither
    return tuned, [0.0] * wins + [1.0] * losses + [1.0] * both + [0.0] * neither


def labels(rows: int, seed: int = 3):
    rng = np.random.default_rng(seed)
    wanted = rng.choice(list("aaaabbc"), rows)
    models = [np.where(rng.random(rows) < p, wanted, rng.choice(list("abc"), rows))
              for p in (0.85, 0.7)]  # fmt: skip
    return [measure(list(model), list(wanted))[1] for model in models]


UNANSWERED = [None, *right(9, 3, 20, 8)[0][1:]], [None, None, *right(9, 3, 20, 8)[1][2:]]
GROUPS = [f"g{n // 3}" if n < 60 else "" for n in range(80)]
CASES = {
    "right and wrong": lambda: compare(*right(30, 12, 50, 8), metric="exact_match"),
    "right and wrong, few rows": lambda: compare(*right(7, 2, 1, 0), metric="exact_match"),
    "right and wrong, near": lambda: compare(*right(16, 9, 60, 15), metric="m", margin=0.05),
    "fifth look": lambda: compare(
        *right(30, 12, 50, 8), metric="m", confidence=confidence_of_look(5)
    ),
    "scores, two rows": lambda: compare([0.9, 0.6], [0.2, 0.3], metric="m"),
    "scores, few rows": lambda: compare(*scores(12, 0.15), metric="m", margin=0.02),
    "scores, a loss": lambda: compare(*scores(60, -0.1), metric="m", margin=0.02),
    "scores, the most rows of the exact test": lambda: compare(*scores(500, 0.02), metric="m"),
    "scores, one row more": lambda: compare(*scores(501, 0.02), metric="m"),
    "scores, a rare failure": lambda: compare([0.55] * 40 + [0.0], [0.5] * 40 + [1.0], metric="m"),
    "all rows equal": lambda: compare([0.5] * 40, [0.4] * 40, metric="m"),
    "groups": lambda: compare(*scores(80, 0.06), metric="m", groups=GROUPS),
    "missing, wrong": lambda: compare(*UNANSWERED, metric="m"),
    "missing, left out": lambda: compare(*UNANSWERED, metric="m", missing=EXCLUDED),
    "nothing answered": lambda: compare([1.0] * 20, [None] * 20, metric="m"),
    "macro-F1": lambda: compare_metrics(*labels(90), Clusters.of([""] * 90), seed=4),
    "macro-F1, groups": lambda: compare_metrics(*labels(80), Clusters.of(GROUPS), margin=0.1),
}


def described(case: str) -> dict[str, object]:
    found = CASES[case]()
    trained = replace(found, trained_rows=3)
    sentences = [Gate(found).decide()[1], in_words(trained)]
    return {**dict(to_builtins(found)), "sentences": sentences}


@pytest.mark.parametrize("case", CASES)
def test_a_comparison_says_this_and_nothing_else(case: str) -> None:
    expected = json.loads(GOLDEN.read_text(encoding="utf-8"))[case]
    found = json.loads(json.dumps(described(case)))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        is_number = isinstance(value, float)
        assert found[name] == (pytest.approx(value, rel=1e-4, abs=2e-6) if is_number else value)


if __name__ == "__main__":
    everything = {case: described(case) for case in CASES}
    text = json.dumps(everything, indent=1, ensure_ascii=False)
    GOLDEN.write_text(text + "\n", encoding="utf-8")
