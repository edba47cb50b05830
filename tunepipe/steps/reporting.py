"""What write_report does: one page, a summary and a model card from what the steps found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunepipe.data.predictions import read
from tunepipe.files import replacing
from tunepipe.reporting.model_card import model_card
from tunepipe.reporting.report import report_page
from tunepipe.reporting.summary import summary
from tunepipe.steps.artifacts import Artifact, paths_of


def report_step(
    comparison: str,
    predictions: Mapping[str, Artifact | None],
    steps: Mapping[str, Artifact | None],
    pages: Mapping[str, Artifact],
    run: Mapping[str, str],
) -> None:
    """Write the pages of a run.

    Args:
        comparison: The JSON of compare_models.
        predictions: The files of `tuned`, `base` and `champion`, as far as there is any.
        steps: The JSON of `dataset`, `split`, `plan`, `tuning` and `judge`, as far as there is any.
        pages: Where `report`, `summary` and `model_card` go.
        run: Texts that name the run; `title` heads the page.
    """
    said = _json(comparison)
    facts = {
        "title": run.get("title", "Tuning report"),
        "run": run,
        **{name: _json(path) for name, path in paths_of(steps).items()},
        **said,
        "rows": _side_by_side(paths_of(predictions), said["flips"]),
    }
    written = {"report": report_page, "summary": summary, "model_card": model_card}
    for name, page in written.items():
        with replacing(pages[name].path) as file:
            file.write(page(facts))


def _side_by_side(paths: Mapping[str, str], flips: Any) -> list[dict[str, Any]]:
    """Lay the models' answers to each row side by side, in the order of the tuned model's file."""
    answers = {name: {row.id: row for row in read(path)} for name, path in paths.items()}
    flipped = {flip["id"]: flip["flip"] for flip in flips}
    return [
        {
            "id": row.id,
            "input": row.input,
            "reference": row.reference,
            "flip": flipped.get(row.id, ""),
            **{name: rows[row.id].prediction for name, rows in answers.items() if row.id in rows},
        }
        for row in answers.get("tuned", {}).values()
    ]


def _json(path: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return found
