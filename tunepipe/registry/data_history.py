"""The data that the runs of a series have seen, kept with the champion's record.

The last record below `seen/SERIES/` names the last run of a series and the data it went over,
`runs/RUN.json` the data of any run; `data/FINGERPRINT` keeps the rows of a state as hashes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tunepipe.data import diff
from tunepipe.data.diff import Difference, State
from tunepipe.data.formats import Example
from tunepipe.data.rows import read_examples
from tunepipe.errors import TunepipeError
from tunepipe.registry import champions
from tunepipe.registry.outcomes import Outcome, record
from tunepipe.stores import storage
from tunepipe.stores.ledger import Ledger
from tunepipe.stores.storage import local_files

CHANGED, UNCHANGED = "changed", "unchanged"


@dataclass(frozen=True)
class Seen:
    """The data of a series' last run.

    Args:
        run: The run.
        fingerprint: Of its data.
    """

    run: str
    fingerprint: str


def last(registry: str, series: str) -> Seen | None:
    """Return what the last run of a series has seen; None if there was none."""
    if not (registry and series):
        return None
    if record := _seen(registry, series).last():
        return Seen(**record.fields)
    # Written by releases before this one.
    file = champions.address(registry, f"seen/{series}.json")
    return Seen(**json.loads(storage.read_bytes(file))) if storage.exists(file) else None


def record_unchanged(registry: str, series: str, run: str) -> str:
    """Record that a run ends because the data are unchanged, and return the sentence.

    Args:
        registry: Where the series is recorded.
        series: The series.
        run: The run that ends with this.
    """
    seen = last(registry, series)
    said = f"unchanged since run {seen.run}" if seen else "unchanged"
    record(registry, run, Outcome("", said))
    print(said)
    return said


def decide(
    dataset_uri: str, fingerprint: str, registry: str, series: str, min_new_rows: int, format: str
) -> str:
    """Return whether there is anything to learn.

    Args:
        dataset_uri: The data.
        fingerprint: Of the data.
        registry: Where the series is recorded.
        series: The series; "" has no past, so everything is new to it.
        min_new_rows: With fewer added or changed rows there is not.
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
    """Compare data with a stored state; None if none is stored, or rows are broken."""
    address = _state_address(registry, fingerprint)
    if not storage.exists(address):
        return None
    try:
        now = diff.state(_examples(dataset_uri, format))
        return diff.compare(diff.from_bytes(storage.read_bytes(address)), now)
    except TunepipeError:
        return None  # validation says what is broken, and where


def since_champion(
    dataset_uri: str, registry: str, format: str, stats: Mapping[str, Any]
) -> dict[str, Any]:
    """Compare data with those that the champion was tuned on.

    Args:
        dataset_uri: The data.
        registry: Where the champion is recorded.
        format: The rows' format.
        stats: What validation found in the data.

    Returns:
        `since` (the champion's run), the counts of `Difference`, and `drift`; {} if there is no
        champion or its data are not known.
    """
    champion = champions.champion(registry)
    address = _run_address(registry, champion.run) if champion and champion.run else ""
    if not (champion and address and storage.exists(address)):
        return {}
    kept = json.loads(storage.read_bytes(address))
    found = difference(dataset_uri, registry, kept["fingerprint"], format)
    if found is None:
        return {}
    drift = diff.drifts(kept["stats"], stats)
    return {"since": champion.run, **found.as_json(), "drift": drift}


def remember(
    dataset_uri: str,
    fingerprint: str,
    registry: str,
    series: str,
    run: str,
    format: str,
    stats: Mapping[str, Any],
) -> None:
    """Record that a run has gone over these data.

    Args:
        dataset_uri: The data.
        fingerprint: Of the data.
        registry: Where it is recorded; "" records nothing.
        series: The series that the run belongs to; "" for none.
        run: The run; "" records nothing.
        format: The rows' format, or auto.
        stats: What validation found in the data.
    """
    if not (registry and run):
        return
    kept: State = diff.state(_examples(dataset_uri, format))
    storage.write_new(diff.to_bytes(kept), _state_address(registry, fingerprint))
    shares = {name: stats[name] for name in diff.DRIFTING if name in stats}
    told = json.dumps({"fingerprint": fingerprint, "stats": shares}).encode()
    storage.write_new(told, _run_address(registry, run))
    seen = Seen(run, fingerprint)
    if series and last(registry, series) != seen:
        records = _seen(registry, series)
        latest = records.last()
        records.append(latest.number if latest else 0, asdict(seen))


def stats_of(problems_path: str) -> dict[str, Any]:
    """Read the statistics out of what validate_jsonl wrote."""
    with storage.open_reader(problems_path) as file:
        return dict(json.load(file).get("stats") or {})


def _examples(dataset_uri: str, format: str) -> Iterator[Example]:
    with local_files(dataset_uri) as paths:
        for path in paths:
            yield from read_examples(path, format)


def _seen(registry: str, series: str) -> Ledger:
    return Ledger(champions.address(registry, f"seen/{series}"))


def _run_address(registry: str, run: str) -> str:
    return champions.address(registry, f"runs/{run}.json")


def _state_address(registry: str, fingerprint: str) -> str:
    return champions.address(registry, f"data/{fingerprint[:32]}")
