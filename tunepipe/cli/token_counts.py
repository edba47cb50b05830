"""What --tokenizer means: the tokens of a sample are counted, and the tables remember it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tunepipe.catalog.models import Model
from tunepipe.catalog.tables import Table, merged
from tunepipe.cli.inputs import local_copies
from tunepipe.errors import UsageError

SERVICE = "service"


def calibrated(
    tables: Mapping[str, Any],
    tokenizer: str,
    datasets: Sequence[str],
    *,
    model: Model,
    format: str,
    project: str,
    region: str,
    options: Mapping[str, Any] | None = None,
) -> Table:
    """Lay a calibration over the user's tables, from where every estimate takes it.

    Args:
        tables: The user's tables.
        tokenizer: A folder, a tokenizer.json or a hub id; "service" asks Gemini's; "" counts
            nothing.
        datasets: Paths, gs:// URIs or globs.
        model: The model to tune.
        format: The rows' format.
        project: The project that asks the service.
        region: Where the model is tuned.
        options: What the backend alone knows.

    Raises:
        UsageError: There is no such tokenizer, or the model's service does not count.
    """
    if not tokenizer:
        return dict(tables)
    from tunepipe.cli import token_counts_2 as token_counts

    if tokenizer == SERVICE:
        _check_counts(model, project, region)
    with local_copies(datasets) as files:
        rows = token_counts.sample(list(files), format)
    if tokenizer == SERVICE:
        found = token_counts.by_service(rows, model.name, project, region, options or {})
    else:
        found = token_counts.by_tokenizer(rows, tokenizer)
    return merged(tables, found.as_tables())


def _check_counts(model: Model, project: str, region: str) -> None:
    if model.backend != "gemini":
        raise UsageError(
            f"only Gemini's service counts, and {model.name} is tuned by {model.backend}",
            where="--tokenizer service",
            fix="name the model's tokenizer: a folder, a tokenizer.json or a hub id",
        )
    if not (project and region):
        raise UsageError("needs --project and --region", where="--tokenizer service")
