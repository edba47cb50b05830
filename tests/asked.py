"""One model is asked its held-out rows, as the evaluating step does it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tunepipe.backends.base import load_predictor
from tunepipe.steps.evaluation import evaluate

NAMES = ("tuned", "base", "champion", "first", "guard_tuned", "guard_base")


def ask(
    backend: str, folder: Path, rows: Path, models: dict[str, str], guard: str = "", **settings: Any
) -> tuple[dict[str, int], dict[str, Path]]:
    """Ask models; give the step's counts, and the predictions files by name."""
    files = {name: folder / f"{name}.jsonl" for name in NAMES}
    outputs = {name: SimpleNamespace(path=str(path)) for name, path in files.items()}
    models = {"tuned": "", "base": "", "champion": "", "first": "", **models}
    predictor, work = load_predictor(backend), str(folder / "work")
    found = evaluate(predictor, backend, models, str(rows), (guard, ""), outputs, settings, work)
    return found, files
