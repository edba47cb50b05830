"""What a registry keeps of each run: its outcome, and the rows that its model was trained on.

A registry is a folder or a gs:// prefix; "" is none, which keeps nothing and knows nothing.
`outcomes/RUN.json` is the outcome. As data grow, a split may hold out rows that an earlier model
has learnt. That model would answer them from memory, so a comparison with it leaves them out:
`trained/RUN` holds the hash of each distinct training row's content in 8 bytes; a million rows take
8 MB.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tunepipe.stores import storage

_HEX_DIGITS, _BYTES = 16, 8


@dataclass(frozen=True)
class RunOutcome:
    """The outcome of a run.

    Args:
        verdict: better, worse or not-enough-evidence; "" if nothing was compared.
        report: The report's path or gs:// URI; "" if there is none.
        model: The tuned model's folder, URI or resource name; "" if that is not known.
    """

    verdict: str
    reason: str
    report: str = ""
    model: str = ""


def address(registry: str, name: str) -> str:
    """Return the address of a file or a folder of a registry, such as moves."""
    return f"{registry.rstrip('/')}/{name}"


def write(registry: str, name: str, fields: Mapping[str, Any]) -> None:
    """Write a record; one that holds the same is left as it is."""
    if registry:
        data = json.dumps(dict(fields), ensure_ascii=False, indent=1).encode()
        storage.write_new(data, address(registry, name))


def read(registry: str, name: str) -> dict[str, Any] | None:
    """Read a record; None if there is none."""
    if not registry or not storage.exists(address(registry, name)):
        return None
    return dict(json.loads(storage.read_bytes(address(registry, name))))


def record_outcome(registry: str, run: str, outcome: RunOutcome) -> None:
    """Keep a run's outcome."""
    write(registry, f"outcomes/{run}.json", asdict(outcome))


def read_outcome(registry: str, run: str) -> RunOutcome | None:
    """Return a run's outcome; None if none is kept."""
    fields = read(registry, f"outcomes/{run}.json")
    return RunOutcome(**fields) if fields else None


def record_trained_rows(
    registry: str, run: str, rows: Iterable[str], held_out: Collection[str]
) -> None:
    """Record what a run's model was trained on; once, however often it is tried.

    The ids of the dataset's `rows` begin with the hash of their content. Without `held_out` hashes,
    as predictions have them, it is not known what was trained on, and nothing is recorded.
    """
    if held_out:
        trained = {row[:_HEX_DIGITS] for row in rows} - set(held_out)
        numbers = sorted(int(row, 16) for row in trained)
        data = struct.pack(f">{len(numbers)}Q", *numbers)
        storage.write_new(data, address(registry, f"trained/{run}"))


def find_trained_rows(registry: str, run: str) -> str:
    """Return where a run's training rows are recorded; "" if they are not."""
    place = address(registry, f"trained/{run}")
    return place if registry and run and storage.exists(place) else ""


def read_trained_rows(place: str) -> frozenset[str]:
    """Read the hashes of the training rows; none if there is no place."""
    data = storage.read_bytes(place) if place else b""
    numbers = struct.unpack(f">{len(data) // _BYTES}Q", data)
    return frozenset(f"{number:0{_HEX_DIGITS}x}" for number in numbers)
