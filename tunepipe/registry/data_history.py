"""The data that the runs of a series have seen, kept with the champion's record.

The last record below `seen/SERIES/` names the last run of a series and the data it went over,
`runs/RUN.json` the data of any run; `data/FINGERPRINT` keeps the rows of a state as hashes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from tunepipe.data import diff
from tunepipe.data.conversations import Example
from tunepipe.data.diff import Difference
from tunepipe.data.rows import read_examples
from tunepipe.errors import TunepipeError
from tunepipe.registry import champions, records
from tunepipe.registry.records import RunOutcome, record_outcome
from tunepipe.stores import storage
from tunepipe.stores.ledger import Ledger
from tunepipe.stores.storage import local_files

CHANGED, UNCHANGED = "changed", "unchanged"


def last(registry: str, series: str) -> Mapping[str, str]:
    """Return the last run of a series, and the fingerprint of its data; {} if there was none."""
    return _seen(registry, series).last().fields if registry and series else {}


def record_unchanged(registry: str, series: str, run: str) -> str:
    """Record that a run ends because the data are unchanged, and return the sentence."""
    seen = last(registry, series)
    reason = f"unchanged since run {seen['run']}" if seen else "unchanged"
    record_outcome(registry, run, RunOutcome("", reason))
    print(reason)
    return reason


def decide(
    dataset_uri: str, fingerprint: str, registry: str, series: str, min_new_rows: int, format: str
) -> str:
    """Return CHANGED or UNCHANGED: whether there are rows to learn from.

    The series "" has no past, so everything is new to it. Fewer than `min_new_rows` added or
    changed rows are no change.
    """
    seen = last(registry, series)
    if not seen:
        return CHANGED
    if seen["fingerprint"] == fingerprint:
        return UNCHANGED
    if min_new_rows <= 0:
        return CHANGED
    changes = difference(dataset_uri, registry, seen["fingerprint"], format)
    return UNCHANGED if changes and changes.new < min_new_rows else CHANGED


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

    Returns:
        `since` (the champion's run), the counts of `Difference`, and `drift`; {} if there is no
        champion or its data are not known.
    """
    champion = champions.champion(registry)
    before = records.read(registry, f"runs/{champion.run}.json") if champion else None
    if not (champion and before):
        return {}
    changes = difference(dataset_uri, registry, before["fingerprint"], format)
    if changes is None:
        return {}
    drift = diff.drifts(before["stats"], stats)
    return {"since": champion.run, **changes.as_json(), "drift": drift}


def remember(
    dataset_uri: str,
    fingerprint: str,
    registry: str,
    series: str,
    run: str,
    format: str,
    stats: Mapping[str, Any],
    held_out: Collection[str] = (),
) -> None:
    """Record that a run has gone over these data, and which rows its model was trained on.

    Args:
        registry: Where it is recorded; "" records nothing.
        held_out: The hashes of the rows that the run has held out.
    """
    if not (registry and run):
        return
    ids: list[str] = []

    def examples() -> Iterator[Example]:
        for example in _examples(dataset_uri, format):
            ids.append(example.id)
            yield example

    rows = diff.to_bytes(diff.state(examples()))
    storage.write_new(rows, _state_address(registry, fingerprint))
    records.record_trained_rows(registry, run, ids, held_out)
    shares = {name: stats[name] for name in diff.DRIFTING if name in stats}
    records.write(registry, f"runs/{run}.json", {"fingerprint": fingerprint, "stats": shares})
    seen = {"run": run, "fingerprint": fingerprint}
    if series and last(registry, series) != seen:
        ledger = _seen(registry, series)
        ledger.append(ledger.last().number, seen)


def _examples(dataset_uri: str, format: str) -> Iterator[Example]:
    with local_files(dataset_uri) as paths:
        for path in paths:
            yield from read_examples(path, format)


def _seen(registry: str, series: str) -> Ledger:
    return Ledger(records.address(registry, f"seen/{series}"))


def _state_address(registry: str, fingerprint: str) -> str:
    return records.address(registry, f"data/{fingerprint[:32]}")
