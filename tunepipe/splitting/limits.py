"""Limits on an evaluation file: the user's, within the service's."""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter

from tunepipe.catalog.catalog import Catalog, load_catalog
from tunepipe.catalog.schema import EvaluationLimits
from tunepipe.errors import DataError
from tunepipe.splitting.sampling import SPAN, Room, exact


@dataclass(frozen=True)
class Allowance:
    """The limits that an evaluation file has to keep, and where each comes from.

    Args:
        model: The model whose limits they are.
        room: The limits.
        why_least: In words, what sets the least.
        why_most: In words, what sets the most.
        why_bytes: In words, what sets the bytes; "" if nothing does.
    """

    model: str
    room: Room
    why_least: str
    why_most: str
    why_bytes: str

    def decided_by(self, natural: int, chosen: int, size: int) -> str:
        """Return the limit that overruled the fraction.

        Args:
            natural: Evaluation rows that the fraction alone would give.
            chosen: Evaluation rows chosen.
            size: Their bytes.

        Returns:
            The limit in words; "" if none did.
        """
        if natural < self.room.least:
            return self.why_least
        if natural > self.room.most:
            return self.why_most
        # Whole groups may fall short of the fraction too; then the bytes would have had room.
        return self.why_bytes if size * natural > self.room.most_bytes * chosen else ""


def allowance(
    rows: int,
    size: int,
    *,
    eval_min: int,
    eval_max: int,
    format: str,
    model: str,
    catalog: Catalog | None = None,
) -> Allowance:
    """Work out the limits of the evaluation side.

    Args:
        rows: All rows.
        size: All bytes.
        eval_min: Rows the user wants at least; 0 for one.
        eval_max: Maximum number of evaluation rows; 0 sets none.
        format: The rows' format.
        model: The model's name, or "" for the format's first.
        catalog: The dated tables; None for the package's own.

    Raises:
        DataError: The limits leave no room: too few rows, or a request above the service's limit.
    """
    catalog = catalog or load_catalog()
    model = model or catalog.default_model(format)
    _, service = catalog.find_service(model)
    evaluation = service.evaluation
    percent = f"{model} takes evaluation data of {100 * evaluation.fraction_max:g} % of training"
    least, why_least = max(
        (1, "an evaluation file is never empty"),
        (eval_min, f"eval_min {eval_min}"),
        (evaluation.rows_min, f"{model} needs {evaluation.rows_min} evaluation rows"),
        key=itemgetter(0),
    )
    training = max(1, service.rows_min)
    most, why_most = _smallest(
        (eval_max or None, f"eval_max {eval_max}"),
        (evaluation.rows_max or None, f"{model} takes {evaluation.rows_max} evaluation rows"),
        (_rows_allowed(rows, evaluation), percent),
        (rows - training, f"training needs {training} of the {rows} rows"),
    )
    if least > most:
        raise DataError(
            f"cannot split: {why_least}, but {why_most}",
            where=f"{rows} rows",
            fix="add rows, or change eval_min, eval_max or the model",
        )
    most_bytes = _bytes_allowed(size, evaluation)
    why_bytes = f"{percent}, in bytes" if most_bytes < SPAN else ""
    room = Room(least, most, most_bytes, f"{model} takes")
    return Allowance(model, room, why_least, why_most, why_bytes)


def _smallest(*limits: tuple[int | None, str]) -> tuple[int, str]:
    return min(((rows, words) for rows, words in limits if rows is not None), key=itemgetter(0))


def _rows_allowed(rows: int, evaluation: EvaluationLimits) -> int | None:
    """Solve evaluation <= fraction x training for the evaluation rows."""
    if not evaluation.fraction_max:
        return None
    part = exact(evaluation.fraction_max)
    allowed = rows * part.numerator // (part.numerator + part.denominator)
    return max(allowed, evaluation.fraction_from_rows - 1)


def _bytes_allowed(size: int, evaluation: EvaluationLimits) -> int:
    """Do the same for bytes, where the fraction holds from the first row."""
    if not evaluation.fraction_max or evaluation.fraction_from_rows:
        return SPAN
    part = exact(evaluation.fraction_max)
    return size * part.numerator // (part.numerator + part.denominator)
