"""Chooses the evaluation rows: thresholds, limits and quotas, as pure functions.

Rows that must stay together form a unit. A unit has a position: 64 bits that depend on its content
and the seed alone. Positions below `threshold(fraction)` are evaluation, so a row keeps its side
when rows are added, removed or put in another order. Only if a limit binds does the choice
depend on the other units, and then the smallest positions win. A choice is a list of indices into
the units.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from operator import itemgetter
from typing import Any

from tunepipe.catalog.catalog import Catalog, load_catalog
from tunepipe.errors import DataError, UsageError, plural

SPAN = 1 << 64


@dataclass(frozen=True)
class Units:
    """Columns over the units, smallest position first, no two alike; all of one length.

    `size` is the bytes of a unit's rows, `label` its label (a hash) and `time` its earliest time in
    seconds; these two are empty where nothing is stratified, or cut by time.
    """

    position: array[int]
    rows: array[int]
    size: array[int]
    label: array[int] = field(default_factory=lambda: array("Q"))
    time: array[float] = field(default_factory=lambda: array("d"))


@dataclass(frozen=True)
class Room:
    """The fewest (1 or more) and the most rows, and the most bytes, of the evaluation side.

    `model` is the one whose limits they are, and `why_…` say in words what sets each of them.
    """

    least: int
    most: int
    most_bytes: int = SPAN
    model: str = ""
    why_least: str = ""
    why_most: str = ""
    why_bytes: str = ""

    def fits(self, rows: int, size: int) -> bool:
        """Return True if an evaluation side of this many rows and bytes is allowed."""
        return rows <= self.most and size <= self.most_bytes

    def nearest(self, rows: int) -> int:
        """Clamp the requested number of evaluation rows to the limits on rows."""
        return min(max(rows, self.least), self.most)

    def decided_by(self, natural: int, chosen: int, size: int) -> str:
        """Return in words the limit that overruled the fraction; "" if none did.

        The fraction alone would give `natural` rows; `chosen` rows of `size` bytes were chosen.
        """
        if natural < self.least:
            return self.why_least
        if natural > self.most:
            return self.why_most
        # Whole groups may fall short of the fraction too; then the bytes would have had room.
        return self.why_bytes if size * natural > self.most_bytes * chosen else ""


def _exact(fraction: float) -> Fraction:
    """Read a float as the decimal its user wrote: 0.1 is one tenth, not 0.1000000000000000055."""
    return Fraction(repr(fraction))


def allowance(
    rows: int,
    size: int,
    *,
    eval_min: int,
    eval_max: int,
    format: str,
    model: str,
    catalog: Catalog | None = None,
) -> Room:
    """Work out the limits of the evaluation side of a dataset of `rows` rows and `size` bytes.

    Raises:
        DataError: The limits leave no room: too few rows, or a request above the service's limit.
        UsageError: `eval_min` is above `eval_max`, for any number of rows.
    """
    catalog = catalog or load_catalog()
    model = model or catalog.default_model(format)
    _, service = catalog.find_service(model)
    evaluation = service.evaluation
    percent = f"{model} takes evaluation data of {100 * evaluation.fraction_max:g} % of training"
    most_rows, most_bytes, why_bytes = SPAN, SPAN, ""
    if evaluation.fraction_max:
        # evaluation <= fraction x training, solved for the evaluation.
        fraction = _exact(evaluation.fraction_max)
        part = fraction / (1 + fraction)
        most_rows = max(int(rows * part), evaluation.fraction_from_rows - 1)
        if not evaluation.fraction_from_rows:
            # For bytes the fraction holds from the first row on.
            most_bytes, why_bytes = int(size * part), f"{percent}, in bytes"
    least, why_least = max(
        (1, "an evaluation file is never empty"),
        (eval_min, f"eval_min {eval_min}"),
        (evaluation.rows_min, f"{model} needs {evaluation.rows_min} evaluation rows"),
        key=itemgetter(0),
    )
    training = max(1, service.rows_min)
    why_training = f"training needs {training} of the {rows} rows"
    if rows <= training:
        why_training = f"training alone needs {training}"
    most, why_most = min(
        (eval_max or SPAN, f"eval_max {eval_max}"),
        (evaluation.rows_max or SPAN, f"{model} takes {evaluation.rows_max} evaluation rows"),
        (most_rows, percent),
        (rows - training, why_training),
        key=itemgetter(0),
    )
    if 0 < eval_max < eval_min:
        raise UsageError(
            f"eval_min {eval_min} is above eval_max {eval_max}",
            where="eval_min, eval_max",
            fix="raise eval_max, or lower eval_min",
        )
    if least > most:
        raise DataError(
            f"cannot split: {why_least}, but {why_most}",
            where=plural(rows, "row"),
            fix="add rows, or change eval_min, eval_max or the model",
        )
    return Room(least, most, most_bytes, model, why_least, why_most, why_bytes)


def threshold(fraction: float) -> int:
    """Return the position below which a unit is evaluation: the fraction of 2**64, rounded down."""
    return int(_exact(fraction) * SPAN)


def share(rows: int, fraction: float) -> int:
    """Count a fraction of the rows, halves rounded up, in integers: the one rule for counts."""
    part = _exact(fraction)
    return (2 * rows * part.numerator + part.denominator) // (2 * part.denominator)


def mix(position: Any) -> Any:
    """Scatter 64 bits over 64 bits, one to one: a number, or a numpy array of unsigned ones.

    It is the finalizer of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number
    generators", 2014).
    """
    z = ((position ^ (position >> 30)) * 0xBF58476D1CE4E5B9) & (SPAN - 1)
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & (SPAN - 1)
    return z ^ (z >> 31)


def below(units: Units, limit: int, room: Room) -> list[int]:
    """Choose the units whose position lies below a limit, as far as the room allows.

    Too many: the smallest positions win and the rest is training. Too few: the next smallest come
    in. Once `room.least` is reached the first unit that does not fit ends the choice; until then
    such a unit is passed over. Fewer rows than `room.least` mean that it cannot be reached.
    """
    return _take(units, range(len(units.position)), room, lambda i, _: units.position[i] < limit)


def latest(units: Units, target: int, room: Room) -> list[int]:
    """Choose the latest units, about `target` rows of them; position decides between equal times.

    The latest comes first.
    """
    order = sorted(range(len(units.position)), key=lambda i: (-units.time[i], i))
    return _take(units, order, room, lambda i, rows: rows + units.rows[i] <= target)


def stratified(units: Units, target: int, room: Room) -> list[int]:
    """Choose `target` rows so that each label has its share of them, to one row.

    Within a label the smallest positions win; a unit larger than what its label still needs is
    passed over. Where whole units leave the side short of `room.least`, the next smallest come in.
    """
    totals: dict[int, int] = {}
    for label, rows in zip(units.label, units.rows, strict=True):
        totals[label] = totals.get(label, 0) + rows
    while True:
        chosen = _fill(units, apportion(totals, target))
        size = sum(units.size[i] for i in chosen)
        if size <= room.most_bytes:
            return _top_up(units, chosen, room)
        target = min(target - 1, target * room.most_bytes // size)


def apportion(totals: Mapping[int, int], seats: int) -> dict[int, int]:
    """Share out rows in proportion to the totals, by the largest remainder (Hamilton's method).

    Each label gets its exact share rounded down or up. The key decides equal remainders.
    """
    everything = sum(totals.values())
    shares = {label: seats * rows // everything for label, rows in totals.items()}
    remainder = {label: seats * rows % everything for label, rows in totals.items()}
    left = seats - sum(shares.values())
    for label in sorted(totals, key=lambda label: (-remainder[label], mix(label)))[:left]:
        shares[label] += 1
    return shares


def _take(
    units: Units, order: Iterable[int], room: Room, wanted: Callable[[int, int], bool]
) -> list[int]:
    chosen: list[int] = []
    rows = size = 0
    for index in order:
        enough = rows >= room.least
        if enough and not wanted(index, rows):
            break
        if room.fits(rows + units.rows[index], size + units.size[index]):
            chosen.append(index)
            rows, size = rows + units.rows[index], size + units.size[index]
        elif enough:
            break
    return chosen


def _fill(units: Units, quota: dict[int, int]) -> list[int]:
    chosen: list[int] = []
    for index, (label, rows) in enumerate(zip(units.label, units.rows, strict=True)):
        if rows <= quota[label]:
            quota[label] -= rows
            chosen.append(index)
    return chosen


def _top_up(units: Units, chosen: list[int], room: Room) -> list[int]:
    rows = sum(units.rows[i] for i in chosen)
    if rows >= room.least:
        return chosen
    size = sum(units.size[i] for i in chosen)
    taken = set(chosen)
    others = (i for i in range(len(units.position)) if i not in taken)
    spare = Room(room.least - rows, room.most - rows, room.most_bytes - size)
    return sorted(chosen + _take(units, others, spare, lambda i, got: False))
