"""How fast a model is asked, and the options by which a user sets it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

# Option -> the least value, the largest, and whether only whole numbers are taken.
PACING_OPTIONS: Mapping[str, tuple[float, float, bool]] = {
    "workers": (0, 1024, True),
    "requests_per_minute": (0, 1e9, False),
    "attempts": (1, 1000, True),
}


@dataclass(frozen=True)
class RequestPacing:
    """How fast to ask a remote model.

    Args:
        workers: Requests at a time, one row each; 0 hands all rows to the backend at once, which
            suits a local model.
        requests_per_minute: The limit over all workers, retries included; 0 sets none.
        attempts: Tries for each row, >= 1, with growing pauses between.
        first_pause_seconds: The longest pause after the first failure; it doubles up to a minute.
            A longer one that the service asks for (Retry-After) is kept.
    """

    workers: int = 0
    requests_per_minute: float = 0.0
    attempts: int = 5
    first_pause_seconds: float = 1.0

    def with_options(self, options: Mapping[str, Any]) -> RequestPacing:
        """Return this pacing with the values that the options set; KFP writes 8 as 8.0."""
        changes: dict[str, Any] = {
            name: int(options[name]) if whole else float(options[name])
            for name, (_, _, whole) in PACING_OPTIONS.items()
            if name in options
        }
        return replace(self, **changes)
