"""Which data the runs of a series have seen, kept beside the champion's record.

`seen/SERIES.json` names the last run of a series and the data it went over; `data/FINGERPRINT`
keeps the rows of that state as hashes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from tunepipe.core import dataset_diff
from tunepipe.core.dataset_diff import Difference, State
from tunepipe.core.errors import TunepipeError
from tunepipe.core.formats import Example, read_examples

from . import storage
from .datasets import local_files

CHANGED, UNCHANGED = "changed", "unchanged"


@dataclass(frozen=True)
class Seen:
    """What the last run of a series went over.

    Args:
        run: The run.
        fingerprint: Of its data.
    """

    run: str
    fingerprint: str


def last(registry: str, series: str) -> Seen | None:
    """Return what the last run of a series has seen; None where there was none."""
    if not (registry and series):
        return None
    address = f"{registry.rstrip('/')}/seen/{series}.json"
    if not storage.exists(address):
        return None
    return Seen(**json.loads(storage.read_bytes(address)))


def decide(
    dataset_uri: str, fingerprint: str, registry: str, series: str, min_new_rows: int, format: str
) -> str:
    """Say whether there is anything to learn.

    Args:
        dataset_uri: The data.
        fingerprint: Of the data.
        registry: Where the series is recorded.
        series: The series; "" has no past, so everything is new to it.
        min_new_rows: Below so many rows that were added or changed there is not.
        format: The rows' format, or auto.

    Returns:
        CHANGED or UNCHANGED.
    """
    seen = last(registry, series)
    if seen is None:
        return CHANGED
    if seen.fingerprint == fingerprint:
        return UNCHANGED
    if min_new_rows <= 0:
        return CHANGED
    found = difference(dataset_uri, registry, seen.fingerprint, format)
    return UNCHANGED if found is not None and found.new < min_new_rows else CHANGED


def difference(dataset_uri: str, registry: str, fingerprint: str, format: str) -> Difference | None:
    """Compare data with a state that was kept; None where it was not, or rows are broken."""
    address = _state_address(registry, fingerprint)
    if not storage.exists(address):
        return None
    try:
        now = dataset_diff.state(_examples(dataset_uri, format))
        return dataset_diff.compare(dataset_diff.from_bytes(storage.read_bytes(address)), now)
    except TunepipeError:
        return None  # validation says what is broken, and where


def remember(
    dataset_uri: str, fingerprint: str, registry: str, series: str, run: str, format: str
) -> None:
    """Record that a run of a series has gone over these data.

    Args:
        dataset_uri: The data.
        fingerprint: Of the data.
        registry: Where it is recorded; "" records nothing.
        series: The series; "" records nothing.
        run: The run.
        format: The rows' format, or auto.
    """
    if not (registry and series):
        return
    kept: State = dataset_diff.state(_examples(dataset_uri, format))
    storage.write_bytes(dataset_diff.to_bytes(kept), _state_address(registry, fingerprint))
    record = json.dumps(asdict(Seen(run, fingerprint))).encode()
    storage.write_bytes(record, f"{registry.rstrip('/')}/seen/{series}.json")


def _examples(dataset_uri: str, format: str) -> Iterator[Example]:
    with local_files(dataset_uri) as paths:
        for path in paths:
            yield from read_examples(path, format)


def _state_address(registry: str, fingerprint: str) -> str:
    return f"{registry.rstrip('/')}/data/{fingerprint[:32]}"
