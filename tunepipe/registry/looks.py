"""Counts how often held-out rows decided a promotion, next to the champion's record.

`looks/TIME-RUN.json` has, for each run that decided, which rows it used (the smallest hashes of
their contents, which tell how much two sets of rows have in common) and which answers it compared.
Who looks again and again at the same rows finds a better model by chance; the comparison counts the
looks and asks for more each time (`evaluation.significance.confidence_of_look`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tunepipe.data.predictions import Prediction
from tunepipe.registry import records
from tunepipe.stores import storage

# The smallest hashes of a set tell which share of it another set has, to about 0.1.
_KEPT_HASHES, _HASH_DIGITS = 32, 8
_MAX_LOOKS = 200
# Rows of which a smaller share has decided before count as fresh.
SAME_ROWS = 0.2


def describe(rows: Iterable[Prediction]) -> dict[str, Any]:
    """Describe what a comparison looks at: the rows, and the tuned model's answers to them."""
    rows = list(rows)
    hashes = sorted({_digest(row.hash or row.id)[:_HASH_DIGITS] for row in rows})
    answers = _digest(json.dumps(sorted([row.id, row.answer, row.prediction] for row in rows)))
    return {"rows": hashes[:_KEPT_HASHES], "answers": answers[:16]}


def count(look: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]) -> int:
    """Count the looks at the same rows, this one included; the same answers count once."""
    answers = {
        str(other["answers"])
        for other in earlier
        if overlap(look["rows"], other["rows"]) >= SAME_ROWS
    }
    return 1 + len(answers - {look["answers"]})


def overlap(rows: Sequence[str], others: Sequence[str]) -> float:
    """Estimate which share of the rows is among the others too, from the smallest hashes of both.

    A part of rows that have all decided before is no fresh set, however small a part it is.
    """
    # Up to here both lists are complete.
    ends = [max(kept) for kept in (rows, others) if len(kept) >= _KEPT_HASHES]
    known = [row for row in rows if not ends or row <= min(ends)]
    return len(set(known) & set(others)) / max(len(known), 1)


def earlier(registry: str, run: str) -> list[dict[str, Any]]:
    """Return the looks of all other runs, the newest 200; a second try of a run is no other."""
    if not registry:
        return []
    files = storage.matching_files(records.address(registry, "looks/*.json"))
    looks = [json.loads(storage.read_bytes(file)) for file in files[-_MAX_LOOKS:]]
    return [{k: look[k] for k in ("rows", "answers")} for look in looks if look["run"] != run]


def record(registry: str, run: str, look: Mapping[str, Any], verdict: str, at: str) -> int:
    """Record that a run has decided; once, however often it is tried.

    `at`, UTC in ISO 8601 to the second, is the files' order in time. Return how often the same rows
    have decided by now, this time included.
    """
    if not look:
        return 1
    own = records.address(registry, f"looks/{'?' * len(at)}-{run}.json")
    if registry and run and not storage.matching_files(own):
        name = f"looks/{at}-{run}.json"
        records.write(registry, name, {"run": run, "verdict": verdict, "at": at, **look})
    return count(look, earlier(registry, run))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
