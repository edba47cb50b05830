"""Training rows as tokens, and their order in training."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from tunepipe.backends.chat_template import completion_ids, prompt_ids
from tunepipe.errors import DataError, plural

# Batches of like length are cut from windows of this many batches: enough to save the padding,
# few enough that a batch is still a mixture.
_BATCHES_A_WINDOW = 8


@dataclass(frozen=True)
class TokenRow:
    """One training row, as tokens.

    Args:
        prompt: The conversation so far, with the opening of an answer.
        completion: The answer wanted, and the mark of its end.
        rejected: The answer that a preference row turns down; empty in other rows.
    """

    prompt: list[int]
    completion: list[int]
    rejected: list[int]

    def __len__(self) -> int:
        """Return the tokens of the prompt and the longer answer."""
        return len(self.prompt) + max(len(self.completion), len(self.rejected))


def encode(tokenizer: Any, examples: Iterable[Any], max_tokens: int) -> list[TokenRow]:
    """Turn `data.conversations.Example`s into rows; a DataError where one has too many tokens.

    Nothing is cut or dropped.
    """
    rows = [
        TokenRow(
            prompt_ids(tokenizer, example.messages),
            *(
                completion_ids(tokenizer, example.messages, answer) if answer else []
                for answer in (example.reference, example.rejected)
            ),
        )
        for example in examples
    ]
    too_long = sum(len(row) > max_tokens for row in rows)
    if too_long:
        raise DataError(
            f"{too_long} of {plural(len(rows), 'row')} with more than {max_tokens} tokens, "
            f"the longest {max(map(len, rows))}",
            where="max_tokens",
            fix="shorten those rows, or raise the option max_tokens if the model can read more",
        )
    return rows


def batches(
    lengths: Sequence[int], batch_size: int, seed: int, *, alike: bool = True
) -> Iterator[list[int]]:
    """Yield batches of row numbers without end, epoch after epoch, each row once an epoch.

    The batches of an epoch depend on the arguments and its number alone, so a run that goes on from
    step N reads what an unbroken one would have read.

    Args:
        lengths: The tokens of each row.
        batch_size: Rows a batch; the last of an epoch may have fewer.
        alike: Whether rows of like length share a batch, which saves padding.
    """
    epoch = 0
    while True:
        order = list(range(len(lengths)))
        pick = random.Random(f"{seed} {epoch}")  # noqa: S311
        pick.shuffle(order)
        if alike:
            window = batch_size * _BATCHES_A_WINDOW
            for start in range(0, len(order), window):
                part = sorted(order[start : start + window], key=lambda row: lengths[row])
                order[start : start + window] = part
        cut = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        pick.shuffle(cut)
        yield from cut
        epoch += 1


def reading_order(
    lengths: Sequence[int], batch_size: int, steps: int, seed: int, *, alike: bool
) -> list[int]:
    """Return the row numbers of a whole training, `batch_size` a step; see `batches`."""
    order = (row for batch in batches(lengths, batch_size, seed, alike=alike) for row in batch)
    return list(islice(order, batch_size * steps))
