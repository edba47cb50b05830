"""Compare two models on the same rows, and decide whether the tuned one is promoted.

Everything is read off one interval of the difference: `better` if all of it is above zero, `worse`
if all of it is below, `not-enough-evidence` otherwise; a loss of more than a margin is ruled out if
the interval's lower end is above minus the margin. `p_value` agrees with the interval.

- Metrics with a score for each row have the score interval (`intervals.Sample`); right/wrong
  results of independent rows must also pass McNemar's mid-p test.
- Metrics of the whole file (BLEU, chrF, macro-F1) have the paired bootstrap, whose lower end allows
  for unseen failures, and must also pass the paired permutation test.

Rows of one group, or with the same content or prompt, are one unit of evidence.

Read on from the verdict to the formulas: `Gate.decide`, `compare_metrics`, `difference`, and then
`intervals` and `significance`, which name their sources.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tunepipe.arguments import check_margin
from tunepipe.evaluation import intervals, significance
from tunepipe.evaluation.intervals import Floats, Sample
from tunepipe.evaluation.metric import Bools, Clusters, Metric, mean, resampled
from tunepipe.evaluation.significance import ZERO, mcnemar, swap_test
from tunepipe.reporting.facts import (
    BETTER,
    CONFIDENCE,
    EXCLUDED,
    UNDECIDED,
    WORSE,
    WRONG,
    Comparison,
    Estimate,
)
from tunepipe.reporting.formatting import count, percent, plural, points, score

# The fewest held-out rows of a run by default; with fewer next to nothing can be shown.
MIN_ROWS = 10


@dataclass(frozen=True)
class Gate:
    """Everything that a tuned model has to pass to be promoted.

    Args:
        base: Tuned against the base model; it must be better.
        champion: Tuned against the model in service. Without a margin it must be better. With one
            a loss of more than the margin must be ruled out.
        first: Tuned against the first champion, unless that is in service, with the same margin,
            so that small losses do not add up over many promotions.
        guard: Tuned against base on prompts that must not get worse. No answer may be missing.
            With a margin a larger loss must be ruled out; without one no loss may be shown.
        slices: Names of declared slices in which a loss is shown.
        serving: `latency_p95_ms` and `cost_usd` of the tuned model's answers; a limit of 0 is none.
    """

    base: Comparison
    champion: Comparison | None = None
    first: Comparison | None = None
    guard: Comparison | None = None
    slices: Sequence[str] = ()
    serving: Mapping[str, float | None] = field(default_factory=dict)
    max_latency_ms: float = 0.0
    max_cost_per_answer: float = 0.0

    def decide(self) -> tuple[str, str]:
        """Return the verdict, and the reason in one sentence; only "better" promotes.

        All conditions must hold together. The chance to promote a model that is not better
        therefore stays that of one test (an intersection-union test; R. L. Berger, Technometrics
        24 (1982), 295-300).
        """
        rivals = [
            (rival, name, may_lose and rival.margin > 0)
            for rival, name, may_lose in (
                (self.base, "the base model", False),
                (self.champion, "the current champion", True),
                (self.first, "the first champion", True),
            )
            if rival
        ]
        # A shown loss is a reason of its own, whatever else holds.
        for rival, name, may_lose in rivals:
            if rival.verdict == WORSE and not (may_lose and rival.non_inferior):
                return WORSE, f"The tuned model is worse than {name}: {in_words(rival)}."
        if self.slices:
            return WORSE, f"The tuned model is worse in the slice {', '.join(self.slices)}."
        if self.guard and (failure := _guard_failure(self.guard)):
            return failure
        claims = []
        for rival, name, may_lose in rivals:
            claim = "better than"
            if may_lose and rival.verdict != BETTER:
                claim = f"at most {score(rival.margin)} points worse than"
            claim = f"{claim} {name}: {in_words(rival)}"
            if rival.verdict != BETTER and not (may_lose and rival.non_inferior):
                if rival.more_rows:
                    few, many = map(count, rival.more_rows)
                    claim += f"; {few} to {many} more held-out rows would show such a difference"
                reason = f"There is not enough evidence that the tuned model is {claim}."
                return UNDECIDED, reason
            claims.append(claim)
        for name, limit, label, unit in (
            ("latency_p95_ms", self.max_latency_ms, "95th percentile of latency", "ms"),
            ("cost_usd", self.max_cost_per_answer, "mean cost of an answer", "USD"),
        ):
            value, allowed = self.serving.get(name), f"{limit:g} {unit}"
            if limit and value is None:
                return UNDECIDED, f"The {label} is limited to {allowed}, but was not measured."
            if limit and value is not None and value > limit:
                above = f"{value:.4g} {unit}, above the limit of {allowed}"
                return UNDECIDED, f"The {label} is {above}."
        return BETTER, f"The tuned model is {'; and '.join(claims)}."


def _guard_failure(guard: Comparison) -> tuple[str, str] | None:
    """Return the verdict and the reason if the guard does not hold."""
    numbers = in_words(guard)
    if guard.high < -guard.margin:
        return WORSE, f"The tuned model is worse on the guard set: {numbers}."
    if missing := guard.missing_tuned + guard.missing_other:
        answers = f"{plural(missing, 'answer')} of the guard set {'is' if missing == 1 else 'are'}"
        return UNDECIDED, f"{answers} missing, so it does not hold: {numbers}."
    if guard.margin > 0 and not guard.non_inferior:
        loss = f"a loss of more than {score(guard.margin)} points"
        return UNDECIDED, f"On the guard set {loss} is not ruled out: {numbers}."
    return None


def in_words(comparison: Comparison) -> str:
    """Write a comparison's numbers as part of a sentence, in points of 100."""
    interval = f"{points(comparison.low)} to {points(comparison.high)}"
    text = (
        f"{comparison.metric} {points(comparison.difference)} points "
        f"({percent(comparison.confidence)} interval {interval}) on "
        f"{plural(comparison.rows, 'row')}"
    )
    if comparison.groups != comparison.rows:
        text += f" in {plural(comparison.groups, 'independent group')}"
    if comparison.trained_rows:
        left_out = plural(comparison.trained_rows, "row")
        text += f"; {left_out} left out, because that model was trained on them"
        text += "; too few rows are left to decide" if comparison.rows < MIN_ROWS else ""
    numbers = {"tuned": comparison.missing_tuned, "other": comparison.missing_other}
    missing = [f"{plural(n, 'answer')} of the {model} model" for model, n in numbers.items() if n]
    if missing:
        treated = "counted as wrong" if comparison.missing == WRONG else "whose rows are left out"
        text += f"; missing: {' and '.join(missing)}, {treated}"
    return text


def compare(
    tuned: Sequence[float | None],
    other: Sequence[float | None],
    *,
    metric: str,
    groups: Sequence[str] = (),
    missing: str = WRONG,
    margin: float = 0.0,
    confidence: float = CONFIDENCE,
) -> Comparison:
    """Compare two models by a score of 0..1 for each row, in the same order; None is no answer.

    Rows of one of the `groups` are one unit of evidence; "" names none. The margin changes
    `non_inferior`, and not the verdict.
    """
    check_margin(margin)
    pairs = list(zip(tuned, other, strict=True))
    scores = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    absent = np.isnan(scores)
    counted: Bools = np.array([missing != EXCLUDED or None not in pair for pair in pairs], bool)
    ours, theirs = np.nan_to_num(scores[counted]).T
    return compare_metrics(
        mean(metric, ours),
        mean(metric, theirs),
        Clusters.of(list(groups) or [""] * len(pairs)).on(counted),
        missing=missing,
        absent=(int(absent[:, 0].sum()), int(absent[:, 1].sum())),
        margin=margin,
        confidence=confidence,
    )


def compare_metrics(
    ours: Metric,
    theirs: Metric,
    units: Clusters,
    *,
    missing: str = WRONG,
    absent: tuple[int, int] = (0, 0),
    margin: float = 0.0,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Comparison:
    """Compare two models by any metric, measured on the same rows.

    Without rows, or if the other model answered nothing, there is not enough evidence. `missing` is
    what a missing answer counts as in these metrics, and `absent` how many each model lacks.
    """
    gains = np.nan_to_num(ours.scores) - np.nan_to_num(theirs.scores)
    wins, losses = int((gains > ZERO).sum()), int((gains < -ZERO).sum())
    rows = len(gains)
    estimate, p_value, deviation = Estimate(0.0, -1.0, 1.0), 1.0, 1.0
    if rows and not (missing == WRONG and absent[1] == rows):
        estimate, p_value, deviation = difference(
            ours, theirs, units, confidence=confidence, seed=seed, test=True
        )
    verdict = WORSE if estimate.high < 0 else BETTER if estimate.low > 0 else UNDECIDED
    spread = deviation, units.count
    more_units = significance.more_units(estimate.value, *spread, p_value, confidence)
    return Comparison(
        metric=ours.name,
        difference=estimate.value,
        low=estimate.low,
        high=estimate.high,
        p_value=p_value,
        wins=wins,
        losses=losses,
        ties=rows - wins - losses,
        verdict=verdict,
        rows=rows,
        groups=units.count,
        missing=missing,
        missing_tuned=absent[0],
        missing_other=absent[1],
        margin=margin,
        confidence=confidence,
        smallest_difference=significance.smallest_difference(*spread, confidence),
        more_rows=more_units if verdict == UNDECIDED else None,
    )


def difference(
    ours: Metric,
    theirs: Metric,
    units: Clusters,
    *,
    confidence: float = CONFIDENCE,
    seed: int = 0,
    sums: Sequence[Floats] = (),
    test: bool = False,
) -> tuple[Estimate, float, float]:
    """Estimate the difference of a metric, its p-value, and the standard deviation of a unit.

    `sums` are both models' in every resample, if the caller has them; `test` says whether a metric
    of the whole file is tested by permutation too.
    """
    left, right = units.sums(ours.statistics), units.sums(theirs.statistics)
    value, low, high, p_value, deviation = ours.value - theirs.value, -1.0, 1.0, 1.0, 1.0
    if ours.by_row:
        gains = left[:, 0] - right[:, 0]
        sample = Sample.of(gains, left[:, 1], -1.0, 1.0)
        value, deviation = sample.mean, sample.deviation
        low, high = sample.interval(confidence)
        p_value = sample.p_value()
        scores = np.concatenate([ours.statistics[:, 0], theirs.statistics[:, 0]])
        if units.single and np.isin(scores, (0.0, 1.0)).all():
            p_value = max(p_value, mcnemar(int((gains > 0).sum()), int((gains < 0).sum())))
    elif units.count > 1:
        sums = sums or resampled([ours, theirs], units, seed)
        our_values, their_values = ours.combine(sums[0]), theirs.combine(sums[1])
        # Either model may have failures that no row of the sample shows.
        gains = ours.with_unseen(sums[0], seed) - their_values
        losses = theirs.with_unseen(sums[1], seed) - our_values
        low = min(value, intervals.percentile_interval(gains, units.count, confidence)[0])
        high = max(value, -intervals.percentile_interval(losses, units.count, confidence)[0])
        if low == high:
            # Neither model earned anything, so no resample differs: take it as rows that are equal.
            equal = np.zeros(units.count), np.ones(units.count)
            low, high = Sample.of(*equal, -1.0, 1.0).interval(confidence)
        p_value, worse = 0.0, gains if value > 0 else losses
        if test:
            p_value = intervals.percentile_p_value(worse, units.count)
            p_value = max(p_value, swap_test(left, right, ours.combine, seed=seed))
        deviation = float(np.nanstd(our_values - their_values) * np.sqrt(units.count))
    value = 0.0 if abs(value) < ZERO else value
    if p_value > 1 - confidence:
        low, high = min(low, 0.0), max(high, 0.0)
    return Estimate(value, low, high), p_value, deviation
