"""One training on this machine: what each of its processes is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

from tunepipe.backends.base import TuningRequest
from tunepipe.backends.local.options import LocalOptions
from tunepipe.data.conversations import Example
from tunepipe.data.rows import read_examples
from tunepipe.errors import DataError

SAMPLE_ROWS = 64  # that represent the training set if none are held out
_EVALUATIONS = 10


@dataclass(frozen=True)
class TrainingTask:
    """One training.

    Args:
        identity: A digest of all that decides the weights; it names the checkpoints.
        device: "cpu", "cuda" or "cuda:N".
        processes: How many train together, on all machines.
    """

    request: TuningRequest
    options: LocalOptions
    folder: str
    identity: str
    device: str = "cpu"
    processes: int = 1

    @property
    def checkpoints(self) -> Path:
        """The file or folder of the checkpoints of this training alone."""
        return (
            Path(self.options.checkpoint_dir or self.folder) / f"checkpoints-{self.identity[:16]}"
        )

    def settle(self, rate: float) -> LocalOptions:
        """Return the options with learning rate and intervals settled; `rate` is recommended."""
        every = max(1, self.request.train_steps // _EVALUATIONS)
        chosen = self.options.learning_rate or rate
        return structs.replace(
            self.options,
            learning_rate=chosen * self.request.learning_rate_multiplier,
            evaluate_every=self.options.evaluate_every or every,
            checkpoint_every=self.options.checkpoint_every or every,
        )

    def read_rows(self) -> tuple[list[Example], list[Example]]:
        """Read the rows to learn from, and those that are held out."""
        uris = (self.request.train_uri, self.request.eval_uri)
        examples, held_out = (list(read_examples(uri)) if uri else [] for uri in uris)
        if not examples:
            raise DataError(
                "there is no row to learn from", where=uris[0], fix="name a file with training rows"
            )
        return examples, held_out
