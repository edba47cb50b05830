"""Assigns each row of a scanned dataset to a side."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, compress

from tunepipe.disk_array import DiskArray
from tunepipe.errors import DataError
from tunepipe.splitting import sampling
from tunepipe.splitting.groups import connect, gather
from tunepipe.splitting.sampling import SPAN, Room, Units
from tunepipe.splitting.scan import Criteria, Scan


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
    for bound in (_bound(scan.input, wanted + 1), SPAN):
        position, size = array("Q"), array("Q")
        for places, sizes in zip(scan.input.chunks(), scan.size.chunks(), strict=True):
            low = bytes(map(bound.__gt__, places))
            position.extend(compress(places, low))
            size.extend(compress(sizes, low))
        units = gather(position, size, array("Q"), array("d"))
        chosen = sampling.below(units, limit, room)
        unbroken = chosen == list(range(len(chosen))) and len(chosen) < len(units.position)
        if unbroken and sum(units.rows[i] for i in chosen) >= room.least:
            break
    return units, chosen


def _bound(places: DiskArray, wanted: int) -> int:
    """Find a position with N of the rows below it, by a histogram of the leading 12 bits."""
    counts = [0] * 4096
    for chunk in places.chunks():
        for place in chunk:
            counts[place >> 52] += 1
    below = accumulate(counts)
    return next((bin + 1) << 52 for bin, rows in enumerate(below) if rows >= wanted)


def _enough(units: Units, chosen: Sequence[int], room: Room) -> frozenset[int]:
    rows = sum(units.rows[i] for i in chosen)
    if rows < room.least:
        free = Room(room.least, room.most)
        with_more_bytes = sampling.below(units, 0, free)
        if sum(units.rows[i] for i in with_more_bytes) >= room.least:
            raise DataError(
                f"an evaluation file of {room.least} rows would be larger than the"
                f" {room.most_bytes} bytes that {room.model or 'the service'} takes",
                fix="lower eval_min, shorten the longest rows, or add training rows",
            )
        raise DataError(
            f"whole groups of rows give no evaluation file of {room.least} to {room.most} rows: "
            f"the largest group has {max(units.rows)}",
            fix="lower eval_min, raise eval_max, or group by something finer",
        )
    return frozenset(units.position[i] for i in chosen)


def _marked(chunks: Iterable[array[int]], chosen: frozenset[int]) -> bytes:
    return b"".join(bytes(map(chosen.__contains__, chunk)) for chunk in chunks)
