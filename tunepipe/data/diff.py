"""The changes between two states of a dataset, by rows and not by lines.

Two 64-bit hashes identify a row's content: of its prompt and of the whole row. So the state of a
dataset can be kept in 16 bytes per row, without the rows.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tunepipe.data.conversations import Example
from tunepipe.data.formats import canonical
from tunepipe.errors import UsageError

# What of a dataset's statistics is compared: counts by kind, and distributions of lengths.
DRIFTING = ("labels", "languages", "input_characters", "output_characters")
_MAGIC = b"tunepipe rows 1\n"
_PAIR = struct.Struct(">QQ")


# How often each pair (hash of the prompt, hash of the row) occurs.
DatasetState = Counter[tuple[int, int]]


@dataclass(frozen=True)
class Difference:
    """The rows of a dataset and of an earlier state, and in what they differ.

    The prompt of an `added` row is new. That of a `changed` row is old, and its answer new. That of
    a `removed` row has gone, or occurs less often.
    """

    rows_before: int
    rows: int
    same: int
    added: int
    changed: int
    removed: int

    @property
    def new(self) -> int:
        """Rows with something to learn that was not there."""
        return self.added + self.changed

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


def state(examples: Iterable[Example]) -> DatasetState:
    """Take down the state of a dataset."""
    return Counter(map(_hashes, examples))


def compare(before: DatasetState, now: DatasetState) -> Difference:
    """Compare two states; the order of rows does not matter."""
    same = (before & now).total()
    gone, come = _by_prompt(before - now), _by_prompt(now - before)
    changed = (gone & come).total()
    return Difference(
        rows_before=before.total(),
        rows=now.total(),
        same=same,
        added=come.total() - changed,
        changed=changed,
        removed=gone.total() - changed,
    )


def to_bytes(kept: DatasetState) -> bytes:
    """Write a state down; the same state gives the same bytes."""
    pairs = sorted(kept.elements())
    return _MAGIC + b"".join(_PAIR.pack(*pair) for pair in pairs)


def from_bytes(data: bytes) -> DatasetState:
    """Read what `to_bytes` wrote; anything else is a UsageError."""
    body = data.removeprefix(_MAGIC)
    if not data.startswith(_MAGIC) or len(body) % _PAIR.size:
        raise UsageError("not a state of a dataset", fix="delete it; the next run writes one")
    return Counter(_PAIR.iter_unpack(body))


def drift(before: Mapping[str, float], now: Mapping[str, float]) -> float:
    """Return the total variation distance of two distributions of counts or shares, 0 to 1.

    It is 0 if either is empty.
    """
    then, today = sum(before.values()), sum(now.values())
    if not (then and today):
        return 0.0
    keys = {*before, *now}
    return sum(abs(before.get(k, 0) / then - now.get(k, 0) / today) for k in keys) / 2


def drifts(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Compare the statistics of two validations; what either lacks is left out.

    Labels and languages have the distance of `drift`, lengths the means then and now.
    """
    both = [name for name in DRIFTING if before.get(name) and now.get(name)]
    return {
        name: [before[name]["mean"], now[name]["mean"]]
        if name.endswith("_characters")
        else round(drift(before[name], now[name]), 4)
        for name in both
    }


def _hashes(example: Example) -> tuple[int, int]:
    import xxhash

    prompt = canonical([dict(message) for message in example.messages])
    texts = (prompt, f"{prompt}\n{example.reference}")
    digest = xxhash.xxh3_64_intdigest
    first, whole = (digest(text.encode("utf-8", "surrogatepass")) for text in texts)
    return first, whole


def _by_prompt(rows: Counter[tuple[int, int]]) -> Counter[int]:
    found: Counter[int] = Counter()
    for (prompt, _), count in rows.items():
        found[prompt] += count
    return found
