"""The age of the facts in the tables: prices and dates change, so old ones cause a warning."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import msgspec

from tunepipe.catalog.catalog import Catalog
from tunepipe.catalog.schema import Model, TableRow

# Prices of models changed about every two months in 2026.
STALE_DAYS = 90


@dataclass(frozen=True)
class Fact:
    """A row of the tables, such as "prices.training_tokens.gemini-3.5-flash", and its date."""

    place: str
    read: str
    source: str

    def age_days(self, today: date) -> int:
        """Return the days since it was read; of a month, those since its first day."""
        day = self.read if len(self.read) == len("2026-11-26") else f"{self.read}-01"
        return (today - date.fromisoformat(day)).days


def dated_facts(catalog: Catalog) -> Iterator[Fact]:
    """Yield every row that has a date; of models the families, whose date is their models'."""
    tables = {
        "models.families": catalog.model_table.families,
        "prices": catalog.prices,
        "services": catalog.service_table,
        "accelerators": catalog.accelerators,
        "media": catalog.media,
    }
    for name, table in tables.items():
        yield from _facts(table, name)


def stale_facts(catalog: Catalog, today: date, days: int = STALE_DAYS) -> list[Fact]:
    """List the facts that are older than a number of days, the oldest first."""
    stale = [fact for fact in dated_facts(catalog) if fact.age_days(today) > days]
    return sorted(stale, key=lambda fact: (fact.age_days(today), fact.place), reverse=True)


def age_warnings(
    catalog: Catalog, model: Model, today: date, accelerator: str = "", days: int = STALE_DAYS
) -> tuple[str, ...]:
    """Warn, in sentences, of facts older than `days` that a tuning of a model relies on.

    The `accelerator` is what it trains on, if that is paid by the hour. A local model relies on
    no fact.
    """
    if model.backend == "local":
        return ()
    machines = catalog.accelerators.accelerators if model.backend == "custom" else {}
    prices = {
        model.name: catalog.prices.training_tokens.get(model.name),
        accelerator: machines.get(accelerator) or catalog.prices.accelerators.get(accelerator),
    }
    facts = [
        Fact(f"limits and dates of {model.name}", model.read, model.source),
        Fact("limits of rows", catalog.service_table.read, ""),
        *(Fact(f"price of {name}", row.read, row.source) for name, row in prices.items() if row),
    ]
    return tuple(
        f"{fact.place}: read on {fact.read}, {fact.age_days(today):,} days ago; take newer tables "
        "with tunepipe tables --update"
        for fact in facts
        if fact.read and fact.age_days(today) > days
    )


def _facts(value: object, place: str) -> Iterator[Fact]:
    if isinstance(value, TableRow):
        if read := getattr(value, "read", ""):
            yield Fact(place, read, getattr(value, "source", ""))
        for name in value.__struct_fields__:
            yield from _facts(getattr(value, name), f"{place}.{name}")
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _facts(item, f"{place}.{name}")


def tables_version(catalog: Catalog) -> str:
    """Return the date of the tables and a hash of all their values, for reports."""
    import hashlib

    digest = hashlib.sha256(msgspec.json.encode(catalog)).hexdigest()
    return f"{catalog.model_table.read} ({digest[:12]})"
