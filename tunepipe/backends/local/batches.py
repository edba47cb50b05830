"""Rows as tokens with weights, and the order in which training reads them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tunepipe.backends.chat_template import completion_ids, prompt_ids
from tunepipe.errors import DataError

# Batches of like length are cut from windows of this many batches: enough to save the padding,
# few enough that a batch is still a mixture.
_BATCHES_A_WINDOW = 8


@dataclass(frozen=True)
class Row:
    """One training row.

    Args:
        ids: The tokens of prompt and completion.
        weights: How much the prediction of each token counts in the loss; the first one's is 0.
    """

    ids: list[int]
    weights: list[float]


@dataclass(frozen=True)
class Layout:
    """How the rows of a step pass through the model.

    Args:
        rows: Rows at once, >= 1; gradients add up over the step.
        line: 0 to pad short rows; else rows are laid one after the other, on lines of at most this
            many tokens (a longer row has a line of its own).
        pad: The token that fills short rows.
        dtype: The type in which the model computes.
    """

    rows: int
    line: int
    pad: int
    dtype: torch.dtype = torch.float32


def encode(
    tokenizer: Any, examples: Iterable[Any], *, prompt_weight: float, max_tokens: int
) -> list[Row]:
    """Turn examples into rows.

    Args:
        tokenizer: A transformers tokenizer.
        examples: `core.formats.Example`s.
        prompt_weight: The weight of a prompt's token, 0..1; a completion's is 1.
        max_tokens: The most tokens a row may have.

    Raises:
        DataError: A row is longer than `max_tokens`. Nothing is cut or dropped in silence.
    """
    rows = [_encode(tokenizer, example, prompt_weight) for example in examples]
    lengths = [len(row.ids) for row in rows]
    too_long = sum(length > max_tokens for length in lengths)
    if too_long:
        raise DataError(
            f"{too_long} of {len(rows)} rows have more than {max_tokens} tokens, the longest "
            f"{max(lengths)}",
            where="max_tokens",
            fix="shorten those rows, or raise the option max_tokens if the model can read more",
        )
    return rows


def _encode(tokenizer: Any, example: Any, prompt_weight: float) -> Row:
    prompt = prompt_ids(tokenizer, example.messages)
    completion = completion_ids(tokenizer, example.messages, example.reference)
    weights = [prompt_weight] * len(prompt) + [1.0] * len(completion)
    weights[0] = 0.0
    return Row(prompt + completion, weights)


def batches(lengths: Sequence[int], batch_size: int, seed: int) -> Iterator[list[int]]:
    """Yield batches of row numbers for ever, epoch after epoch, each row once an epoch.

    The batches of one epoch depend on nothing but the arguments and its number, so a run that goes
    on from step N reads what an unbroken one would have read.

    Args:
        lengths: Each row's tokens. Rows of like length share a batch, which saves padding.
        batch_size: Rows a batch; the last of an epoch may have fewer.
        seed: Seeds the order.
    """
    epoch = 0
    while True:
        yield from _one_epoch(lengths, batch_size, random.Random(f"{seed} {epoch}"))  # noqa: S311
        epoch += 1


def _one_epoch(lengths: Sequence[int], batch_size: int, pick: random.Random) -> list[list[int]]:
    order = list(range(len(lengths)))
    pick.shuffle(order)
    window = batch_size * _BATCHES_A_WINDOW
    for start in range(0, len(order), window):
        order[start : start + window] = sorted(
            order[start : start + window], key=lambda row: lengths[row]
        )
    cut = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    pick.shuffle(cut)
    return cut


def micro_batches(rows: Sequence[Row], layout: Layout) -> list[list[Row]]:
    """Divide a step's rows into what passes through the model at once."""
    if not layout.line:
        return [
            list(rows[start : start + layout.rows]) for start in range(0, len(rows), layout.rows)
        ]
    lines: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: -len(row.ids)):
        room = (line for line in lines if _tokens(line) + len(row.ids) <= layout.line)
        line = next(room, None)
        if line is None:
            lines.append([row])
        else:
            line.append(row)
    return lines


def _tokens(rows: Sequence[Row]) -> int:
    return sum(len(row.ids) for row in rows)


def padded(rows: Sequence[Row], pad: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Return the model's inputs, one line a row, padded on the right, and the weights."""
    width = max(len(row.ids) for row in rows)
    ids = [row.ids + [pad] * (width - len(row.ids)) for row in rows]
    mask = [[1] * len(row.ids) + [0] * (width - len(row.ids)) for row in rows]
    weights = [row.weights + [0.0] * (width - len(row.ids)) for row in rows]
    inputs = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
    return inputs, torch.tensor(weights)


def packed(rows: Sequence[Row]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Return the rows on one line without padding, and the weights.

    The positions begin anew with each row; from that the models of transformers see where a row
    ends, and no row attends to another (masking_utils.find_packed_sequence_indices).
    """
    ids = [token for row in rows for token in row.ids]
    positions = [position for row in rows for position in range(len(row.ids))]
    weights = [weight for row in rows for weight in row.weights]
    inputs = {"input_ids": torch.tensor([ids]), "position_ids": torch.tensor([positions])}
    return inputs, torch.tensor([weights])
