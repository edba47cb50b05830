"""Rows that must stay together, gathered into units."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

from tunepipe.splitting.sampling import Units, mix

if TYPE_CHECKING:
    import numpy as np

SMALL = 200_000


def connect(inputs: array[int], groups: array[int]) -> array[int]:
    """Unite groups that share an input, and give each row the position of its unit.

    Two groups with one input in common must be on one side, or that input would be on both.

    Returns:
        A position a row: the smallest group hash of its unit, mixed. Without the mixing a union
        would have a lower position than a single group, and so in evaluation more often.
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
    """Gather rows into units by position, smallest first.

    Args:
        position: Each row's position; rows of one unit have the same.
        size: Each row's bytes.
        label: Each row's label, or empty. A unit gets its commonest; of equals the smallest.
        time: Each row's time, or empty. A unit gets its earliest.
        small: Up to this many rows without label and time a dictionary is used; above, numpy.
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
