"""Hours and dollars of a tuning on machines in the user's project."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tunepipe.catalog.accelerators import accelerator_table, find_machine
from tunepipe.catalog.catalog import Catalog, load_catalog
from tunepipe.catalog.schema import Model
from tunepipe.planning.costs import Estimate


def on_accelerators(
    model: Model,
    region: str,
    tokens: int,
    epochs: float,
    options: Mapping[str, Any],
    *,
    hours: float = 0.0,
    catalog: Catalog | None = None,
) -> Estimate:
    """Price a tuning on machines in the user's project, from tokens, parameters and computing.

    A trained token takes 6 operations a parameter in full tuning, and 4 if the base is frozen:
    its weights need no gradient.

    Args:
        model: The model; its name may say how many parameters it has, such as Qwen3-4B.
        region: Where it runs.
        tokens: Tokens of the dataset, once through; 0 is not known.
        epochs: How often the dataset is gone through.
        options: accelerator, machines, provisioning, usd_per_hour, parameters_billion and
            tuning_mode count here.
        hours: The user's own figure; 0 estimates it.
        catalog: The dated tables; None for the package's own.

    Returns:
        Machines x price an hour x hours.
    """
    catalog = catalog or load_catalog()
    table = accelerator_table(catalog)
    machine = find_machine(str(options.get("accelerator") or "NVIDIA_L4:1"), catalog)
    machines = int(options.get("machines") or 1)
    billions = float(options.get("parameters_billion") or parameters_billion(model.name))
    price = float(options.get("usd_per_hour") or 0) or machine.usd_per_hour(region)
    what = f"{machines} x {machine.machine_type} ({machine.accelerator}:{machine.count})"
    if not hours and not (tokens and billions):
        missing = "the dataset's tokens" if billions else "the size of the model"
        fix = "" if billions else "; the option parameters_billion gives it"
        return Estimate(None, None, lines=(what,), missing=f"{missing} is not known{fix}")
    line = f"{hours:g} h, as given"
    if not hours:
        operations = 6 if options.get("tuning_mode") == "full" else 4
        speed = machines * machine.count * machine.row.bf16_tflops * 1e12 * table.compute_share
        rate = speed / (operations * billions * 1e9)
        hours = round(table.startup_hours + tokens * epochs / rate / 3600, 4)
        line = (
            f"{tokens:,} tokens x {epochs:g} epochs at {rate:,.0f} tokens a second "
            f"({table.compute_share:.0%} of {machine.row.bf16_tflops:g} TFLOPS, an assumption) and "
            f"{table.startup_hours:g} h to start = {hours:g} h"
        )
    if price is None:
        missing = (
            f"no price of {machine.machine_type} is known in {region}: the option usd_per_hour"
        )
        return Estimate(hours, None, lines=(what, line), missing=missing)
    cost = round(machines * price * hours, 2)
    upper = "" if options.get("provisioning", "standard") == "standard" else ", at the list price"
    total = f"{what} x {price:g} USD an hour x {hours:g} h = {cost:.2f} USD{upper}"
    return Estimate(hours, cost, table.read, (line, f"{total} (price read {table.read})"))


def parameters_billion(name: str) -> float:
    """Read a model's size out of its name: 4 of Qwen3-4B, 0.6 of Qwen3-0.6B; 0 if it has none.

    Of a mixture of experts the largest number counts: all its weights are read.
    """
    sizes = re.findall(r"(?<![\w.])(\d+(?:\.\d+)?)b(?![a-z0-9])", name.lower().replace("_", "-"))
    return max(map(float, sizes), default=0.0)
