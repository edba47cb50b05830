"""One model is asked its held-out rows, as the evaluating step does it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tunepipe.backends.base import load_predictor
from tunepipe.steps.evaluation import PREDICTION_PORTS, evaluate_step


def ask(
    backend: str, folder: Path, rows: Path, models: dict[str, str], guard: str = "", **settings: Any
) -> tuple[dict[str, int], dict[str, Path]]:
    """Ask models; give the step's counts, and the predictions files by name."""
    files = {name: folder / f"{name}.jsonl" for name in PREDICTION_PORTS}
    found: dict[str, int] = {}
    ports = {
        "eval": SimpleNamespace(path=str(rows)),
        "champion": models.get("champion", ""),
        "first": models.get("first", ""),
        "guard": None,
        "guard_uri": guard,
        "guard_fingerprint": "",
        "max_output_tokens": 256,
        "settings": settings | ({"guard": {"read": 1, "written": 1}} if guard else {}),
        "work_dir": str(folder / "work"),
        "metrics": SimpleNamespace(log_metric=found.__setitem__),
        **{port: SimpleNamespace(path=str(files[name])) for name, port in PREDICTION_PORTS.items()},
    }
    for name, port in (("tuned", "model"), ("base", "base")):
        model = models.get(name)
        ports[port] = SimpleNamespace(metadata={"resourceName": model}, path="") if model else None
    evaluate_step(load_predictor(backend), backend, ports)
    return found, files
