"""Accelerators of custom training: read as users write them, with the machine that holds them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunepipe.arguments import hint
from tunepipe.catalog.catalog import Catalog
from tunepipe.catalog.schema import Accelerator
from tunepipe.errors import LimitError, UsageError

DEFAULT = "NVIDIA_L4:1"


@dataclass(frozen=True)
class Machine:
    """A machine of Compute Engine with `count` accelerators, by Vertex AI's name of the type."""

    accelerator: str
    count: int
    machine_type: str
    row: Accelerator

    def usd_per_hour(self, region: str) -> float | None:
        """Return the price of the whole machine in a region; None if it is not known."""
        price = self.row.usd_per_hour.get(region)
        return None if price is None else price * self.count

    def quota(self, options: Mapping[str, Any]) -> tuple[str, int]:
        """Return the quota that a tuning's machines take: its name, and how many accelerators."""
        is_spot = options.get("provisioning", "standard") != "standard"
        name = self.row.spot_quota if is_spot else self.row.quota
        return name, self.count * int(options.get("machines") or 1)

    def spec(self) -> dict[str, Any]:
        """Return what Vertex AI takes as a machine_spec."""
        return {
            "machine_type": self.machine_type,
            "accelerator_type": self.accelerator,
            "accelerator_count": self.count,
        }


def find_machine(text: str, catalog: Catalog) -> Machine:
    """Find the machine for accelerators as users write them, such as NVIDIA_L4:1, L4 or H100:8."""
    rows = catalog.accelerators.accelerators
    name, _, number = text.partition(":")
    name_in_table = name.upper().replace("-", "_").replace("A100_40GB", "TESLA_A100")
    close = [each for each in rows if name_in_table in (each, each.removeprefix("NVIDIA_"))]
    close = close or [each for each in rows if name_in_table and name_in_table in each.split("_")]
    if not close:
        raise UsageError(
            f"no accelerator {name!r} is in the table",
            where="accelerator",
            fix=f"{hint(name_in_table, rows)}; a new one needs a row in tables.accelerators",
        )
    row = rows[close[0]]
    machine = row.machines.get(number or "1")
    if not machine:
        kind = LimitError if number.strip("0").isdecimal() else UsageError
        raise kind(
            f"no machine holds {number or 1} x {close[0]}",
            where="accelerator",
            fix=f"{close[0]} with {', '.join(f':{count}' for count in row.machines)}",
        )
    return Machine(close[0], int(number or 1), machine, row)


def machine_of(options: Mapping[str, Any], catalog: Catalog) -> Machine:
    """Find the machine of a custom tuning by the option `accelerator`; see `find_machine`."""
    return find_machine(str(options.get("accelerator") or DEFAULT), catalog)


def parameters_billion(name: str) -> float:
    """Read a model's size from its name: 4 of Qwen3-4B, 0.6 of Qwen3-0.6B; 0 if it has none.

    Of a mixture of experts the largest number counts: all its weights are read.
    """
    sizes = re.findall(r"(?<![\w.])(\d+(?:\.\d+)?)b(?![a-z0-9])", name.lower().replace("_", "-"))
    return max(map(float, sizes), default=0.0)
