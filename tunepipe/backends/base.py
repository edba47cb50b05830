"""The interface of every backend: one request, one result, three functions.

A backend is a module of this folder with `tune`, `predict` and `cancel`. The pipeline, the
report and the gate know nothing else of it, so swapping the backend changes one word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol, cast

from tunepipe.catalog.backends import find_backend
from tunepipe.catalog.catalog import Catalog, load_catalog
from tunepipe.errors import UsageError
from tunepipe.progress import Progress


@dataclass(frozen=True)
class TuningRequest:
    """A tuning request: rows, model and options.

    Args:
        base_model: A model's name, a folder in Hugging Face layout, or "" for the tiny model
            that the local backend trains from scratch.
        train_uri: The training rows: a path or a gs:// URI.
        eval_uri: The held-out rows, or "".
        train_steps: Optimizer steps, >= 1.
        batch_size: Examples a step, >= 1.
        learning_rate_multiplier: Times the recommended rate; 1.0 is recommended.
        project: Google Cloud project; "" locally.
        region: Where everything runs; "" locally.
        labels: Labels for the remote job, including the one that finds the job again.
        options: What one backend alone understands, such as {"lora_rank": 16}.
    """

    base_model: str
    train_uri: str
    eval_uri: str
    train_steps: int
    batch_size: int
    learning_rate_multiplier: float = 1.0
    seed: int = 0
    project: str = ""
    region: str = ""
    display_name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    catalog: Catalog = field(default_factory=load_catalog)


@dataclass(frozen=True)
class TuningResult:
    """The result of a tuning.

    Args:
        model: A folder, or the resource name of the tuned model.
        endpoint: The resource name of its endpoint, or "" if there is none.
        statistics: Plain numbers and short texts for the report: steps done, losses, tokens.
        cost_usd: What it cost, as far as the backend can say; None if it cannot.
        base: The model before tuning, as `predict` takes it; "" if none can be asked.
    """

    model: str
    endpoint: str = ""
    statistics: Mapping[str, Any] = field(default_factory=dict)
    cost_usd: float | None = None
    base: str = ""


@dataclass(frozen=True)
class Prompt:
    """One question to a model.

    Args:
        id: The row's identity; the answer comes back under it.
        messages: The conversation so far, as {"role", "content"} with the roles system, user
            and assistant; the last is the user's.
        fields: The row as decoded, with files, tools and the answer that is wanted; {} if the
            messages are all there is.
    """

    id: str
    messages: Sequence[Mapping[str, str]]
    fields: Mapping[str, Any] = field(default_factory=dict)
    format: str = ""


@dataclass(frozen=True)
class Answer:
    """A model's answer; `text` is None if the model gave none.

    Function calls are lines of the text, as `data.parts` writes them. What the answer
    took is None if it is not known: `seconds` of one request, tokens read and written.
    """

    id: str
    text: str | None
    error: str = ""
    seconds: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class Tuner(Protocol):
    """The shape of a module that tunes."""

    def tune(self, request: TuningRequest, output_dir: str, progress: Progress) -> TuningResult:
        """Tune, resuming what an earlier, killed call began.

        Args:
            request: Its `options` are those of the backend.
            output_dir: Where the model goes, or, for a tuning in the cloud, `gcp_resources`, which
                names the job and is kept between two attempts.
            progress: Receives each change of the job, and its steps.

        Raises:
            UsageError, LimitError: What could not run; no job is started.
            DataError: The rows do not fit the model, or the training failed or did not help.
            CloudError: Google refused, or the job failed.
        """

    def cancel(self, job: str) -> None:
        """Stop a remote job; a backend that runs locally has nothing to stop."""


class RemoteTuner(Tuner, Protocol):
    """The shape of a module that tunes in the cloud."""

    def check_request(self, request: TuningRequest, row_format: str = "") -> object:
        """Refuse what the service would refuse, before there are rows to tune on.

        Raises:
            UsageError, LimitError: The first of what it would refuse.
        """


class Predictor(Protocol):
    """The shape of a module that asks a model; it never imports what tunes one."""

    def predict(self, model: str, prompts: Sequence[Prompt], **settings: Any) -> Iterator[Answer]:
        """Answer every prompt, in any order; `text` is None where the model blocked or refused it.

        A UsageError where a setting or the model is wrong, a CloudError where it cannot be asked.
        """


def load_remote_tuner(backend: str) -> RemoteTuner:
    """Import the module that tunes in the cloud; a UsageError where the backend has none."""
    row = find_backend(backend)
    if not row.in_cloud:
        raise UsageError(
            "this backend does not tune on Vertex AI", where="backend", fix="run it here or on KFP"
        )
    return cast(RemoteTuner, import_module(row.tuner))


def load_predictor(backend: str) -> Predictor:
    """Import the module that asks a backend's models; a UsageError if the backend is unknown."""
    return cast(Predictor, import_module(find_backend(backend).predictor))
