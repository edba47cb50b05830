"""Accelerators of custom training: read as users write them, with the machine that holds them."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import field

from tunepipe.arguments import hint
from tunepipe.catalog.catalog import Catalog
from tunepipe.catalog.schema import Count, Day, Number, Row, Share
from tunepipe.catalog.tables import load
from tunepipe.decoding import decode
from tunepipe.errors import LimitError, UsageError


class Accelerator(Row, frozen=True, kw_only=True):
    """An accelerator of custom training.

    Args:
        memory_gib: Its memory.
        bf16_tflops: What it computes in a second, in 10^12 operations of 16 bits.
        quota: The name of the quota that a project must hold.
        spot_quota: That of spot machines.
        machines: The machine type for each number of accelerators.
        usd_per_hour: The price of the machine divided by its accelerators, by region.
    """

    memory_gib: Count
    bf16_tflops: Number
    quota: str
    spot_quota: str
    machines: dict[str, str]
    usd_per_hour: dict[str, Number] = field(default_factory=dict)


class AcceleratorTable(Row, frozen=True, kw_only=True):
    """accelerators.toml.

    Args:
        compute_share: The share of its computing that a training reaches.
        startup_hours: What a job takes before and after the training.
        accelerators: By Vertex AI's name of the type.
    """

    read: Day
    compute_share: Share
    startup_hours: Number
    accelerators: dict[str, Accelerator]


@dataclass(frozen=True)
class Machine:
    """A machine with accelerators.

    Args:
        accelerator: Vertex AI's name of the type, such as NVIDIA_L4.
        count: How many a machine has.
        machine_type: Compute Engine's name of the machine.
        row: The accelerator's row of the table.
    """

    accelerator: str
    count: int
    machine_type: str
    row: Accelerator

    def usd_per_hour(self, region: str) -> float | None:
        """Return the price of the whole machine in a region; None if it is not known."""
        price = self.row.usd_per_hour.get(region)
        return None if price is None else price * self.count


def accelerator_table(catalog: Catalog) -> AcceleratorTable:
    """Read accelerators.toml with a user's values merged over it.

    Raises:
        UsageError: An unknown name or a value that does not fit, with its place.
    """
    table = load("catalog/accelerators.toml", catalog.accelerators)
    return decode(table, AcceleratorTable, "tables.accelerators")


def find_machine(text: str, catalog: Catalog) -> Machine:
    """Find the machine for accelerators as users write them.

    Args:
        text: TYPE:COUNT or TYPE, such as NVIDIA_L4:1, L4 or H100:8.
        catalog: The dated tables.

    Raises:
        UsageError: An unknown type.
        LimitError: No machine holds that number.
    """
    rows = accelerator_table(catalog).accelerators
    name, _, number = text.partition(":")
    wanted = name.upper().replace("-", "_").replace("A100_40GB", "TESLA_A100")
    close = [each for each in rows if wanted in (each, each.removeprefix("NVIDIA_"))]
    close = close or [each for each in rows if wanted and wanted in each.split("_")]
    if not close:
        raise UsageError(
            f"no accelerator {name!r} is in the table",
            where="accelerator",
            fix=f"{hint(wanted, rows)}; a new one needs a row in tables.accelerators",
        )
    row = rows[close[0]]
    machine = row.machines.get(number or "1")
    if not machine:
        raise LimitError(
            f"no machine holds {number or 1} x {close[0]}",
            where="accelerator",
            fix=f"{close[0]} with {', '.join(f':{count}' for count in row.machines)}",
        )
    return Machine(close[0], int(number or 1), machine, row)
