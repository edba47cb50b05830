"""Metrics of free text: exact match, token F1, ROUGE, BLEU, chrF and edit similarity.

ROUGE agrees with rouge-score without stemming on ASCII text; BLEU and chrF agree with sacrebleu.
All of them are 0..1 here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from tunepipe.evaluation.intervals import Floats
from tunepipe.evaluation.metric import Ints, Metric, mean, share
from tunepipe.evaluation.normalization import normalized, spaced, tokens

_BLOCK_SYMBOLS = 300_000
_BLOCK_ROWS = 5_000
_KEYS_MAX = 2**62  # of n-grams in rows, as their numbers fit an integer of 64 bits


class Overlap(NamedTuple):
    """N-gram counts of rows (lines) by order from 1 up (columns); `shared` as often as in both."""

    predicted: Ints
    expected: Ints
    shared: Ints


def overlap(predictions: Sequence[Ints], references: Sequence[Ints], *, max_order: int) -> Overlap:
    """Count the n-grams, up to the longest, of each pair of sequences of symbols, 0 and up."""
    lengths = _lengths(predictions), _lengths(references)
    predicted, expected = (
        np.maximum(length[:, None] - np.arange(max_order), 0) for length in lengths
    )
    shared = np.zeros((len(predictions), max_order), dtype=np.int64)
    # In runs of rows that are small enough, in symbols, for sorting to stay in the cache.
    symbols = lengths[0] + lengths[1]
    block = (symbols.cumsum() - symbols) // _BLOCK_SYMBOLS
    for start, end in pairwise([*np.flatnonzero(np.diff(block, prepend=-1)), len(block)]):
        shared[start:end] = _shared(predictions[start:end], references[start:end], max_order)
    return Overlap(predicted, expected, shared)


def _lengths(sequences: Sequence[Ints]) -> Ints:
    return np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))


def _shared(predictions: Sequence[Ints], references: Sequence[Ints], max_order: int) -> Ints:
    rows = len(predictions)
    sequences = [*predictions, *references]
    lengths = _lengths(sequences)
    owner = np.repeat(np.arange(2 * rows), lengths)
    left = np.repeat(lengths.cumsum(), lengths) - np.arange(len(owner))
    symbols, single = np.unique(np.concatenate(sequences), return_inverse=True)
    grams, kinds, result = single, len(symbols), np.zeros((rows, max_order), dtype=np.int64)
    for order in range(1, max_order + 1):
        if order > 1:
            if rows * kinds * len(symbols) > _KEYS_MAX:
                distinct, grams = np.unique(grams, return_inverse=True)
                kinds = len(distinct)
            # An n-gram is the number of the one before it, and its last symbol.
            grams, kinds = grams[:-1] * len(symbols) + single[order - 1 :], kinds * len(symbols)
        inside = left[: len(grams)] >= order
        if not inside.any():
            break
        # How often each text has each n-gram; both texts of a row share the lesser number.
        side, row = np.divmod(owner[: len(grams)], rows)
        keys = row * kinds + grams
        (ours, our_counts), (theirs, their_counts) = (
            np.unique(keys[inside & (side == number)], return_counts=True) for number in (0, 1)
        )
        both, here, there = np.intersect1d(ours, theirs, assume_unique=True, return_indices=True)
        lesser = np.minimum(our_counts[here], their_counts[there])
        result[:, order - 1] = np.bincount(both // kinds, lesser, rows)
    return result


def characters(text: str) -> Ints:
    """A text's code points, white space left out."""
    packed = "".join(text.split()).encode("utf-32-le", "surrogatepass")
    return np.frombuffer(packed, dtype=np.int32).astype(np.int64)


class Vocabulary(dict[str, int]):
    """Numbers tokens by their first occurrence."""

    def __missing__(self, token: str) -> int:
        self[token] = number = len(self)
        return number

    def symbols(self, tokens: Sequence[str]) -> Ints:
        """The tokens' numbers."""
        return np.array([self[token] for token in tokens], dtype=np.int64)


_BLEU_ORDER, _CHRF_ORDER, _CHRF_BETA = 4, 6, 2


def measure(
    predictions: Sequence[str], references: Sequence[str], *, paired_only: bool = False
) -> list[Metric]:
    """Measure all text metrics of the rows; see `metric.Measure`."""
    pairs = list(zip(predictions, references, strict=True))
    exact = share("exact_match", [answer == expected for answer, expected in pairs])
    if paired_only:
        return [exact]
    from rapidfuzz.distance import Levenshtein

    by_row = _by_blocks(_token_scores, predictions, references).T
    token_names = ("token_f1", "rouge_1", "rouge_2", "rouge_l")
    bleu_counts = _by_blocks(bleu_statistics, predictions, references)
    chrf_counts = _by_blocks(chrf_statistics, predictions, references)
    return [
        exact,
        share("exact_match_normalized", [normalized(a) == normalized(b) for a, b in pairs]),
        *(mean(name, scores) for name, scores in zip(token_names, by_row, strict=True)),
        Metric("bleu", bleu_counts, bleu, earned=(1, 5)),
        Metric("chrf", chrf_counts, chrf, earned=(0, 6)),
        # One less the edit distance by the longer text's length; 1 if both are empty.
        mean("edit_similarity", [Levenshtein.normalized_similarity(*pair) for pair in pairs]),
    ]


def _by_blocks(
    statistics: Callable[[Sequence[str], Sequence[str]], Floats],
    predictions: Sequence[str],
    references: Sequence[str],
) -> Floats:
    """Count some thousand rows at a time: their tokens as numbers take more room than the texts."""
    starts = range(0, len(predictions), _BLOCK_ROWS)
    blocks = [slice(start, start + _BLOCK_ROWS) for start in starts]
    return np.concatenate([statistics(predictions[rows], references[rows]) for rows in blocks])


def _token_scores(predictions: Sequence[str], references: Sequence[str]) -> Floats:
    from rapidfuzz.distance import LCSseq

    vocabulary = Vocabulary()
    ours = [vocabulary.symbols(tokens(text)) for text in predictions]
    expected = [vocabulary.symbols(tokens(text)) for text in references]
    counts = overlap(ours, expected, max_order=2)
    rouge_1, rouge_2 = f_scores(counts.shared, counts.predicted, counts.expected).T
    both_empty = (counts.predicted[:, 0] == 0) & (counts.expected[:, 0] == 0)
    common = np.array(
        [LCSseq.similarity(a.tolist(), b.tolist()) for a, b in zip(ours, expected, strict=True)]
    )
    rouge_l = f_scores(common, counts.predicted[:, 0], counts.expected[:, 0])
    return np.column_stack([np.where(both_empty, 1.0, rouge_1), rouge_1, rouge_2, rouge_l])


def f_scores(shared: Ints, predicted: Ints, expected: Ints) -> Floats:
    """The harmonic mean of precision and recall, 2 shared / (predicted + expected), or 0."""
    scores: Floats = 2.0 * shared / np.maximum(predicted + expected, 1)
    return scores


def bleu_statistics(predictions: Sequence[str], references: Sequence[str]) -> Floats:
    """The reference's length, then the shared and the predicted n-grams of orders 1 to 4.

    The tokens are sacrebleu's `13a`, cut further into single characters if the script has no
    spaces; `13a` alone would take a Japanese sentence for one token.
    """
    words = _WordSymbols()
    counts = overlap(
        [words.of(text) for text in predictions],
        [words.of(text) for text in references],
        max_order=_BLEU_ORDER,
    )
    parts = [counts.expected[:, :1], counts.shared, counts.predicted]
    return np.concatenate(parts, axis=1).astype(np.float64)


class _WordSymbols(dict[str, list[int]]):
    """The numbers of a word's tokens, worked out once a word.

    `13a` looks at a character's neighbours, of which white space is as good as any, so cutting
    word by word gives what cutting the text does. Only a hyphen at a line's end joins words.
    """

    def __init__(self) -> None:
        from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

        self._cut, self._vocabulary = Tokenizer13a(), Vocabulary()

    def __missing__(self, word: str) -> list[int]:
        self[word] = [self._vocabulary[token] for token in spaced(self._cut(word)).split()]
        return self[word]

    def of(self, text: str) -> Ints:
        words = text.rstrip().replace("<skipped>", "").replace("-\n", "").split()
        return np.array([symbol for word in words for symbol in self[word]], dtype=np.int64)


def bleu(sums: Floats) -> Floats:
    """Corpus BLEU with exponential smoothing, 0..1, from summed `bleu_statistics`.

    Source: M. Post, A Call for Clarity in Reporting BLEU Scores, WMT 2018; the smoothing is method
        3 of B. Chen and C. Cherry, WMT 2014.
    """
    expected_length = sums[..., 0]
    shared = sums[..., 1 : 1 + _BLEU_ORDER]
    predicted = sums[..., 1 + _BLEU_ORDER :]
    unmatched = shared == 0
    halvings = 2.0 ** unmatched.cumsum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        precisions = np.where(unmatched, 1 / halvings, shared) / predicted
        brevity = np.exp(np.minimum(0.0, 1 - expected_length / predicted[..., 0]))
        score = brevity * np.exp(np.log(precisions).mean(axis=-1))
    defined = shared.any(axis=-1) & predicted.all(axis=-1)
    return np.where(defined, score, 0.0)


def chrf_statistics(predictions: Sequence[str], references: Sequence[str]) -> Floats:
    """The shared, predicted and expected character n-grams of orders 1 to 6."""
    ours = [characters(text) for text in predictions]
    expected = [characters(text) for text in references]
    counts = overlap(ours, expected, max_order=_CHRF_ORDER)
    # As sacrebleu does: n-grams longer than the reference do not count against the answer.
    predicted = np.where(counts.expected > 0, counts.predicted, 0)
    return np.concatenate([counts.shared, predicted, counts.expected], axis=1).astype(np.float64)


def chrf(sums: Floats) -> Floats:
    """Corpus chrF2, 0..1, from summed `chrf_statistics`.

    Source: M. Popovic, chrF: Character n-gram F-score for Automatic MT Evaluation, WMT 2015;
        orders that one side lacks are left out of the means, as in sacrebleu.
    """
    shared, predicted, expected = np.split(sums, 3, axis=-1)
    counted = predicted > 0  # then the references have n-grams of this order too
    orders = np.maximum(counted.sum(axis=-1), 1)
    precision = (np.where(counted, shared, 0) / np.maximum(predicted, 1)).sum(axis=-1) / orders
    recall = (np.where(counted, shared, 0) / np.maximum(expected, 1)).sum(axis=-1) / orders
    weight = _CHRF_BETA**2
    below = np.maximum(weight * precision + recall, np.finfo(float).tiny)
    score: Floats = (1 + weight) * precision * recall / below
    return score
