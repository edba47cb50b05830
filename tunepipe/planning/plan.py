"""Steps, time and money of a tuning, worked out before anything is spent.

A step trains on one batch, and a last, smaller batch is a step too:

    steps an epoch = ceil(rows / batch size)
    training steps = ceil(epochs x steps an epoch)

The batch size belongs to the model and, for PaLM, to the hardware of the region. So the same 240
rows are 30 steps an epoch in us-central1 and 10 in europe-west4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from fractions import Fraction
from statistics import NormalDist
from typing import Any

from tunepipe.arguments import check_whole
from tunepipe.catalog.accelerators import machine_of
from tunepipe.catalog.ageing import age_warnings, tables_version
from tunepipe.catalog.catalog import Catalog, load_catalog
from tunepipe.catalog.models import batch_size, lifecycle_warnings, tokens_per_character, tuned_in
from tunepipe.catalog.schema import Model
from tunepipe.errors import DataError, LimitError, UsageError, dollars, plural
from tunepipe.planning.costs import CostEstimate, Work, calibrated, estimate, with_selection

ROWS_MIN = 10
ROWS_RECOMMENDED = 100
LEARNING_RATE_MULTIPLIER = 1.0
# No tuning goes through its rows more often; no dataset holds more of anything.
EPOCHS_MAX = 10_000
COUNT_MAX = 10**15
_COUNTS = ("rows", "train_steps", "tokens", "tokens_estimated")

# The share of rows on which two models are taken to differ, the one-sided error of a verdict, and
# a smallest difference that is worth a warning.
_DIFFERING, _ERROR, _MUCH = 0.2, 0.92 * 0.025, 0.1


@dataclass(frozen=True)
class HeldOut:
    """The held-out rows with different prompts, and how the models are asked and compared.

    `repeats` are the rows that repeat another's prompt: they prove little, but are asked too. The
    models that answer are the tuned one, its base, and a champion or two.
    `tokens_read` and `tokens_written` are those of a row's prompt and of an answer, about;
    `guard_tokens` those of all guarded rows, which the tuned model and its base are asked.
    """

    rows: int
    metric: str = ""
    metric_reason: str = ""
    answers: int = 1
    tokens_read: float = 0.0
    tokens_written: float = 0.0
    repeats: int = 0
    models: int = 2
    guard_tokens: tuple[int, int] = (0, 0)

    @property
    def asked(self) -> int:
        """The questions to each model."""
        return (self.rows + self.repeats) * self.answers

    def cost_usd(self, model: str, catalog: Catalog) -> float | None:
        """Estimate what the models' answers cost, all but the base tuned; None without a price."""
        price = catalog.prices.answers.get(model)
        if price is None or not self.tokens_read:
            return None

        def usd(models: int, questions: int, read: float, written: float) -> float:
            tokens = read * price.usd_per_million_read + written * price.usd_per_million_written
            return (1.0 + (models - 1) * price.tuned_factor) * questions * tokens / 1e6

        guarded = usd(2, self.answers, *self.guard_tokens)
        return guarded + usd(self.models, self.asked, self.tokens_read, self.tokens_written)


@dataclass(frozen=True)
class Plan:
    """The plan of a tuning: steps, hardware, time and cost.

    Args:
        region: Where it runs; "local" locally.
        model: The base model's name.
        backend: The backend that tunes it.
        accelerator_type: The hardware, "" if the service does not say.
        accelerators: How many of it, 0 if the service does not say.
        batch_size: Examples a step.
        rows: Training rows.
        steps_per_epoch: Steps that go through all rows once.
        train_steps: Steps in all.
        epochs: How often the rows are gone through; a fraction if the steps cut one short.
        quota: The quota that the project must hold, "" if there is none.
        estimated_hours: How long it runs, None if nothing is known.
        estimated_cost_usd: What it costs, None if no price is known.
        price_date: The day the price was read, "" if there is none.
        tables_version: The date and the hash of the tables that everything is from.
        warnings: What a user should know before going on.
        explanation: The arithmetic, a line each.
        eval_rows: Held-out rows with different prompts; 0 before the split.
        smallest_difference: The smallest difference of a right/wrong metric that they show four
            times in five, 0..1; None before the split.
        metric: The metric that decides; "" if it is not known.
        metric_reason: Why it was taken.
        answers: Answers that each model gives to a held-out row.
        evaluation_cost_usd: What the models' answers to the held-out rows cost, which the estimated
            cost does not hold; None if no price is known.
    """

    region: str
    model: str
    backend: str
    accelerator_type: str
    accelerators: int
    batch_size: int
    rows: int
    steps_per_epoch: int
    train_steps: int
    epochs: float
    quota: str
    estimated_hours: float | None
    estimated_cost_usd: float | None
    price_date: str
    tables_version: str
    warnings: tuple[str, ...]
    explanation: tuple[str, ...] = ()
    eval_rows: int = 0
    smallest_difference: float | None = None
    metric: str = ""
    metric_reason: str = ""
    answers: int = 1
    evaluation_cost_usd: float | None = None

    def with_held_out(
        self, held_out: HeldOut, catalog: Catalog | None = None, max_cost_usd: float = 0
    ) -> Plan:
        """Add what the held-out rows can show, by which metric, and what their answers cost."""
        rows = held_out.rows
        if rows < 1:
            return self
        size = smallest_difference(rows)
        warnings = list(self.warnings)
        cost = held_out.cost_usd(self.model, catalog or load_catalog())
        asked = (
            f"{plural(rows + held_out.repeats, 'held-out row')} x "
            f"{plural(held_out.answers, 'answer')} x {held_out.models} models = "
            f"{held_out.asked * held_out.models:,} answers"
            + (", and the guarded rows" if any(held_out.guard_tokens) else "")
        )
        if cost is not None:
            tuning = self.estimated_cost_usd or 0.0
            if max_cost_usd and tuning + cost > max_cost_usd:
                raise LimitError(
                    f"estimated at {dollars(tuning)} for the tuning and {dollars(cost)} for "
                    f"answers ({asked}), above the ceiling of {dollars(max_cost_usd)}",
                    where="max_cost_usd",
                    fix="fewer answers, fewer held-out rows, or a higher ceiling",
                )
            asked += f", about {dollars(cost)}"
        elif max_cost_usd and self.backend != "local":
            why = f"no price of answers is known for {self.model}"
            if self.backend == "custom":
                why = "each model answers in a job of its own on such a machine"
            warnings.append(f"the ceiling does not count the answers to held-out rows: {why}")
        line = (
            f"{plural(rows, 'held-out row')} {'shows' if rows == 1 else 'show'} a difference of "
            f"{100 * size:.1f} points or more (80 % power, if the models differ on "
            f"{100 * _DIFFERING:g} % of them)"
        )
        if size > _MUCH:
            warnings.append(f"{line}: smaller gains end as not-enough-evidence")
        return replace(
            self,
            warnings=tuple(warnings),
            explanation=(*self.explanation, asked, line),
            eval_rows=rows,
            smallest_difference=size,
            metric=held_out.metric,
            metric_reason=held_out.metric_reason,
            answers=held_out.answers,
            evaluation_cost_usd=cost,
        )

    def as_json(self) -> dict[str, Any]:
        """Return the object that `tunepipe plan --json` prints: all but the explanation."""
        values = asdict(self) | {"warnings": list(self.warnings)}
        del values["explanation"]
        return values


def smallest_difference(rows: int, differing: float = _DIFFERING) -> float:
    """The smallest difference that held-out rows show with 80 % power, by a right/wrong metric.

    The same number as `evaluation.significance.smallest_difference`, with Student's t by its
    expansion, so that a plan needs no scipy. The two models differ on a share of the rows
    (`differing`).
    """
    if rows < 3:
        return 1.0
    normal, freedom = NormalDist(), rows - 1
    z = normal.inv_cdf(1 - _ERROR)
    reach = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    scatter = math.sqrt(differing / rows)
    decisive = math.hypot(reach * scatter, reach**2 / rows)
    return min(1.0, decisive + normal.inv_cdf(0.8) * scatter)


def steps_per_epoch(rows: int, batch: int) -> int:
    """Count the batches that go through all rows once; the last may be smaller."""
    return -(-rows // batch)


def plan(
    rows: int,
    *,
    region: str,
    model: str = "",
    backend: str = "",
    epochs: float = 0,
    train_steps: int = 0,
    max_cost_usd: float = 0,
    tokens: int = 0,
    tokens_estimated: int = 0,
    hours: float = 0,
    learning_rate_multiplier: float = LEARNING_RATE_MULTIPLIER,
    options: Mapping[str, Any] | None = None,
    today: date | None = None,
    catalog: Catalog | None = None,
) -> Plan:
    """Work out steps, time, money and quota, and refuse what cannot be or goes over the ceiling.

    The arguments are those of `tunepipe.plan`, whose default is 0 or "". `tokens`, if they were
    counted, win over `tokens_estimated` by characters, which a calibration in the tables corrects.
    Of the backend's options, location, tuning_mode, batch_size, select_checkpoint and the machines
    of the backend custom count here. Retirement dates are compared with `today`, by default the day
    on which the table of models was read, so that the same call always gives the same answer.
    """
    amounts = {"rows": rows, "epochs": epochs, "train_steps": train_steps, "hours": hours}
    amounts |= {"max_cost_usd": max_cost_usd, "tokens": tokens}
    _check_amounts({**amounts, "tokens_estimated": tokens_estimated}, learning_rate_multiplier)
    catalog = catalog or load_catalog()
    options = options or {}
    base = catalog.find_model(model, backend)
    region = _tuning_region(base, region, options)

    # First, the tokens: what packs rows into sequences makes its steps of them.
    ratio = tokens_per_character(base, str(options.get("tuning_mode", "")))
    counted, calibration = tokens, ""
    if not tokens:
        counted, calibration = calibrated(tokens_estimated, catalog, per_ascii_character=ratio)

    # Then steps and money.
    batch, per_epoch, batching = _batches(base, region, rows, counted, options)
    total, times, how = _steps(base, per_epoch, epochs, train_steps)
    hardware, count, quota = _hardware(base, region, options, catalog)
    work = Work(base, region, total, counted, times, options, hours, catalog)
    cost = estimate(work)
    if options.get("select_checkpoint"):
        cost = with_selection(cost, work, rows)
    _check_ceiling(cost, max_cost_usd)
    today = today or catalog.as_of
    return Plan(
        region=region,
        model=base.name,
        backend=base.backend,
        accelerator_type=hardware,
        accelerators=count,
        batch_size=batch,
        rows=rows,
        steps_per_epoch=per_epoch,
        train_steps=total,
        epochs=times,
        quota=quota,
        estimated_hours=cost.hours,
        estimated_cost_usd=cost.cost_usd,
        price_date=cost.price_date,
        tables_version=tables_version(catalog),
        warnings=(
            *lifecycle_warnings(base, today),
            *age_warnings(catalog, base, today, hardware),
            *_step_warnings(base, train_steps, epochs, total, times, is_counted=bool(counted)),
            *_warnings(base, region, rows, learning_rate_multiplier, cost, options),
        ),
        explanation=(
            batching,
            *how,
            f"learning-rate multiplier {learning_rate_multiplier:g}",
            *filter(None, (calibration, *cost.lines)),
        ),
    )


def _check_amounts(amounts: Mapping[str, float], multiplier: float) -> None:
    for name, value in amounts.items():
        most = EPOCHS_MAX if name == "epochs" else COUNT_MAX
        if name in _COUNTS:
            check_whole(value, name, most)
        elif not 0 <= value <= most:
            raise UsageError(f"{value:g} is out of range", where=name, fix=f"0 to {most:,}")
    if amounts["epochs"] and amounts["train_steps"]:
        raise UsageError(
            "both are set, and each of them says how long to train",
            where="epochs, train_steps",
            fix="give one of them",
        )
    if not 0 < multiplier < math.inf:
        raise UsageError(
            f"{multiplier} is out of range",
            where="learning_rate_multiplier",
            fix=f"above 0; {LEARNING_RATE_MULTIPLIER} is recommended",
        )
    if (count := int(amounts["rows"])) < ROWS_MIN:
        raise DataError(
            f"{plural(count, 'row')} {'is' if count == 1 else 'are'} too few to tune on",
            where="rows",
            fix=f"at least {ROWS_MIN}; {ROWS_RECOMMENDED} or more are recommended",
        )


def _tuning_region(model: Model, region: str, options: Mapping[str, Any]) -> str:
    """Return where a model is tuned; refuse one that cannot be, or that needs a region."""
    if not model.tunable:
        instead = f"{model.successor}, or " if model.successor else ""
        raise LimitError(
            f"{model.name} cannot be tuned",
            where="model",
            fix=f"{instead}tunable = true in a row of --tables if that has changed",
        )
    place = tuned_in(model, region, options)
    if not place and model.backend != "local":
        raise UsageError(
            f"{model.name} is tuned in a region",
            where="region",
            fix=f"one of {', '.join(model.regions)}" if model.regions else "such as us-central1",
        )
    return place or "local"


def _batches(
    model: Model, region: str, rows: int, tokens: int, options: Mapping[str, Any]
) -> tuple[int, int, str]:
    """Return the rows a step, the steps an epoch, and the arithmetic in a line.

    A batch holds rows, or sequences that rows are packed into.
    """
    size = batch_size(model, region)
    if model.backend in ("custom", "open-model"):
        size = int(options.get("batch_size") or 0) or size
    if not model.sequence_tokens:
        per_epoch = steps_per_epoch(rows, size)
        last = rows - (per_epoch - 1) * size
        smaller = f", the last of {last}" if last < size else ""
        line = f"{rows:,} rows in batches of {size} = {plural(per_epoch, 'step')} an epoch{smaller}"
        return size, per_epoch, line
    if not tokens:
        # As if each row filled a sequence.
        per_epoch = steps_per_epoch(rows, size)
        line = f"{rows:,} rows, at most one sequence each, in batches of {size}"
        return size, per_epoch, f"{line} = at most {plural(per_epoch, 'step')} an epoch"
    packed = min(rows, -(-tokens // (size * model.sequence_tokens)))
    line = (
        f"{tokens:,} tokens packed into steps of {size} x {model.sequence_tokens:,} tokens"
        f" = {plural(packed, 'step')} an epoch"
    )
    # The tuning step turns steps back into epochs by this number, so the steps must be its own:
    # a part of a step an epoch too many would be paid as whole epochs.
    sizes = (-(-rows // packed), rows // packed)
    nearest = min(sizes, key=lambda each: abs(steps_per_epoch(rows, each) - packed))
    per_epoch = steps_per_epoch(rows, nearest)
    if per_epoch != packed:
        line += f", counted as {per_epoch:,} of {plural(nearest, 'row')}"
    return nearest, per_epoch, line


def _steps(
    model: Model, per_epoch: int, epochs: float, train_steps: int
) -> tuple[int, float, list[str]]:
    """Return the steps, the epochs, and the lines that show where they come from."""
    why = ""
    if not epochs and not train_steps:
        train_steps, epochs = model.default_steps, model.default_epochs
        why = f" (the default of {model.name})"
    if train_steps:
        total, times = train_steps, round(train_steps / per_epoch, 4)
        line = f"{plural(total, 'step')} / {per_epoch:,} = {plural(times, 'epoch')}{why}"
    else:
        # By the decimal text: 0.1 of 30 steps is 3, and not the 4 that binary floats make.
        total, times = math.ceil(Fraction(str(epochs)) * per_epoch), float(epochs)
        line = f"{plural(times, 'epoch')} x {per_epoch:,} = {plural(total, 'step')}{why}"
    # From the steps: rounded to four places, few of many steps would be zero epochs.
    whole = -(-total // per_epoch)
    if not model.whole_epochs or times == whole:
        return total, times, [line]
    total = whole * per_epoch
    return total, float(whole), [line, f"in whole epochs: {whole}, {plural(total, 'step')}"]


def _hardware(
    model: Model, region: str, options: Mapping[str, Any], catalog: Catalog
) -> tuple[str, int, str]:
    """Return the accelerator, their number and the quota; "" and 0 where the service hides them."""
    if model.backend == "custom":
        machine = machine_of(options, catalog)
        quota, count = machine.quota(options)
        return machine.accelerator, count, f"{quota}: {count}"
    if hardware := catalog.hardware_of(model, region):
        quota = f"{hardware.quota}: multiples of {hardware.quota_multiple}"
        return hardware.accelerator_type, hardware.accelerators, quota
    jobs = model.concurrent_jobs
    return "", 0, f"{model.quota}: {jobs} by default" if jobs else ""


def _check_ceiling(cost: CostEstimate, max_cost_usd: float) -> None:
    if not max_cost_usd:
        return
    if cost.cost_usd is None:
        raise LimitError(
            f"a ceiling of {dollars(max_cost_usd)} is set, but {cost.missing}",
            where="max_cost_usd",
            fix="give what is missing, a price in --tables say, or set no ceiling",
        )
    if cost.cost_usd > max_cost_usd:
        raise LimitError(
            f"estimated at {dollars(cost.cost_usd)}, above the ceiling of {dollars(max_cost_usd)}",
            where="max_cost_usd",
            fix="fewer steps or rows, another model, or a higher ceiling",
        )


def _step_warnings(
    model: Model, train_steps: int, epochs: float, total: int, times: float, *, is_counted: bool
) -> Iterator[str]:
    """Warn of more or fewer steps than a user may expect."""
    if 0 < train_steps < total or 0 < epochs < times:
        asked = plural(train_steps, "step") if train_steps else plural(float(epochs), "epoch")
        yield (
            f"{asked} requested; the service takes whole epochs: {times:g}, {plural(total, 'step')}"
        )
    if model.sequence_tokens and not is_counted:
        yield (
            "the service packs several rows into one sequence, so that it makes fewer steps than "
            "this: name the dataset, or give its tokens"
        )
    elif total < model.recommended_steps_min:
        yield (
            f"this tuning makes {plural(total, 'step')}, which hardly change a model; "
            f"{model.recommended_steps_min} or more are recommended: more epochs, more rows, or "
            "the option batch_size"
        )
    if 0 < model.recommended_steps_max < total:
        yield f"more than {model.recommended_steps_max} steps are advised against"


def _warnings(
    model: Model,
    region: str,
    rows: int,
    multiplier: float,
    cost: CostEstimate,
    options: Mapping[str, Any],
) -> Iterator[str]:
    if rows < ROWS_RECOMMENDED:
        yield f"{rows} rows are few; {ROWS_RECOMMENDED} or more are recommended"
    if multiplier != LEARNING_RATE_MULTIPLIER:
        yield f"a learning-rate multiplier of {LEARNING_RATE_MULTIPLIER} is recommended"
    if model.batch_size_assumed:
        yield f"the service does not say its batch size; steps are counted with {model.batch_size}"
    if region == "global":
        yield (
            "Google chooses where a job of the location global runs and keeps what it makes: "
            "us-central1 or europe-west4"
        )
    if region in model.served_in:
        yield f"the tuned model answers only from the multi-region {model.served_in[region]}"
    if cost.missing:
        yield f"no cost is estimated: {cost.missing}"
    size, advised = int(options.get("adapter_size") or 0), model.adapter_size_recommended
    if size and advised and size != advised:
        yield f"an adapter of size {advised} is recommended for {model.name}, not {size}"
