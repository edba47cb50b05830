"""Limits on an evaluation file: the user's, within the service's."""

from __future__ import annotations

from operator import itemgetter

from tunepipe.catalog.catalog import Catalog, load_catalog
from tunepipe.errors import DataError
from tunepipe.splitting.sampling import SPAN, Room, exact


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
    """Work out the limits of the evaluation side of a dataset of so many rows and bytes (`size`).

    The options are those of `split`.

    Raises:
        DataError: The limits leave no room: too few rows, or a request above the service's limit.
    """
    catalog = catalog or load_catalog()
    model = model or catalog.default_model(format)
    _, service = catalog.find_service(model)
    evaluation = service.evaluation
    percent = f"{model} takes evaluation data of {100 * evaluation.fraction_max:g} % of training"
    most_rows, most_bytes, why_bytes = SPAN, SPAN, ""
    if evaluation.fraction_max:
        # evaluation <= fraction x training, solved for the evaluation.
        fraction = exact(evaluation.fraction_max)
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
    most, why_most = min(
        (eval_max or SPAN, f"eval_max {eval_max}"),
        (evaluation.rows_max or SPAN, f"{model} takes {evaluation.rows_max} evaluation rows"),
        (most_rows, percent),
        (rows - training, f"training needs {training} of the {rows} rows"),
        key=itemgetter(0),
    )
    if least > most:
        raise DataError(
            f"cannot split: {why_least}, but {why_most}",
            where=f"{rows} rows",
            fix="add rows, or change eval_min, eval_max or the model",
        )
    return Room(least, most, most_bytes, model, why_least, why_most, why_bytes)
