"""The facts of a run, typed: what its steps found, as the evaluation makes and the pages read it.

The steps write JSON; `read_facts` decodes it once. Every field has a default, so that a report can
be made of whatever is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import force_setattr, replace

from tunepipe.decoding import whole

BETTER, WORSE, UNDECIDED, INCONSISTENT = "better", "worse", "not-enough-evidence", "inconsistent"
WRONG, EXCLUDED = "wrong", "excluded"
CONFIDENCE = 0.95
MODELS = ("tuned", "champion", "base")
# Each verdict of a run: its mark, readable without the colour, and its sentence.
VERDICTS = {
    BETTER: ("▲", "The tuned model is better."),
    WORSE: ("▼", "The tuned model is worse."),
    UNDECIDED: ("◆", "There is not enough evidence to say better or worse."),
}
# JSON's numbers without NaN and infinity, which no page can show.
Number = Annotated[float, Meta(ge=-1e18, le=1e18)]


class Estimate(Struct, frozen=True):
    """A value of 0..1, or a difference of two, with its 95 % interval."""

    value: Number
    low: Number
    high: Number


class Comparison(Struct, frozen=True, kw_only=True):
    """The tuned model against another model on the same rows, by the metric that decides.

    The difference, -1..1, is the tuned model's value less that of the other, and `wins` are the
    rows on which the tuned model scores higher.

    Args:
        p_value: Two-sided, of the two models being equal.
        groups: Independent units among the rows; as many unless rows belong together.
        missing: What a missing answer counts as: "wrong" or "excluded".
        non_inferior: Whether a loss above the margin is ruled out; it follows from `low`.
        confidence: Of the interval: 0.95 unless the held-out rows have decided before.
        smallest_difference: The smallest true difference that these rows show at 80 % power.
        more_rows: How many further rows would show a difference like this one: the middle half of
            the estimate; None if it is settled, or nothing points to a difference.
        trained_rows: Rows left out because the other model was trained on them.
        differences: The differences of all metrics, on the report.
    """

    metric: str = ""
    difference: Number = 0.0
    low: Number = -1.0
    high: Number = 1.0
    p_value: Number = 1.0
    wins: int = 0
    losses: int = 0
    ties: int = 0
    verdict: str = UNDECIDED
    rows: int = 0
    groups: int = 0
    missing: str = WRONG
    missing_tuned: int = 0
    missing_other: int = 0
    margin: Number = 0.0
    non_inferior: bool = False
    confidence: Number = CONFIDENCE
    smallest_difference: Number = 1.0
    more_rows: list[int] | None = None
    trained_rows: int = 0
    differences: dict[str, Estimate] | UnsetType = UNSET

    def __post_init__(self) -> None:
        force_setattr(self, "non_inferior", self.low > -self.margin)


class Slice(Struct, frozen=True, kw_only=True):
    """The rows that agree in one field, or that have one field of a JSON answer.

    `p_adjusted` is the comparison's p-value after Holm's correction over all slices, from which
    both verdicts follow. A loss in a slice that the user declared stops a promotion.
    """

    field: str = ""
    value: str = ""
    rows: int = 0
    groups: int = 0
    score: Estimate = Estimate(0.0, 0.0, 1.0)
    comparison: Comparison | None = None
    p_adjusted: Number = 1.0
    declared: bool = False
    verdict: str = UNDECIDED

    def __post_init__(self) -> None:
        if self.comparison and self.p_adjusted > 1 - CONFIDENCE:
            force_setattr(self, "comparison", replace(self.comparison, verdict=UNDECIDED))
        force_setattr(self, "verdict", self.comparison.verdict if self.comparison else UNDECIDED)

    @property
    def name(self) -> str:
        """How people call it: field=value."""
        return f"{self.field}={self.value}"


class ClassScore(Struct, frozen=True):
    """One class of a classification: how many rows, and precision, recall and F1, each 0..1."""

    label: str = ""
    support: Number = 0
    precision: Number | None = None
    recall: Number | None = None
    f1: Number = 0.0


class Confusion(Struct, frozen=True):
    """A square matrix: rows are the true labels, columns what the model said."""

    labels: list[str] = []
    matrix: list[list[Number]] = []


class WithinRows(Struct, frozen=True):
    """How much several answers to one row differ, by the deciding metric.

    Standard deviations, 0..1, are those of the answers to a row and of the rows' means;
    `rows_that_vary` is the share of rows whose answers score differently.
    """

    answers: Number
    deviation_within_rows: Number
    deviation_between_rows: Number
    rows_that_vary: Number


class Score(Struct, frozen=True, kw_only=True):
    """One model's scores on the held-out rows.

    `groups` counts the independent units among the rows, and `look` how often these rows have
    decided, this time included. `differences` are the tuned model's less the base model's, and
    `serving` is time, tokens and cost of an answer. `within_rows` says, with several answers to a
    row, how much they differ.
    """

    rows: int = 0
    groups: int = 0
    unanswered: int = 0
    task: str = ""
    task_reason: str = ""
    metric: str = ""
    look: int = 1
    metrics: dict[str, Estimate] = {}
    differences: dict[str, Estimate] = {}
    slices: list[Slice] = []
    classes: list[ClassScore] = []
    confusion: Confusion | None = None
    serving: dict[str, Number | None] = {}
    within_rows: WithinRows | None = None


class LengthBias(Struct, frozen=True):
    """How often the longer answer won, with its 95 % interval, of the rows that one won."""

    rows: int
    value: Number
    low: Number
    high: Number


class Agreement(Struct, frozen=True):
    """The share of rows on which judge and people prefer the same, and Cohen's kappa."""

    rows: int = 0
    value: Number = 0.0
    kappa: Number = 0.0


class JudgedRow(Struct, frozen=True):
    """A row's outcome: "win" (for the tuned model), "loss", "tie", or None if there is none."""

    id: str = ""
    outcome: str | None = None


class Judge(Struct, frozen=True):
    """What a model said as judge, or in `refused` why it did not.

    `judged` rows were asked and answered in both orders; `disagreements` are those of them whose
    two answers differ, which is a tie, and `consistency` is the share of the others. For `unjudged`
    rows a model or the judge did not answer. The verdict is the comparison's, or "inconsistent" if
    the order decided more than the answers. The cost was estimated before, of all questions, also
    those that an earlier run had asked.
    """

    model: str = ""
    prompt: str = ""
    refused: str = ""
    estimated_cost_usd: Number | None = None
    judged: int = 0
    disagreements: int = 0
    unjudged: int | None = None
    verdict: str = ""
    consistency: Number | None = None
    length_bias: LengthBias | None = None
    agreement: Agreement | None = None
    comparison: Comparison | None = None
    rows: list[JudgedRow] = []
    champion: Judge | None = None


class PlanFacts(Struct, frozen=True):
    """The JSON of the command plan."""

    region: str = ""
    model: str = ""
    accelerator_type: str = ""
    accelerators: Number | None = None
    batch_size: Number | None = None
    rows: Number | None = None
    train_steps: Number | None = None
    epochs: Number | None = None
    estimated_hours: Number | None = None
    estimated_cost_usd: Number | None = None
    price_date: str = ""
    tables_version: str = ""
    warnings: list[str] = []


class Statistics(Struct, frozen=True):
    """The measurements of the tuning step.

    `loss_curve` holds [step, training loss, evaluation loss or null]; `note` says in a sentence
    what the model is, such as "a tiny model trained from scratch". A custom job has the machines
    that it held, and the hours.
    """

    train_steps: Number | None = None
    parameters: Number | None = None
    seconds: Number | None = None
    loss_curve: list[list[Number | None]] = []
    note: str = ""
    base_revision: str = ""
    machine_type: str = ""
    accelerator: str = ""
    machines: Number | None = None
    provisioning: str = ""
    job_hours: Number | None = None


class Tuning(Struct, frozen=True):
    """The tuning step's result; `cost_usd` is null where the backend cannot say."""

    model: str = ""
    statistics: Statistics = Statistics()
    cost_usd: Number | None = None


class Distribution(Struct, frozen=True):
    """Lengths: [low edge, count] pairs, and what people ask of them."""

    histogram: list[tuple[Number, Number]] = []
    p50: Number | None = None
    p95: Number | None = None
    max: Number | None = None


class DatasetStatistics(Struct, frozen=True):
    """The statistics of a validation."""

    input_characters: Distribution | None = None
    output_characters: Distribution | None = None
    tokens_estimated: dict[str, Number] = {}
    languages: dict[str, Number] = {}
    labels: dict[str, Number] = {}
    duplicate_rows: Number | None = None
    conflicting_rows: Number | None = None


class SplitFacts(Struct, frozen=True):
    """The JSON of the command split."""

    train_rows: Number | None = None
    eval_rows: Number | None = None
    duplicate_rows_kept_together: Number | None = None
    groups: Number | None = None
    seed: Number | None = None
    leak: dict[str, Number] = {}


class ProblemFacts(Struct, frozen=True):
    """One problem of a dataset."""

    code: str = ""
    level: str = ""
    path: str = ""
    line: int | None = None
    field: str = ""
    message: str = ""
    fix: str = ""


class Dataset(Struct, frozen=True):
    """The JSON of the command validate."""

    path: str = ""
    format: str = ""
    model: str = ""
    bytes: Number | None = None
    rows: Number | None = None
    valid_rows: Number | None = None
    fingerprint: str = ""
    counts: dict[str, int] = {}
    problems: list[ProblemFacts] = []
    problems_total: int | None = None
    errors: int | None = None
    stats: DatasetStatistics = DatasetStatistics()

    @property
    def rejected(self) -> float | None:
        """Rows with an error; None if it is not known."""
        if self.rows is None or self.valid_rows is None:
            return None
        return max(0.0, self.rows - self.valid_rows)


class DataChanges(Struct, frozen=True):
    """How the data differ from the champion's: the run, counts of rows, and the drift."""

    since: str = ""
    same: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0
    drift: dict[str, Number | list[Number]] = {}


class MediaFacts(Struct, frozen=True):
    """A file of a row; `image` is a data: URI if it can be shown."""

    mime_type: str = ""
    uri: str = ""
    image: str = ""


class RowFacts(Struct, frozen=True):
    """One held-out row with every model's answer; an answer is null if there was none.

    `flip` is "fixed" if the deciding metric is higher than the base model's, "broken" if it is
    lower, and "" if it is the same.
    """

    id: str = ""
    input: str = ""
    reference: str = ""
    tuned: str | UnsetType | None = UNSET
    base: str | None = None
    champion: str | None = None
    flip: str = ""
    media: list[MediaFacts] = []


class Facts(Struct, frozen=True):
    """Everything the pages know.

    `scores` are the models' (tuned, base, champion), and `comparisons` the tuned model's against
    the others (base, champion, first, guard).
    """

    title: str = ""
    verdict: str = ""
    reason: str = ""
    run: dict[str, str] = {}
    dataset: Dataset = Dataset()
    split: SplitFacts = SplitFacts()
    plan: PlanFacts = PlanFacts()
    tuning: Tuning = Tuning()
    scores: dict[str, Score] = {}
    comparisons: dict[str, Comparison] = {}
    judge: Judge = Judge()
    data_changes: DataChanges = DataChanges()
    rows: list[RowFacts] = []

    @property
    def tuned(self) -> Score:
        """The tuned model's scores; empty ones without any."""
        return self.scores.get("tuned", Score())

    @property
    def models(self) -> dict[str, Score]:
        """The scores of each model, in the order of columns, of bars and of colours."""
        return {name: self.scores[name] for name in MODELS if name in self.scores}


def read_facts(facts: Mapping[str, Any] | Facts) -> Facts:
    """Decode the facts of a run; a value that does not fit its field is left out."""
    return facts if isinstance(facts, Facts) else fitting(facts, Facts)


def fitting(value: Any, kind: Any) -> Any:
    """Convert plain data, and leave out whatever does not fit its type; UNSET if all of it."""
    try:
        return msgspec.convert(whole(value), kind)
    except msgspec.ValidationError:
        pass
    if get_origin(kind) is UnionType:
        kind = get_args(kind)[0]
    if isinstance(value, Mapping) and isinstance(kind, type(Struct)):
        hints = get_type_hints(kind, include_extras=True)
        fields = {name: fitting(value[name], hints[name]) for name in hints if name in value}
        fields = {name: item for name, item in fields.items() if item is not UNSET}
        required = {field.name for field in msgspec.structs.fields(kind) if field.required}
        return kind(**fields) if required <= fields.keys() else UNSET
    if isinstance(value, Mapping) and get_origin(kind) is dict:
        items = ((name, fitting(item, get_args(kind)[1])) for name, item in value.items())
        return {name: item for name, item in items if item is not UNSET}
    if isinstance(value, list) and get_origin(kind) is list:
        return [each for item in value if (each := fitting(item, get_args(kind)[0])) is not UNSET]
    return UNSET
