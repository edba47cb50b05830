"""The loss of a language model over weighted tokens."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch

from tunepipe.backends.local.batches import Layout, Row, micro_batches, packed, padded
from tunepipe.backends.local.options import computing_in
from tunepipe.backends.local.processes import Crew
from tunepipe.errors import UsageError

# Of the largest logit. Kept apart, rows change nothing but where experts sum in another order;
# what was seen of others, even untrained, is 40 times as much.
_TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 1e-3}


def summed_loss(model: Any, rows: Sequence[Row], layout: Layout) -> torch.Tensor:
    """Return the sum of the weighted losses of the rows' tokens, in nats."""
    inputs, weights = packed(rows) if layout.line else padded(rows, layout.pad)
    # The vocabulary is wide: no logits before the first token that counts.
    first = int(weights.any(dim=0).nonzero()[0])
    kept = weights.shape[1] - first
    inputs = {name: tensor.to(model.device) for name, tensor in inputs.items()}
    with computing_in(layout.dtype, model.device):
        logits = model(**inputs, use_cache=False, **_keeping(model, kept + 1)).logits
    losses = torch.nn.functional.cross_entropy(
        logits[:, -kept - 1 : -1].flatten(0, 1).float(),
        inputs["input_ids"][:, -kept:].flatten(),
        reduction="none",
    )
    return (losses * weights[:, -kept:].flatten().to(model.device)).sum()


def require_apart(model: Any, row: Row, layout: Layout) -> None:
    """Refuse packing where what a model says of a row hangs on the row before it.

    Some take no notice of positions that begin anew: those with convolutions or states, and some
    of attention alone (gpt-oss, OPT, Bloom in transformers 5.23).

    Raises:
        UsageError: The model is such a one.
    """
    vocabulary = model.config.get_text_config().vocab_size
    other = Row([(token + 1) % vocabulary for token in row.ids], row.weights)
    one, two = (_logits(model, [first, row], layout)[-len(row.ids) :] for first in (row, other))
    if float((one - two).abs().max() / one.abs().max()) > _TOLERANCES[layout.dtype]:
        raise UsageError(
            "the model cannot tell packed rows apart: one changes what it says of the next",
            where="packing",
            fix="leave it out, or take another base model",
        )


def _logits(model: Any, rows: Sequence[Row], layout: Layout) -> torch.Tensor:
    model.eval()
    inputs, _ = packed(rows)
    inputs = {name: tensor.to(model.device) for name, tensor in inputs.items()}
    with torch.no_grad(), computing_in(layout.dtype, model.device):
        logits: torch.Tensor = model(**inputs, use_cache=False).logits[0].float()
    return logits


def evaluation_loss(model: Any, rows: Sequence[Row], layout: Layout, crew: Crew) -> float:
    """Return the mean loss of the rows' answers, in nats a token."""
    model.eval()
    total = weight = 0.0
    ordered = sorted(rows, key=lambda row: len(row.ids))
    with torch.no_grad():
        for part in crew.share(micro_batches(ordered, layout)):
            answers = [Row(row.ids, [float(w == 1) for w in row.weights]) for row in part]
            total += float(summed_loss(model, answers, layout))
            weight += sum(sum(row.weights) for row in answers)
    model.train()
    sums = crew.add_up(torch.tensor([total, weight], dtype=torch.float64, device=crew.device))
    return float(sums[0] / sums[1])


def _keeping(model: Any, positions: int) -> dict[str, int]:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    knows = "logits_to_keep" in inspect.signature(base.forward).parameters
    return {"logits_to_keep": positions} if knows else {}
