"""How many n-grams two texts share, for a whole file at once and exactly.

Every n-gram becomes one 64-bit number (its row, and the symbols packed side by side), so counting
is sorting. When the symbols of a longer n-gram no longer fit, the shorter ones are ranked first:
no hashing, so no collision.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

_BLOCK_SYMBOLS = 300_000
_KEY_BITS = 63


@dataclass(frozen=True)
class Overlap:
    """N-gram counts in each row (lines) for each order (columns, from 1 up).

    Args:
        predicted: How many n-grams the prediction has.
        wanted: How many the reference has.
        shared: How many they share, each counted as often as it stands in both.
    """

    predicted: Ints
    wanted: Ints
    shared: Ints


def overlap(predictions: Sequence[Ints], references: Sequence[Ints], *, max_order: int) -> Overlap:
    """Count the n-grams of each pair of sequences.

    Args:
        predictions: Each row's symbols as numbers, 0 and up; see `symbols`.
        references: The same rows' references.
        max_order: The longest n-gram, >= 1.
    """
    lengths = _lengths(predictions), _lengths(references)
    predicted, wanted = (
        np.maximum(length[:, None] - np.arange(max_order), 0) for length in lengths
    )
    shared = np.zeros((len(predictions), max_order), dtype=np.int64)
    for start, end in _blocks(lengths[0] + lengths[1]):
        shared[start:end] = _shared(predictions[start:end], references[start:end], max_order)
    return Overlap(predicted, wanted, shared)


def _lengths(sequences: Sequence[Ints]) -> Ints:
    return np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))


def _blocks(sizes: Ints) -> Iterator[tuple[int, int]]:
    """Runs of rows that together hold about so many symbols that sorting stays in the cache."""
    start, held = 0, 0
    for row, size in enumerate(sizes.tolist()):
        held += size
        if held >= _BLOCK_SYMBOLS:
            yield start, row + 1
            start, held = row + 1, 0
    if start < len(sizes):
        yield start, len(sizes)


def _shared(predictions: Sequence[Ints], references: Sequence[Ints], max_order: int) -> Ints:
    rows = len(predictions)
    sequences = [*predictions, *references]
    lengths = _lengths(sequences)
    _, single = np.unique(np.concatenate(sequences), return_inverse=True)
    owner = np.repeat(np.arange(2 * rows), lengths)
    left = np.repeat(lengths.cumsum(), lengths) - np.arange(len(single))
    result = np.zeros((rows, max_order), dtype=np.int64)
    grams, bits, single_bits = single, _bits(single), _bits(single)
    spare = _KEY_BITS - 1 - max(rows - 1, 1).bit_length()
    for order in range(1, max_order + 1):
        if order > 1:
            if bits + single_bits > spare:
                _, grams = np.unique(grams, return_inverse=True)
                bits = _bits(grams)
            grams = (grams[:-1] << single_bits) | single[order - 1 :]
            bits += single_bits
        here = left[: len(grams)] >= order
        if not here.any():
            break
        side, row = np.divmod(owner[: len(grams)][here], rows)
        keys = (((row << bits) | grams[here]) << 1) | side
        keys.sort()
        result[:, order - 1] = _matches(keys, bits + 1, rows)
    return result


def _matches(keys: Ints, row_shift: int, rows: int) -> Ints:
    """From sorted keys whose last bit is the side: what both sides hold, row by row."""
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    counts = np.diff(starts, append=len(keys))
    distinct = keys[starts]
    # The same n-gram of the same row on side 0 and on side 1 are neighbours now.
    pairs = np.flatnonzero(distinct[1:] ^ distinct[:-1] == 1)
    pairs = pairs[distinct[pairs] & 1 == 0]
    both = np.minimum(counts[pairs], counts[pairs + 1])
    sums = np.bincount(distinct[pairs] >> row_shift, weights=both, minlength=rows)
    return sums.astype(np.int64)


def _bits(symbols: Ints) -> int:
    return max(int(symbols.max(initial=0)), 1).bit_length()


def characters(text: str) -> Ints:
    """A text's code points, white space left out."""
    packed = "".join(text.split()).encode("utf-32-le", "surrogatepass")
    return np.frombuffer(packed, dtype=np.int32).astype(np.int64)


class Vocabulary(dict[str, int]):
    """Numbers tokens in the order in which they first come."""

    def __missing__(self, token: str) -> int:
        self[token] = number = len(self)
        return number

    def symbols(self, tokens: Sequence[str]) -> Ints:
        """The tokens' numbers."""
        return np.array([self[token] for token in tokens], dtype=np.int64)
