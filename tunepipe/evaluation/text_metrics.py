"""Metrics of free text: exact match, token F1, ROUGE, BLEU, chrF and edit similarity.

ROUGE agrees with rouge-score without stemming on ASCII text; BLEU and chrF agree with sacrebleu.
All of them are 0..1 here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tunepipe.evaluation.intervals import Floats
from tunepipe.evaluation.metric import Metric, mean, share
from tunepipe.evaluation.ngrams import Ints, Overlap, Vocabulary, characters, overlap
from tunepipe.evaluation.tokenization import normalized, spaced, tokens

PRIMARY, RIGHT = "rouge_l", "exact_match_normalized"
_BLEU_ORDER, _CHRF_ORDER, _CHRF_BETA = 4, 6, 2


def measure(predictions: Sequence[str], references: Sequence[str]) -> list[Metric]:
    """All text metrics of the rows, one or more.

    Args:
        predictions: The answers.
        references: What was wanted, in the same order.
    """
    pairs = list(zip(predictions, references, strict=True))
    return [
        share("exact_match", [ours == wanted for ours, wanted in pairs]),
        share("exact_match_normalized", [normalized(a) == normalized(b) for a, b in pairs]),
        *_token_metrics(predictions, references),
        Metric("bleu", bleu_statistics(predictions, references), bleu),
        Metric("chrf", chrf_statistics(predictions, references), chrf),
        mean("edit_similarity", edit_similarities(predictions, references)),
    ]


def _token_metrics(predictions: Sequence[str], references: Sequence[str]) -> list[Metric]:
    vocabulary = Vocabulary()
    ours = [vocabulary.symbols(tokens(text)) for text in predictions]
    wanted = [vocabulary.symbols(tokens(text)) for text in references]
    counts = overlap(ours, wanted, max_order=2)
    rouge_1, rouge_2 = f_scores(counts.shared, counts.predicted, counts.wanted).T
    both_empty = (counts.predicted[:, 0] == 0) & (counts.wanted[:, 0] == 0)
    common = common_lengths(ours, wanted)
    rouge_l = f_scores(common, counts.predicted[:, 0], counts.wanted[:, 0])
    return [
        mean("token_f1", np.where(both_empty, 1.0, rouge_1)),
        mean("rouge_1", rouge_1),
        mean("rouge_2", rouge_2),
        mean("rouge_l", rouge_l),
    ]


def f_scores(shared: Ints, predicted: Ints, wanted: Ints) -> Floats:
    """The harmonic mean of precision and recall; 0 where either side has nothing.

    2 PR / (P + R) with P = shared / predicted and R = shared / wanted is
    2 shared / (predicted + wanted).
    """
    scores: Floats = 2.0 * shared / np.maximum(predicted + wanted, 1)
    return scores


def common_lengths(ours: Sequence[Ints], wanted: Sequence[Ints]) -> Ints:
    """The length of the longest common subsequence of each pair."""
    from rapidfuzz.distance import LCSseq

    lengths = (
        LCSseq.similarity(left.tolist(), right.tolist())
        for left, right in zip(ours, wanted, strict=True)
    )
    return np.fromiter(lengths, dtype=np.int64, count=len(ours))


def edit_similarities(predictions: Sequence[str], references: Sequence[str]) -> list[float]:
    """One less the edit distance by the longer text's length; 1 where both are empty."""
    from rapidfuzz.distance import Levenshtein

    return [
        Levenshtein.normalized_similarity(ours, wanted)
        for ours, wanted in zip(predictions, references, strict=True)
    ]


def bleu_statistics(predictions: Sequence[str], references: Sequence[str]) -> Floats:
    """The reference's length, then the shared and the predicted n-grams of orders 1 to 4.

    The tokens are sacrebleu's `13a`, cut further into single characters where the script has no
    spaces; `13a` alone would take a Japanese sentence for one token.
    """
    words = _WordSymbols()
    counts = overlap(
        [words.of(text) for text in predictions],
        [words.of(text) for text in references],
        max_order=_BLEU_ORDER,
    )
    parts = [counts.wanted[:, :1], counts.shared, counts.predicted]
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
    wanted_length = sums[..., 0]
    shared = sums[..., 1 : 1 + _BLEU_ORDER]
    predicted = sums[..., 1 + _BLEU_ORDER :]
    unmatched = shared == 0
    halvings = 2.0 ** unmatched.cumsum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        precisions = np.where(unmatched, 1 / halvings, shared) / predicted
        brevity = np.exp(np.minimum(0.0, 1 - wanted_length / predicted[..., 0]))
        score = brevity * np.exp(np.log(precisions).mean(axis=-1))
    defined = shared.any(axis=-1) & predicted.all(axis=-1)
    return np.where(defined, score, 0.0)


def chrf_statistics(predictions: Sequence[str], references: Sequence[str]) -> Floats:
    """The shared, predicted and wanted character n-grams of orders 1 to 6."""
    ours = [characters(text) for text in predictions]
    wanted = [characters(text) for text in references]
    counts = _where_wanted(overlap(ours, wanted, max_order=_CHRF_ORDER))
    parts = [counts.shared, counts.predicted, counts.wanted]
    return np.concatenate(parts, axis=1).astype(np.float64)


def _where_wanted(counts: Overlap) -> Overlap:
    """As sacrebleu does: n-grams longer than the reference do not count against the answer."""
    predicted = np.where(counts.wanted > 0, counts.predicted, 0)
    return Overlap(predicted, counts.wanted, counts.shared)


def chrf(sums: Floats) -> Floats:
    """Corpus chrF2, 0..1, from summed `chrf_statistics`.

    Source: M. Popovic, chrF: Character n-gram F-score for Automatic MT Evaluation, WMT 2015;
        orders that one side lacks are left out of the means, as in sacrebleu.
    """
    shared, predicted, wanted = np.split(sums, 3, axis=-1)
    counted = (predicted > 0) & (wanted > 0)
    orders = np.maximum(counted.sum(axis=-1), 1)
    precision = (np.where(counted, shared, 0) / np.maximum(predicted, 1)).sum(axis=-1) / orders
    recall = (np.where(counted, shared, 0) / np.maximum(wanted, 1)).sum(axis=-1) / orders
    weight = _CHRF_BETA**2
    below = np.maximum(weight * precision + recall, np.finfo(float).tiny)
    score: Floats = (1 + weight) * precision * recall / below
    return score
