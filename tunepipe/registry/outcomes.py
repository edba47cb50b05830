"""A run's outcome, kept next to the champion's record: `outcomes/RUN.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from tunepipe.registry.champions import address
from tunepipe.stores import storage


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run.

    Args:
        verdict: better, worse or not-enough-evidence; "" if nothing was compared.
        reason: Why, in one sentence.
        report: The report's path or gs:// URI; "" if there is none.
    """

    verdict: str
    reason: str
    report: str = ""


def record(registry: str, run: str, outcome: Outcome) -> None:
    """Keep a run's outcome; without a registry nothing is kept.

    Args:
        registry: A folder or a gs:// prefix.
        run: The run's id.
        outcome: What it came to.
    """
    if registry:
        data = json.dumps(asdict(outcome), ensure_ascii=False, indent=1).encode()
        storage.write_new(data, _address(registry, run))


def read(registry: str, run: str) -> Outcome | None:
    """Return a run's outcome; None if none is kept."""
    if not registry or not storage.exists(_address(registry, run)):
        return None
    return Outcome(**json.loads(storage.read_bytes(_address(registry, run))))


def _address(registry: str, run: str) -> str:
    return address(registry, f"outcomes/{run}.json")
