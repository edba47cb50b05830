"""One training on this machine: what each of its processes is given, and what it measures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from msgspec import structs

from tunepipe.backends.base import TuningRequest
from tunepipe.backends.local.options import LocalOptions
from tunepipe.data.conversations import Example
from tunepipe.data.rows import read_examples
from tunepipe.errors import DataError, plural

MAX_TOKENS = 4096  # of a row, unless the option says otherwise
BASE = "base"  # the folder of the tiny model before training
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
        folder = Path(self.options.checkpoint_dir or self.folder)
        return folder / f"checkpoints-{self.identity[:16]}"

    def settle(self, rate: float) -> LocalOptions:
        """Return the options with learning rate and intervals settled; `rate` is recommended."""
        options, every = self.options, max(1, self.request.train_steps // _EVALUATIONS)
        return structs.replace(
            options,
            learning_rate=(options.learning_rate or rate) * self.request.learning_rate_multiplier,
            evaluate_every=options.evaluate_every or every,
            checkpoint_every=options.checkpoint_every or every,
        )

    def read_rows(self) -> tuple[list[Example], list[Example]]:
        """Read the rows to learn from, and those that are held out."""
        uris = (self.request.train_uri, self.request.eval_uri)
        examples, held_out = (list(read_examples(uri)) if uri else [] for uri in uris)
        if not examples:
            raise DataError(
                "there is no row to learn from", where=uris[0], fix="name a file with training rows"
            )
        ends = (row.fields["messages"][-1] for row in examples if row.format == "messages")
        if unlearnt := sum(turn.get("weight") == 0 for turn in ends):
            raise DataError(
                f"the last answer, which is learnt, has the weight 0 in {plural(unlearnt, 'row')}",
                where=uris[0],
                fix="remove those rows, or end each with an answer to learn",
            )
        return examples, held_out


@dataclass(frozen=True)
class TrainingOutcome:
    """The measurements of a training.

    Args:
        loss_curve: [step, training loss or None, evaluation loss or None], by step; step 0 is
            the model before training. Losses are means over the answers' tokens, in nats.
        train_steps: Optimizer steps done, those of earlier attempts included.
        resumed_from_step: The step of the checkpoint that this attempt began with; 0 for none.
        tokens: Tokens of the rows that were read, without padding.
        seconds: Training time, that of earlier attempts included.
        keeps_best: Whether the weights are those of the best evaluation instead of the last.
    """

    loss_curve: Sequence[Sequence[float | None]]
    train_steps: int
    resumed_from_step: int
    tokens: int
    seconds: float
    keeps_best: bool = False

    def statistics(self) -> dict[str, Any]:
        """Return what the report shows; a DataError unless the loss fell below the untrained."""
        evaluated = [(row[0], row[2]) for row in self.loss_curve if row[2] is not None]
        untrained = evaluated[0][1]
        best_step, best = min(evaluated[1:], key=lambda pair: pair[1] or math.inf)
        final = best if self.keeps_best else evaluated[-1][1]
        if not (untrained and final is not None and final < untrained):
            raise DataError(
                f"training did not help: the loss was {untrained:.4g} before and is {final:.4g} "
                f"after {plural(self.train_steps, 'step')}",
                where="train_steps",
                fix="train for more steps, with another learning_rate_multiplier, or on more rows",
            )
        measured = asdict(self)
        del measured["keeps_best"]
        return measured | {
            "seconds": round(self.seconds, 2),
            "tokens_per_second": round(self.tokens / max(self.seconds, 1e-9)),
            "untrained_loss": untrained,
            "final_loss": final,
            "best_step": best_step,
        }


def require_number(loss: float, step: int) -> float:
    """Return a loss, and refuse one that is not a number."""
    if math.isfinite(loss):
        return loss
    if not step:
        raise DataError(
            "the loss before training is not a number",
            where="base_model",
            fix="take another: its weights hold infinite values, or need another precision",
        )
    raise DataError(
        f"the training loss is not a number at step {step}",
        where="learning_rate_multiplier",
        fix="lower it, to 0.3 for a start",
    )
