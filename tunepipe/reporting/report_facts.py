"""The one mapping from which the report, the summary and the model card are written.

It is plain JSON, put together from what the steps of a run give. Only `title`, `verdict` and
`reason` are asked for; a part that is missing or null is left out of the page.
"""

from __future__ import annotations

from typing import Any, TypedDict


class Run(TypedDict, total=False):
    """Which run this is; every value is a text for people."""

    id: str
    created: str
    backend: str
    base_model: str
    region: str


class Statistics(TypedDict, total=False):
    """What the tuning step measured.

    `loss_curve` holds [step, training loss, evaluation loss or null]; `note` says in a sentence
    what the model is, such as "a tiny model trained from nothing".
    """

    train_steps: int
    parameters: int
    seconds: float
    loss_curve: list[list[float | None]]
    note: str


class Tuning(TypedDict, total=False):
    """The tuning step's result; `cost_usd` is null where the backend cannot say."""

    model: str
    statistics: Statistics
    cost_usd: float | None


class Row(TypedDict, total=False):
    """One held-out row with every model's answer; an answer is null where there was none.

    `flip` is "fixed" where the base model was wrong and the tuned one is right, "broken" the
    other way round, and "" otherwise.
    """

    id: str
    input: str
    reference: str
    tuned: str | None
    base: str | None
    champion: str | None
    flip: str


class Scores(TypedDict, total=False):
    """Each model's `Evaluation.details()` (`score --json` at least), on the same rows."""

    tuned: dict[str, Any]
    base: dict[str, Any] | None
    champion: dict[str, Any] | None


class Comparisons(TypedDict, total=False):
    """The tuned model against the others: each the `comparison` of `Evaluation.details()`.

    It may carry that evaluation's `differences` too, under this name: the chart then shows every
    metric's difference, not the deciding one's alone. Those against the base model are also found
    under `scores.tuned.differences`.
    """

    base: dict[str, Any] | None
    champion: dict[str, Any] | None


class _Verdict(TypedDict):
    title: str
    verdict: str
    reason: str


class Facts(_Verdict, total=False):
    """Everything the pages know.

    `verdict` is better, worse or not-enough-evidence, and `reason` one sentence for people.
    `dataset`, `split` and `plan` are the JSON of the verbs validate, split and plan. `judge` is
    what a model said as judge (`Judgement.as_json()`), or {"model", "refused"} where it gave
    none. `data_changes` is how the data differ from those that the champion was tuned on:
    `since`, the counts of `dataset_diff.Difference`, `drift`; {} without a champion.
    """

    run: Run
    dataset: dict[str, Any]
    split: dict[str, Any]
    plan: dict[str, Any]
    tuning: Tuning
    scores: Scores
    comparisons: Comparisons
    judge: dict[str, Any]
    data_changes: dict[str, Any]
    rows: list[Row]
