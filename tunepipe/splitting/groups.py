"""Rows that must stay together, gathered into units.

Each function has two forms that give the same result: a dictionary for small data, which needs no
numpy and so starts fast, and sorted arrays for large data, which need a tenth of the memory.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tunepipe.splitting.sampling import Units, mix

if TYPE_CHECKING:
    import numpy as np

SMALL = 200_000


def connect(inputs: array[int], groups: array[int], *, small: int = SMALL) -> array[int]:
    """Unite groups that share an input, and give each row the position of its unit.

    Two groups with one input in common must be on one side, or that input would be on both.

    Args:
        inputs: Each row's hash of its input.
        groups: Each row's hash of its group.
        small: Up to this many rows dictionaries are used; above, numpy.

    Returns:
        A position a row: the smallest group hash of its unit, mixed. Without the mixing a union
        would have a lower position than a single group, and so in evaluation more often.
    """
    return (_connect_few if len(inputs) <= small else _connect_many)(inputs, groups)


def gather(
    position: array[int],
    size: array[int],
    label: array[int],
    time: array[float],
    *,
    small: int = SMALL,
) -> Units:
    """Gather rows into units by position.

    Args:
        position: Each row's position; rows of one unit have the same.
        size: Each row's bytes.
        label: Each row's label, or empty. A unit gets its commonest; of equals the smallest.
        time: Each row's time, or empty. A unit gets its earliest.
        small: Up to this many rows dictionaries are used; above, numpy.

    Returns:
        The units, smallest position first.
    """
    return (_gather_few if len(position) <= small else _gather_many)(position, size, label, time)


def _connect_few(inputs: array[int], groups: array[int]) -> array[int]:
    parent = {group: group for group in groups}

    def root(group: int) -> int:
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    first: dict[int, int] = {}
    for given, group in zip(inputs, groups, strict=True):
        one, other = root(first.setdefault(given, group)), root(group)
        parent[max(one, other)] = min(one, other)
    return array("Q", (mix(root(group)) for group in groups))


def _connect_many(inputs: array[int], groups: array[int]) -> array[int]:
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
            return array("Q", _mix(names[unit[group_of]]).tobytes())
        unit = lower


def _gather_few(
    position: array[int], size: array[int], label: array[int], time: array[float]
) -> Units:
    members: dict[int, list[int]] = {}
    for index, place in enumerate(position):
        members.setdefault(place, []).append(index)
    order = sorted(members)
    return Units(
        array("Q", order),
        array("Q", (len(members[p]) for p in order)),
        array("Q", (sum(size[i] for i in members[p]) for p in order)),
        array("Q", (_commonest(label[i] for i in members[p]) for p in order) if label else ()),
        array("d", (min(time[i] for i in members[p]) for p in order) if time else ()),
    )


def _commonest(labels: Iterable[int]) -> int:
    counts = Counter(labels)
    return min(counts, key=lambda label: (-counts[label], label))


def _gather_many(
    position: array[int], size: array[int], label: array[int], time: array[float]
) -> Units:
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


def _mix(positions: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    import numpy as np

    z = positions.astype(np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    return np.asarray(z ^ (z >> np.uint64(31)))
