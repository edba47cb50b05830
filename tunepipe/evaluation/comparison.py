"""Is the tuned model better? Two models on the same rows, three verdicts, and the gate's rule.

The verdict is read off one 95 % interval of the difference: `better` where all of it lies above
nought, `worse` where all of it lies below, `not-enough-evidence` otherwise. The interval is the
wider of two at each end:

- the paired bootstrap, which is right for many rows and too sure of itself for few;
- the interval of an exact test, which holds for any number of rows: McNemar's for right/wrong
  metrics, the sign-flip test for the others.

So a verdict never rests on the bootstrap alone, and `p_value` (of the exact test) agrees with it.

Rows without an answer have no score. To prevent a model from passing by answering only easy rows,
one that is shown (by McNemar's test) to answer fewer than the other is `better` only if it still
were with zero for each row that it alone left unanswered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tunepipe.arguments import check_margin
from tunepipe.evaluation.intervals import Floats, percentile_interval, resampled_sums
from tunepipe.evaluation.significance import ZERO, mcnemar, rows_needed, sign_flips

BETTER, WORSE, UNDECIDED = "better", "worse", "not-enough-evidence"
_BASE, _CHAMPION = "the base model", "the current champion"
_CONTRACT = "metric", "difference", "low", "high", "p_value", "wins", "losses", "ties", "verdict"
_DETAILS = "rows", "unanswered", "margin", "non_inferior", "more_rows"


@dataclass(frozen=True)
class Comparison:
    """Tuned against another model on the rows that both answered.

    Args:
        metric: The metric that decides.
        difference: Mean score of the tuned model less that of the other, -1..1.
        low: Lower end of the difference's 95 % interval.
        high: Upper end.
        p_value: Of the exact test that the two are equal, two-sided.
        wins: Rows on which the tuned model scores higher.
        losses: Rows on which it scores lower.
        ties: Rows on which both score the same.
        verdict: "better", "worse" or "not-enough-evidence".
        rows: Rows compared: wins + losses + ties.
        unanswered: Rows left out because one of the two gave no answer.
        margin: The largest acceptable loss, 0..1.
        more_rows: How many further held-out rows would settle it, were the difference as it
            looks; 0 where it is settled, None where no number is known to.
        least: The interval's lower end with nought for each row that the tuned model alone left
            unanswered, where it is shown to answer fewer rows than the other; else None.
    """

    metric: str
    difference: float
    low: float
    high: float
    p_value: float
    wins: int
    losses: int
    ties: int
    verdict: str
    rows: int
    unanswered: int
    margin: float
    more_rows: int | None
    least: float | None = None

    @property
    def non_inferior(self) -> bool:
        """Whether a loss of more than the margin is ruled out."""
        return (self.low if self.least is None else self.least) > -self.margin

    def as_json(self) -> dict[str, Any]:
        """Give the `comparison` of `score --json`."""
        return {name: getattr(self, name) for name in _CONTRACT}

    def details(self) -> dict[str, Any]:
        """Give everything: `as_json` and what the report adds to it."""
        return self.as_json() | {name: getattr(self, name) for name in _DETAILS}


def compare(
    tuned: Sequence[float | None],
    base: Sequence[float | None],
    *,
    metric: str,
    seed: int = 0,
    margin: float = 0.0,
    bootstrap: tuple[float, float] | None = None,
) -> Comparison:
    """Compare two models row by row.

    Args:
        tuned: The tuned model's score on each row, 0..1; None where it gave no answer.
        base: The other model's, on the same rows in the same order.
        metric: The metric's name.
        seed: Seeds the resampling.
        margin: The largest acceptable loss, 0..1; it changes `non_inferior`, not the
            verdict.
        bootstrap: The paired bootstrap's interval of the difference, where the caller has it.

    Returns:
        The comparison. Without a single row that both answered, it says not-enough-evidence.

    Raises:
        UsageError: The margin does not lie in 0..1.
    """
    check_margin(margin)
    pairs = [
        (ours, theirs)
        for ours, theirs in zip(tuned, base, strict=True)
        if ours is not None and theirs is not None
    ]
    scores = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    differences = scores[:, 0] - scores[:, 1]
    differences[np.abs(differences) < ZERO] = 0.0
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    binary = bool(np.isin(scores, (0.0, 1.0)).all())
    p_value, low, high = _exact_test(differences, binary=binary, seed=seed)
    bootstrap_low, bootstrap_high = bootstrap or _bootstrap(differences, seed=seed)
    low, high = min(low, bootstrap_low), max(high, bootstrap_high)
    least = _least(tuned, base, metric, seed) if _answers_fewer(tuned, base) else None
    verdict = WORSE if high < 0 else BETTER if (low if least is None else least) > 0 else UNDECIDED
    return Comparison(
        metric=metric,
        difference=float(differences.mean()) if len(differences) else 0.0,
        low=low,
        high=high,
        p_value=p_value,
        wins=wins,
        losses=losses,
        ties=len(differences) - wins - losses,
        verdict=verdict,
        rows=len(differences),
        unanswered=len(tuned) - len(differences),
        margin=margin,
        more_rows=0 if verdict != UNDECIDED else None if low > 0 else _more_rows(differences),
        least=least,
    )


def _answers_fewer(tuned: Sequence[float | None], base: Sequence[float | None]) -> bool:
    pairs = zip(tuned, base, strict=True)
    answered = [(ours is not None) - (theirs is not None) for ours, theirs in pairs]
    return bool(answered) and mcnemar(np.array(answered, dtype=np.float64))[2] < 0


def _least(
    tuned: Sequence[float | None], base: Sequence[float | None], metric: str, seed: int
) -> float:
    pairs = zip(tuned, base, strict=True)
    counted = [0.0 if ours is None and theirs is not None else ours for ours, theirs in pairs]
    return compare(counted, base, metric=metric, seed=seed).low


def _exact_test(differences: Floats, *, binary: bool, seed: int) -> tuple[float, float, float]:
    """The p-value and the interval of the test that suits the scores."""
    if not len(differences):
        return 1.0, -1.0, 1.0
    return mcnemar(differences) if binary else sign_flips(differences, seed=seed)


def _bootstrap(differences: Floats, *, seed: int) -> tuple[float, float]:
    if len(differences) < 2:
        return -1.0, 1.0
    means = resampled_sums(differences[:, None], seed=seed)[:, 0] / len(differences)
    return percentile_interval(means, len(differences))


def _more_rows(differences: Floats) -> int | None:
    if not len(differences):
        return None
    needed = rows_needed(differences)
    return None if needed is None else max(1, needed - len(differences))


def decide(
    against_base: Comparison,
    against_champion: Comparison | None = None,
    guard: Comparison | None = None,
) -> tuple[str, str]:
    """The gate's rule: promote only what is shown to be better than everything it is held against.

    All conditions must hold together, so the chance to promote a model that is no better stays
    that of one test (an intersection-union test; R. L. Berger, Technometrics 24 (1982), 295-300).

    Args:
        against_base: Tuned against the base model; it must be better.
        against_champion: Tuned against the model in use now; None where there is none. Without a
            margin it must be better. With one it must not be shown to be worse, and a loss of more
            than the margin must be ruled out; mind that many such steps may add up to a loss.
        guard: Tuned against base on frozen prompts that must not get worse; None where there is
            none. With a margin a larger loss must be ruled out; without one, only a shown loss
            counts.

    Returns:
        "better" (promote), "worse" or "not-enough-evidence", and the reason in one sentence.
    """
    others = [(against_base, _BASE)]
    if against_champion is not None:
        others.append((against_champion, _CHAMPION))
    for comparison, other in others:
        if comparison.verdict == WORSE:
            return WORSE, f"The tuned model is worse than {other}: {_numbers(comparison)}."
    if guard is not None and not _guard_held(guard):
        return _guard_failed(guard)
    for comparison, other in others:
        if not _passes(comparison, other):
            return UNDECIDED, _unproven(comparison, other)
    reasons = [
        f"{_claim(comparison)} {other}: {_numbers(comparison)}" for comparison, other in others
    ]
    return BETTER, f"The tuned model is {'; and '.join(reasons)}."


def _passes(comparison: Comparison, other: str) -> bool:
    borne = other == _CHAMPION and comparison.margin > 0 and comparison.non_inferior
    return comparison.verdict == BETTER or borne


def _claim(comparison: Comparison) -> str:
    if comparison.verdict == BETTER:
        return "better than"
    return f"at most {comparison.margin:.3f} worse than"


def _unproven(comparison: Comparison, other: str) -> str:
    allowed = other == _CHAMPION and comparison.margin > 0
    claim = f"at most {comparison.margin:.3f} worse than" if allowed else "better than"
    return (
        f"There is not enough evidence that the tuned model is {claim} {other}: "
        f"{_numbers(comparison)}{_outlook(comparison)}."
    )


def _guard_held(guard: Comparison) -> bool:
    return guard.non_inferior if guard.margin > 0 else guard.verdict != WORSE


def _guard_failed(guard: Comparison) -> tuple[str, str]:
    if guard.high < -guard.margin:
        return WORSE, f"The tuned model is worse on the guard set: {_numbers(guard)}."
    return UNDECIDED, (
        f"On the guard set a loss of more than {guard.margin:.3f} is not ruled out: "
        f"{_numbers(guard)}."
    )


def _numbers(comparison: Comparison) -> str:
    left_out = f", {comparison.unanswered} left out as unanswered" if comparison.unanswered else ""
    if comparison.least is not None:
        left_out += (
            "; with nought for those that the tuned model alone left, the interval begins at "
            f"{comparison.least:+.3f}"
        )
    return (
        f"{comparison.metric} differs by {comparison.difference:+.3f} "
        f"(95 % interval {comparison.low:+.3f} to {comparison.high:+.3f}) "
        f"on {comparison.rows:,} rows{left_out}"
    )


def _outlook(comparison: Comparison) -> str:
    if comparison.more_rows is None:
        return ""
    return f"; about {comparison.more_rows:,} more held-out rows would settle it"
