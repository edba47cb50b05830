"""How large an evaluation file may be: what the user asks for, within what the service takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from .errors import DataError
from .selection import SPAN, Room, exact
from .tables import load


@dataclass(frozen=True)
class Binding:
    """The limits that an evaluation file had to keep, and which of them decided its size.

    Args:
        model: The model whose limits they are.
        eval_min: Rows at least.
        eval_max: Rows at most, with the service's and the training side's needs counted in.
        decided_by: In words, the limit that overruled the fraction; "" where none did.
    """

    model: str
    eval_min: int
    eval_max: int
    decided_by: str


def room_for(
    rows: int,
    size: int,
    natural: int,
    *,
    eval_min: int,
    eval_max: int,
    format: str,
    model: str,
) -> tuple[Room, Binding]:
    """Work out the limits of the evaluation side.

    Args:
        rows: All rows.
        size: All bytes.
        natural: Evaluation rows that the fraction alone would give.
        eval_min: Rows the user wants at least; 0 for one.
        eval_max: Rows the user wants at most; 0 for no wish.
        format: The rows' format.
        model: The model's name, or "" for the format's first.

    Raises:
        DataError: The limits leave no room: too few rows, or a wish against the service's limit.
    """
    table = load("services.toml")
    model = model or table["first_model"][format]
    service = _service(table, model)
    evaluation = service["evaluation"]
    least = _largest(
        (1, "an evaluation file is never empty"),
        (eval_min, f"--eval-min {eval_min}"),
        (evaluation["rows_min"], f"{model} wants {evaluation['rows_min']} evaluation rows"),
    )
    training = max(1, service["rows_min"])
    most = _smallest(
        (eval_max or None, f"--eval-max {eval_max}"),
        (evaluation["rows_max"] or None, f"{model} takes {evaluation['rows_max']} evaluation rows"),
        (_fraction_of_training(rows, evaluation), _fraction_words(model, evaluation)),
        (rows - training, f"training needs {training} of the {rows} rows"),
    )
    if least[0] > most[0]:
        raise DataError(
            f"no split: {least[1]}, but {most[1]}",
            where=f"{rows} rows",
            fix="add rows, or change --eval-min, --eval-max or --model",
        )
    decided = least[1] if natural < least[0] else most[1] if natural > most[0] else ""
    room = Room(least[0], most[0], _bytes_allowed(size, evaluation))
    return room, Binding(model, least[0], most[0], decided)


def _service(table: Mapping[str, Any], model: str) -> Mapping[str, Any]:
    services: Mapping[str, Mapping[str, Any]] = table["services"]
    return next(
        service
        for service in services.values()
        if any(fnmatchcase(model, pattern) for pattern in service["models"])
    )


def _largest(*limits: tuple[int, str]) -> tuple[int, str]:
    return max(limits, key=lambda limit: limit[0])


def _smallest(*limits: tuple[int | None, str]) -> tuple[int, str]:
    return min(((rows, words) for rows, words in limits if rows is not None), key=lambda x: x[0])


def _fraction_of_training(rows: int, evaluation: Mapping[str, Any]) -> int | None:
    """Solve evaluation <= fraction x training for the evaluation rows."""
    if not evaluation["fraction_max"]:
        return None
    part = exact(evaluation["fraction_max"])
    allowed = rows * part.numerator // (part.numerator + part.denominator)
    return max(allowed, int(evaluation.get("fraction_from_rows", 0)) - 1)


def _fraction_words(model: str, evaluation: Mapping[str, Any]) -> str:
    percent = round(100 * evaluation["fraction_max"])
    return f"{model} takes evaluation data of {percent} % of the training data"


def _bytes_allowed(size: int, evaluation: Mapping[str, Any]) -> int:
    """Do the same for bytes, where the fraction holds from the first row."""
    if not evaluation["fraction_max"] or evaluation.get("fraction_from_rows"):
        return SPAN
    part = exact(evaluation["fraction_max"])
    return size * part.numerator // (part.numerator + part.denominator)
