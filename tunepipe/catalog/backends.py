"""The one table of backends: who tunes, who is asked, where, and how fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tunepipe.arguments import hint
from tunepipe.errors import UsageError

BackendName = Literal["large-model", "gemini", "open-model", "local"]


@dataclass(frozen=True)
class Backend:
    """One way to tune a model and to ask it.

    Args:
        name: As users write it.
        tuner: The module that tunes (`backends.base.Tuner`).
        predictor: The module that asks (`backends.base.Predictor`).
        asking: The settings that its `predict` takes besides max_output_tokens.
        in_cloud: Whether it needs a project and a region.
        has_location: Whether the option `location` moves the tuning job out of the run's region.
        workers: Requests at a time; 0 hands all rows to the predictor at once.
        requests_per_minute: Limit over all workers; 0 sets none.
        attempts: Tries a row, >= 1.
    """

    name: BackendName
    tuner: str
    predictor: str
    asking: tuple[str, ...]
    in_cloud: bool = True
    has_location: bool = False
    workers: int = 8
    requests_per_minute: float = 0.0
    attempts: int = 8

    @property
    def identifier(self) -> str:
        """The name as Python and file names have it, such as large_model."""
        return self.name.replace("-", "_")


_ALL = (
    Backend(
        "large-model",
        tuner="tunepipe.backends.palm.tuning",
        predictor="tunepipe.backends.palm.prediction",
        asking=("temperature", "chat"),
        requests_per_minute=60.0,  # Google's default quota for these models
        attempts=6,
    ),
    Backend(
        "gemini",
        tuner="tunepipe.backends.managed.gemini",
        predictor="tunepipe.backends.managed.gemini_prediction",
        asking=("temperature", "seed", "top_p", "thinking_level", "thinking_budget"),
        has_location=True,
    ),
    Backend(
        "open-model",
        tuner="tunepipe.backends.managed.open_model",
        predictor="tunepipe.backends.managed.open_model_prediction",
        asking=("temperature", "request_format"),
        has_location=True,
    ),
    Backend(
        "local",
        tuner="tunepipe.backends.local.backend",
        predictor="tunepipe.backends.local.backend",
        asking=("batch_size", "engine", "device", "precision", "four_bit", "threads"),
        in_cloud=False,
        workers=0,
        attempts=5,
    ),
)
BACKENDS: dict[str, Backend] = {backend.name: backend for backend in _ALL}


def find_backend(name: str) -> Backend:
    """Look a backend up.

    Raises:
        UsageError: The name is unknown; names those that are close.
    """
    if name not in BACKENDS:
        raise UsageError(
            f"unknown backend {name!r}", where="backend", fix=hint(name, tuple(BACKENDS))
        )
    return BACKENDS[name]
