"""Hours, tokens and dollars of a tuning, from the dated table of prices.

What is not known stays None: an unknown cost must not look like a small one.
"""

from __future__ import annotations

from dataclasses import dataclass

from tunepipe.catalog.catalog import Catalog, load_catalog
from tunepipe.catalog.schema import Hardware, Model, Prices


@dataclass(frozen=True)
class Estimate:
    """The time and cost of a tuning.

    Args:
        hours: How long it runs; None if nothing is known of it.
        cost_usd: What it costs; None if no price is known.
        price_date: The day the price was read, "" if there is none.
        lines: The arithmetic, a line each.
        missing: Why there is no cost, "" if there is one.
    """

    hours: float | None
    cost_usd: float | None
    price_date: str = ""
    lines: tuple[str, ...] = ()
    missing: str = ""


def calibrated(
    tokens: int,
    catalog: Catalog | None = None,
    *,
    per_ascii_character: float = 0.0,
) -> tuple[int, str]:
    """Correct an estimate from characters by the sample that was counted, where one was.

    Args:
        tokens: The estimate.
        catalog: The dated tables; None for the package's own.
        per_ascii_character: The model's own ratio, by which an estimate that went by the table's
            is raised without a sample, and never lowered; 0 is not known.

    Returns:
        Tokens, and the arithmetic in a line; the same tokens and "" if nothing corrects them.
    """
    ratios = (catalog or load_catalog()).prices.tokens
    sample = ratios.calibration
    if sample is None:
        return _raised(tokens, per_ascii_character, ratios.per_ascii_character)
    found = round(tokens * sample.counted / sample.estimated)
    line = (
        f"{tokens:,} tokens by characters x {sample.counted / sample.estimated:.3g} = {found:,} "
        f"tokens, calibrated on {sample.rows} rows with {sample.counter}"
    )
    return found, line


def tokens_from_characters(
    characters: int,
    other_characters: int = 0,
    *,
    per_ascii_character: float = 0.0,
    catalog: Catalog | None = None,
) -> int:
    """Estimate tokens from characters, by the table's ratios or the model's own.

    Args:
        characters: All characters, >= 0.
        other_characters: How many of them are not ASCII (Japanese, say).
        per_ascii_character: A model's own ratio; 0 takes the table's.
        catalog: The dated tables; None for the package's own.

    Returns:
        Tokens, rounded up.
    """
    ratios = (catalog or load_catalog()).prices.tokens
    ascii_ratio = per_ascii_character or ratios.per_ascii_character
    ascii_tokens = (characters - other_characters) * ascii_ratio
    return -int(-(ascii_tokens + other_characters * ratios.per_other_character) // 1)


def by_the_hour(
    model: Model,
    hardware: Hardware,
    region: str,
    train_steps: int,
    *,
    hours: float = 0.0,
    catalog: Catalog | None = None,
) -> Estimate:
    """Price a tuning that holds accelerators by the hour.

    Args:
        model: The model.
        hardware: The region's row of regions.toml.
        region: Where it runs.
        train_steps: Optimizer steps, >= 1.
        hours: The user's own figure; 0 estimates it from the steps.
        catalog: The dated tables; None for the package's own.

    Returns:
        Accelerators x price an hour x hours.
    """
    prices = (catalog or load_catalog()).prices
    took, how = _hours(prices, model.backend, train_steps, hours)
    kind, count = hardware.accelerator_type, hardware.accelerators
    price = prices.accelerators.get(kind)
    rate = price.usd_per_hour.get(region) if price else None
    if took is None or price is None or rate is None:
        missing = f"no price an hour is known for {kind} in {region}"
        return Estimate(took, None, lines=(how,), missing=missing)
    cost = round(count * rate * took, 2)
    line = (
        f"{count} x {kind} x {rate} USD an hour x {took:g} h = {cost:.2f} USD "
        f"(price read {price.read})"
    )
    return Estimate(took, cost, price.read, (how, line))


def by_the_token(
    model: Model,
    tokens: int,
    epochs: float,
    *,
    hours: float = 0.0,
    catalog: Catalog | None = None,
) -> Estimate:
    """Price a tuning that is billed by training tokens.

    Args:
        model: The model.
        tokens: Tokens of the dataset, once through; 0 is not known.
        epochs: How often the dataset is gone through.
        hours: The user's own figure for how long it runs; 0 is not known.
        catalog: The dated tables; None for the package's own.

    Returns:
        Tokens x epochs x price.
    """
    prices = (catalog or load_catalog()).prices
    price = prices.training_tokens.get(model.name)
    known_hours = hours or None
    if price is None:
        missing = f"no price of training tokens is known for {model.name}"
        return Estimate(known_hours, None, missing=missing)
    if not tokens:
        missing = (
            "the dataset's tokens are not known: name the dataset, or give its characters; "
            "none are estimated of rows that point to files, and plan --tokens takes a count"
        )
        return Estimate(known_hours, None, price.read, missing=missing)
    cost = round(tokens * epochs / 1e6 * price.usd_per_million, 2)
    line = (
        f"{tokens:,} tokens x {epochs:g} epochs x {price.usd_per_million:g} USD a million "
        f"= {cost:.2f} USD (price read {price.read})"
    )
    return Estimate(known_hours, cost, price.read, (line,))


def at_home(
    model: Model,
    train_steps: int,
    *,
    hours: float = 0.0,
    catalog: Catalog | None = None,
) -> Estimate:
    """Price a tuning locally: nothing is billed."""
    prices = (catalog or load_catalog()).prices
    took, how = _hours(prices, model.name, train_steps, hours)
    lines = (how, "this machine: 0.00 USD") if how else ("this machine: 0.00 USD",)
    return Estimate(took, 0.0, lines=lines)


def _raised(tokens: int, own: float, general: float) -> tuple[int, str]:
    if own <= general:
        return tokens, ""
    found = round(tokens * own / general)
    return (
        found,
        f"{tokens:,} tokens by characters x {own:g} / {general:g}, as measured = {found:,}",
    )


def _hours(prices: Prices, key: str, train_steps: int, given: float) -> tuple[float | None, str]:
    """Take the hours given, or estimate them from the steps where a pace is known."""
    if given:
        return given, f"{given:g} h, as given"
    pace = prices.hours.get(key)
    if pace is None:
        return None, ""
    seconds, floor = pace.seconds_per_step, pace.minimum_hours
    hours = round(max(floor, train_steps * seconds / 3600), 4)
    at_least = f", at least {floor:g} h" if floor else ""
    line = f"{train_steps:,} steps x {seconds:g} s{at_least} = {hours:g} h"
    return hours, f"{line} ({pace.source})"
