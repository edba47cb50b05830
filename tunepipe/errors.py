"""The errors a user may meet, and the exit code that each one means.

TunepipeError
├── DataError    exit 1: the data or the model did not pass
├── UsageError   exit 2: wrong usage, or input that cannot be read
├── LimitError   exit 3: refused by a limit (budget, region, retired model)
└── CloudError   exit 4: the cloud refused or failed
    └── UnreachableError  Google could not be reached, or failed internally; a step exits with 13
"""

from __future__ import annotations


def plural(count: float, noun: str) -> str:
    """Return a count with its noun, for messages: "1 row", "1,200 rows", "2.5 epochs"."""
    number = f"{count:,}" if isinstance(count, int) else f"{count:g}"
    return f"{number} {noun}{'' if count == 1 else 's'}"


def dollars(usd: float) -> str:
    """Return an amount for messages: "1,036.14 USD", "0.0026 USD"."""
    return f"{usd:,.2f} USD" if usd >= 0.1 or not usd else f"{usd:.2g} USD"


class TunepipeError(ValueError):
    """Says what was found, where, and how to fix it.

    Args:
        found: What is wrong, in one sentence that quotes no row text and no secret.
        where: File, line and field, a parameter's name, or a resource's name.
        fix: What the user can do about it: the value wanted, or the command to run.
    """

    exit_code = 2

    def __init__(self, found: str, *, where: str = "", fix: str = "") -> None:
        self.found, self.where, self.fix = found, where, fix
        super().__init__(found)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        remedy = f"\n  fix: {self.fix}" if self.fix else ""
        return f"{place}{self.found}{remedy}"


class DataError(TunepipeError):
    """The data, or the tuned model, did not pass."""

    exit_code = 1


class UsageError(TunepipeError):
    """Wrong usage, or input that cannot be read."""

    exit_code = 2


class LimitError(TunepipeError):
    """Refused by a limit: budget, region, retired model, size."""

    exit_code = 3


class CloudError(TunepipeError):
    """The cloud refused or failed: permission, quota, a failed job."""

    exit_code = 4


class UnreachableError(CloudError):
    """Not the user's fault; a step says so with the exit code of Google's own components."""

    step_exit_code = 13
    final = True  # it has been waited for
