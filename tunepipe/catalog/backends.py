"""The one table of backends: who tunes, who is asked, where, and how fast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from tunepipe.arguments import hint
from tunepipe.errors import UsageError

BackendName = Literal["large-model", "gemini", "open-model", "custom", "local"]
# The fields of RequestPacing that a user may set; their ranges are `evaluation.settings.Asking`'s.
PACING_OPTIONS = ("workers", "requests_per_minute", "attempts")


@dataclass(frozen=True)
class RequestPacing:
    """The request rate for a remote model.

    Without workers all rows are handed to the backend at once, which suits a local model. The limit
    a minute, 0 for none, is over all workers, retries included. `first_pause_seconds` is the
    longest pause after the first failure; it doubles up to a minute, but a longer one that the
    service asks for (Retry-After) is kept.
    """

    workers: int = 0
    requests_per_minute: float = 0.0
    attempts: int = 5
    first_pause_seconds: float = 1.0

    def with_options(self, options: Mapping[str, Any]) -> RequestPacing:
        """Return this pacing with the values that the options set; KFP writes 8 as 8.0."""
        names = [name for name in PACING_OPTIONS if name in options]
        return replace(self, **{name: type(getattr(self, name))(options[name]) for name in names})


@dataclass(frozen=True)
class Backend:
    """One way to tune a model and to ask it.

    Args:
        tuner: The module that tunes (`backends.base.Tuner`); `predictor` is the one that asks.
        asking: The settings that its `predict` takes besides max_output_tokens.
        in_cloud: Whether it needs a project and a region.
        needs_endpoint: Whether a model answers only where an endpoint serves it.
        has_location: Whether the option `location` moves the tuning job out of the run's region.
        pacing: How fast its models are asked unless the user says otherwise.
    """

    name: BackendName
    tuner: str
    predictor: str
    asking: tuple[str, ...]
    in_cloud: bool = True
    needs_endpoint: bool = False
    has_location: bool = False
    pacing: RequestPacing = RequestPacing(workers=8, attempts=8)

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
        # Google's default quota for these models is 60 a minute.
        pacing=RequestPacing(workers=8, requests_per_minute=60.0, attempts=6),
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
        needs_endpoint=True,
        has_location=True,
    ),
    Backend(
        "custom",
        tuner="tunepipe.backends.custom.tuning",
        predictor="tunepipe.backends.custom.prediction",
        asking=("batch_size", "engine", "precision", "four_bit"),
        pacing=RequestPacing(),  # all rows in one job
    ),
    Backend(
        "local",
        tuner="tunepipe.backends.local.backend",
        predictor="tunepipe.backends.local.backend",
        asking=("batch_size", "engine", "device", "precision", "four_bit", "threads"),
        in_cloud=False,
        pacing=RequestPacing(),
    ),
)
BACKENDS: dict[str, Backend] = {backend.name: backend for backend in _ALL}


def find_backend(name: str) -> Backend:
    """Look a backend up; an unknown name is refused with those that are close."""
    if name not in BACKENDS:
        raise UsageError(
            f"unknown backend {name!r}", where="backend", fix=hint(name, tuple(BACKENDS))
        )
    return BACKENDS[name]
