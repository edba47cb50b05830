"""Assigns each row of a scanned dataset to a side; rows that must stay together make a unit."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, compress
from typing import TYPE_CHECKING, Any

from tunepipe.errors import DataError, plural
from tunepipe.splitting import sampling
from tunepipe.splitting.sampling import SPAN, Room, Units, mix
from tunepipe.splitting.scan import Criteria, Scan

if TYPE_CHECKING:
    import numpy as np

SMALL = 200_000


@dataclass(frozen=True)
class Sides:
    """The side of every row: a byte each in `marks`, 1 for evaluation and 0 for training.

    `natural` is the number of evaluation rows that the fraction alone would give, and `units` that
    of the sets of rows that were kept together, 0 if they were not counted.
    """

    marks: bytes
    natural: int
    units: int = 0


def sides(scan: Scan, criteria: Criteria, room: Room) -> Sides:
    """Decide every row's side.

    Raises:
        DataError: Whole units cannot make an evaluation file that keeps the limits.
    """
    if criteria.plain:
        return _by_input(scan, sampling.threshold(criteria.fraction), room)
    position = scan.input.load()
    if criteria.group:
        position = connect(position, scan.group.load())
    units = gather(position, scan.size.load(), scan.label.load(), scan.time.load())
    chosen, natural = _choose(units, criteria, room)
    marks = _marked([position], _enough(units, chosen, room))
    return Sides(marks, natural, len(units.position))


def _choose(units: Units, criteria: Criteria, room: Room) -> tuple[list[int], int]:
    share = sampling.share(sum(units.rows), criteria.fraction)
    target = room.nearest(share)
    if criteria.time:
        return sampling.latest(units, target, room), share
    if criteria.label:
        return sampling.stratified(units, target, room), share
    limit = sampling.threshold(criteria.fraction)
    natural = sum(compress(units.rows, map(limit.__gt__, units.position)))
    return sampling.below(units, limit, room), natural


def _by_input(scan: Scan, limit: int, room: Room) -> Sides:
    marks = b"".join(bytes(map(limit.__gt__, chunk)) for chunk in scan.input.chunks())
    natural, size = marks.count(1), 0
    if room.most_bytes < SPAN:
        size = sum(compress(chain.from_iterable(scan.size.chunks()), marks))
    if natural >= room.least and room.fits(natural, size):
        return Sides(marks, natural)
    units, chosen = _smallest(scan, limit, room, room.nearest(natural))
    return Sides(_marked(scan.input.chunks(), _enough(units, chosen, room)), natural)


def _smallest(scan: Scan, limit: int, room: Room, wanted: int) -> tuple[Units, list[int]]:
    """Choose where a limit binds, from no more units than the choice can depend on."""
    # The hashes are spread evenly, so this many of the smallest surely include those wanted.
    likely = wanted + 10 * math.isqrt(wanted) + 10
    for bound in (min(SPAN, SPAN * likely // len(scan.input)), SPAN):
        position, size = array("Q"), array("Q")
        for places, sizes in zip(scan.input.chunks(), scan.size.chunks(), strict=True):
            low = bytes(map(bound.__gt__, places))
            position.extend(compress(places, low))
            size.extend(compress(sizes, low))
        units = gather(position, size, array("Q"), array("d"))
        chosen = sampling.below(units, limit, room)
        # A choice that is full without the last of these units does not depend on any other.
        is_full = sum(units.rows[i] for i in chosen) >= room.least
        if is_full and chosen[-1] < len(units.position) - 1:
            break
    return units, chosen


def _enough(units: Units, chosen: Sequence[int], room: Room) -> frozenset[int]:
    rows = sum(units.rows[i] for i in chosen)
    if rows < room.least:
        free = Room(room.least, room.most)
        with_more_bytes = sampling.below(units, 0, free)
        if sum(units.rows[i] for i in with_more_bytes) >= room.least:
            raise DataError(
                f"an evaluation file of {plural(room.least, 'row')} would be larger than the"
                f" {room.most_bytes} bytes that {room.model or 'the service'} takes",
                fix="lower eval_min, shorten the longest rows, or add training rows",
            )
        raise DataError(
            "rows with one input, or of one group, stay together, and give no evaluation file of "
            f"{room.least} to {room.most} rows: up to {max(units.rows):,} belong together",
            fix="lower eval_min, raise eval_max, or group by something finer",
        )
    return frozenset(units.position[i] for i in chosen)


def _marked(chunks: Iterable[array[int]], chosen: frozenset[int]) -> bytes:
    return b"".join(bytes(map(chosen.__contains__, chunk)) for chunk in chunks)


def connect(inputs: array[int], groups: array[int]) -> array[int]:
    """Unite groups that share an input, and give each row the position of its unit.

    Two groups with one input in common must be on one side, or that input would be on both. A
    position is the smallest group hash of a unit, mixed: otherwise a union would have a lower
    position than a single group, and would be in evaluation more often.
    """
    import numpy as np

    names, group_of = np.unique(np.frombuffer(groups, np.uint64), return_inverse=True)
    unit = np.arange(len(names))
    by_input, input_starts = _runs(np.frombuffer(inputs, np.uint64))
    by_group, group_starts = _runs(group_of)
    run_of = np.repeat(
        np.arange(len(input_starts)), np.diff(np.append(input_starts, len(by_input)))
    )
    row_unit = np.empty(len(inputs), unit.dtype)
    while True:
        lowest = np.minimum.reduceat(unit[group_of[by_input]], input_starts)
        row_unit[by_input] = lowest[run_of]
        lower = np.minimum.reduceat(row_unit[by_group], group_starts)
        # A unit's number is itself a group of that unit: following it halves the way to the root.
        lower = np.minimum(lower, lower[lower])
        if np.array_equal(lower, unit):
            return array("Q", mix(names[unit[group_of]]).tobytes())
        unit = lower


def gather(
    position: array[int],
    size: array[int],
    label: array[int],
    time: array[float],
    *,
    small: int = SMALL,
) -> Units:
    """Gather rows of one position into units, smallest position first.

    `label` and `time` may be empty. A unit gets its commonest label, of equals the smallest, and
    its earliest time. Up to `small` rows without label and time a dictionary is used.
    """
    if len(position) <= small and not (label or time):
        # A dictionary starts without numpy; sorted arrays need a tenth of its memory.
        units: dict[int, tuple[int, int]] = {}
        for place, size_bytes in zip(position, size, strict=True):
            rows, total = units.get(place, (0, 0))
            units[place] = rows + 1, total + size_bytes
        ordered = sorted(units)
        rows_of, bytes_of = (array("Q", [units[place][n] for place in ordered]) for n in (0, 1))
        return Units(array("Q", ordered), rows_of, bytes_of)
    import numpy as np

    places = np.frombuffer(position, np.uint64)
    order, starts = _runs(places)
    sizes = np.frombuffer(size, np.uint64)[order]
    return Units(
        array("Q", places[order][starts].tobytes()),
        array("Q", np.diff(np.append(starts, len(places))).astype(np.uint64).tobytes()),
        array("Q", np.add.reduceat(sizes, starts).tobytes()),
        _labels(places, np.frombuffer(label, np.uint64)) if label else array("Q"),
        array("d", np.minimum.reduceat(np.frombuffer(time, float)[order], starts).tobytes())
        if time
        else array("d"),
    )


def _labels(places: np.ndarray[Any, Any], label: np.ndarray[Any, Any]) -> array[int]:
    import numpy as np

    order = np.lexsort((label, places))
    place, name = places[order], label[order]
    new = np.append(True, (place[1:] != place[:-1]) | (name[1:] != name[:-1]))
    starts = np.flatnonzero(new)
    counts = np.diff(np.append(starts, len(places)))
    place, name = place[starts], name[starts]
    best = np.lexsort((name, -counts, place))
    first = np.flatnonzero(np.append(True, place[best][1:] != place[best][:-1]))
    return array("Q", name[best][first].tobytes())


def _runs(values: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    import numpy as np

    order = np.argsort(values, kind="stable")
    ordered = values[order]
    return order, np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
