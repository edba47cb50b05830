"""A run's outcome, kept next to the champion's record: `outcomes/RUN.json`."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from tunepipe.registry import records


@dataclass(frozen=True)
class RunOutcome:
    """The outcome of a run.

    Args:
        verdict: better, worse or not-enough-evidence; "" if nothing was compared.
        reason: Why, in one sentence.
        report: The report's path or gs:// URI; "" if there is none.
        model: The tuned model's folder, URI or resource name; "" if that is not known.
    """

    verdict: str
    reason: str
    report: str = ""
    model: str = ""


def record(registry: str, run: str, outcome: RunOutcome) -> None:
    """Keep a run's outcome; without a registry nothing is kept."""
    records.write(registry, f"outcomes/{run}.json", asdict(outcome))


def read(registry: str, run: str) -> RunOutcome | None:
    """Return a run's outcome; None if none is kept."""
    fields = records.read(registry, f"outcomes/{run}.json")
    return RunOutcome(**fields) if fields else None
