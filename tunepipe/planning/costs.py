"""Hours, tokens and dollars of a tuning, from the dated table of prices.

What is not known stays None: an unknown cost must not look like a small one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tunepipe.catalog.accelerators import machine_of, parameters_billion
from tunepipe.catalog.catalog import Catalog, load_catalog
from tunepipe.catalog.limits import ASCII_TOKENS
from tunepipe.catalog.schema import Hardware, Model
from tunepipe.errors import dollars, plural

# Rows that `select_checkpoint` sets apart; a job exports one checkpoint an epoch, about 10 at most.
SELECTION_FRACTION = 0.1
SELECTION_ROWS_MAX = 300
CHECKPOINTS_MAX = 10


@dataclass(frozen=True)
class Work:
    """A tuning whose time and cost are wanted; the hours are the user's own figure, if any.

    The tokens are those of the dataset, once through. Of the options, those count that name the
    machines of a custom tuning, its price, size and mode.
    """

    model: Model
    region: str
    train_steps: int
    tokens: int = 0
    epochs: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)
    hours: float = 0.0
    catalog: Catalog = field(default_factory=load_catalog)


@dataclass(frozen=True)
class CostEstimate:
    """The time and cost of a tuning, None where they are not known.

    `cost_usd` is to a hundredth of a cent; `missing` says why there is none. `lines` are the
    arithmetic, and `price_date` is the day on which the price was read.
    """

    hours: float | None
    cost_usd: float | None
    price_date: str = ""
    lines: tuple[str, ...] = ()
    missing: str = ""


def estimate(work: Work) -> CostEstimate:
    """Estimate a tuning: by machines, by the hour or by the token, as its backend is billed."""
    if work.model.backend == "local":
        hours = _paced(work, work.model.name)
        return replace(hours, cost_usd=0.0, lines=(*hours.lines, "this machine: 0.00 USD"))
    if work.model.backend == "custom":
        return _by_machine(work)
    if hardware := work.catalog.hardware_of(work.model, work.region):
        return _by_hour(work, hardware)
    return _by_token(work)


def calibrated(
    tokens: int, catalog: Catalog | None = None, *, per_ascii_character: float = 0.0
) -> tuple[int, str]:
    """Correct an estimate from characters by the sample that was counted, where one was.

    Without a sample the model's own ratio, `per_ascii_character`, raises an estimate by the general
    one, and never lowers it; 0 is not known. Return the tokens, and the arithmetic in a line; "" if
    nothing corrects them.
    """
    sample = (catalog or load_catalog()).prices.tokens.calibration
    if sample is not None:
        factor = sample.counted / sample.estimated
        how = f"{factor:.3g}"
        by = f" tokens, calibrated on {plural(sample.rows, 'row')} with {sample.counter}"
    elif per_ascii_character > ASCII_TOKENS:
        factor = per_ascii_character / ASCII_TOKENS
        how, by = f"{per_ascii_character:g} / {ASCII_TOKENS:g}, as measured", ""
    else:
        return tokens, ""
    corrected = round(tokens * factor)
    return corrected, f"{tokens:,} tokens by characters x {how} = {corrected:,}{by}"


def selection_rows(rows: int) -> int:
    """Return how many training rows are set apart to select a checkpoint."""
    return min(round(SELECTION_FRACTION * rows), SELECTION_ROWS_MAX)


def with_selection(cost: CostEstimate, work: Work, rows: int) -> CostEstimate:
    """Add what asking each checkpoint the rows of the selection costs, at most.

    An answer is taken to be as long as its whole row, and the tuned model's price holds. `rows`
    are the training rows, those of the selection included.
    """
    name, asked = work.model.name, selection_rows(rows)
    price = work.catalog.prices.answers.get(name)
    if price is None:
        missing = f"no price of answers is known for {name}, whose checkpoints are to be asked"
        return replace(cost, cost_usd=None, missing=cost.missing or missing)
    checkpoints = min(round(work.epochs), CHECKPOINTS_MAX)
    tokens = round(work.tokens * asked / rows)
    per_million = (price.usd_per_million_read + price.usd_per_million_written) * price.tuned_factor
    usd = checkpoints * tokens / 1e6 * per_million
    line = (
        f"selection: {plural(checkpoints, 'checkpoint')} x {plural(asked, 'row')}, {tokens:,} "
        f"tokens read and at most as many written each x {per_million:g} USD a million = "
        f"{dollars(usd)}"
    )
    total = None if cost.cost_usd is None else round(cost.cost_usd + usd, 4)
    return replace(cost, cost_usd=total, lines=(*cost.lines, line))


def _paced(work: Work, pace_name: str) -> CostEstimate:
    """Take the user's hours, or estimate them from the steps where a pace is known."""
    if work.hours:
        return CostEstimate(work.hours, None, lines=(f"{work.hours:g} h, as set",))
    pace = work.catalog.prices.hours.get(pace_name)
    if pace is None:
        return CostEstimate(None, None)
    seconds, floor = pace.seconds_per_step, pace.minimum_hours
    hours = round(max(floor, work.train_steps * seconds / 3600), 4)
    at_least = f", at least {floor:g} h" if floor else ""
    steps = plural(work.train_steps, "step")
    line = f"{steps} x {seconds:g} s{at_least} = {hours:g} h ({pace.source})"
    return CostEstimate(hours, None, lines=(line,))


def _by_hour(work: Work, hardware: Hardware) -> CostEstimate:
    """Price accelerators that Google's template holds: accelerators x price an hour x hours."""
    paced = _paced(work, work.model.backend)
    kind, count = hardware.accelerator_type, hardware.accelerators
    price = work.catalog.prices.accelerators.get(kind)
    rate = price.usd_per_hour.get(work.region) if price else None
    if paced.hours is None or price is None or rate is None:
        return replace(paced, missing=f"no price an hour is known for {kind} in {work.region}")
    cost = round(count * rate * paced.hours, 4)
    line = (
        f"{count} x {kind} x {rate} USD an hour x {paced.hours:g} h = {dollars(cost)} "
        f"(price read {price.read})"
    )
    return CostEstimate(paced.hours, cost, price.read, (*paced.lines, line))


def _by_token(work: Work) -> CostEstimate:
    """Price what is billed by training tokens: tokens x epochs x price."""
    price = work.catalog.prices.training_tokens.get(work.model.name)
    hours = work.hours or None
    if price is None:
        missing = f"no price of training tokens is known for {work.model.name}"
        return CostEstimate(hours, None, missing=missing)
    if not work.tokens:
        missing = (
            "the dataset's tokens are not known: name the dataset, or give its characters; "
            "none are estimated of rows that point to files, and plan --tokens takes a count"
        )
        return CostEstimate(hours, None, price.read, missing=missing)
    cost = round(work.tokens * work.epochs / 1e6 * price.usd_per_million, 4)
    line = (
        f"{work.tokens:,} tokens x {plural(float(work.epochs), 'epoch')} x "
        f"{price.usd_per_million:g} USD a million = {dollars(cost)} (price read {price.read})"
    )
    return CostEstimate(hours, cost, price.read, (line,))


def _by_machine(work: Work) -> CostEstimate:
    """Price machines in the user's project: machines x price an hour x hours.

    A trained token takes 6 operations a parameter in full tuning, and 4 if the base is frozen:
    its weights need no gradient.
    """
    options, table = work.options, work.catalog.accelerators
    machine = machine_of(options, work.catalog)
    machines = int(options.get("machines") or 1)
    billions = float(options.get("parameters_billion") or parameters_billion(work.model.name))
    what = f"{machines} x {machine.machine_type} ({machine.accelerator}:{machine.count})"
    hours, line = work.hours, f"{work.hours:g} h, as set"
    if not hours and not (work.tokens and billions):
        missing = "the dataset's tokens are not known"
        if not billions:
            missing = "the size of the model is not known; the option parameters_billion gives it"
        return CostEstimate(None, None, lines=(what,), missing=missing)
    if not hours:
        operations = 6 if options.get("tuning_mode") == "full" else 4
        speed = machines * machine.count * machine.row.bf16_tflops * 1e12 * table.compute_share
        tokens_per_second = speed / (operations * billions * 1e9)
        training_hours = work.tokens * work.epochs / tokens_per_second / 3600
        hours = round(table.startup_hours + training_hours, 4)
        line = (
            f"{work.tokens:,} tokens x {plural(float(work.epochs), 'epoch')} at "
            f"{tokens_per_second:,.0f} tokens a second ({100 * table.compute_share:g} % of "
            f"{machine.row.bf16_tflops:g} TFLOPS, an assumption) and {table.startup_hours:g} h to "
            f"start = {hours:g} h"
        )
    own_price = float(options.get("usd_per_hour") or 0)
    price = own_price or machine.usd_per_hour(work.region)
    if price is None:
        where = f"{machine.machine_type} is known in {work.region}"
        missing = f"no price of {where}: the option usd_per_hour gives one"
        return CostEstimate(hours, None, lines=(what, line), missing=missing)
    cost = round(machines * price * hours, 4)
    total = f"{what} x {price:g} USD an hour x {hours:g} h = {dollars(cost)}"
    if own_price:
        return CostEstimate(hours, cost, lines=(line, f"{total} (price as set)"))
    upper = "" if options.get("provisioning", "standard") == "standard" else ", at the list price"
    read = machine.row.read
    return CostEstimate(hours, cost, read, (line, f"{total}{upper} (price read {read})"))
