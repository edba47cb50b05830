"""N-gram counts against the plain way of counting."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tunepipe.evaluation import text_metrics
from tunepipe.evaluation.text_metrics import Vocabulary, characters, overlap

ORDER = 6
# A few symbols make many repeats; symbols far apart fill the 63 bits before order 6.
sequences = st.lists(st.sampled_from([0, 1, 2, 70_000, 1_100_000]), max_size=12)
many_symbols = st.lists(st.integers(0, 2**20), max_size=12)
rows = st.lists(
    st.tuples(sequences, sequences) | st.tuples(many_symbols, many_symbols), min_size=1, max_size=8
)


def plain(ours, wanted, order):
    def grams(symbols):
        return Counter(tuple(symbols[i : i + order]) for i in range(len(symbols) - order + 1))

    a, b = grams(ours), grams(wanted)
    return a.total(), b.total(), (a & b).total()


def counted(pairs):
    ours, wanted = (
        [np.array(side, dtype=np.int64) for side in sides] for sides in zip(*pairs, strict=True)
    )
    found = overlap(ours, wanted, max_order=ORDER)
    return np.stack([found.predicted, found.expected, found.shared], axis=-1).tolist()


def expected(pairs):
    return [[list(plain(*pair, order)) for order in range(1, ORDER + 1)] for pair in pairs]


@settings(deadline=None, max_examples=80)
@given(rows)
def test_counts_are_those_of_counters(pairs):
    assert counted(pairs) == expected(pairs)


@settings(deadline=None, max_examples=30)
@given(rows)
def test_blocks_change_nothing(pairs):
    whole = counted(pairs)
    size = text_metrics._BLOCK_SYMBOLS
    try:
        text_metrics._BLOCK_SYMBOLS = 7
        assert counted(pairs) == whole
    finally:
        text_metrics._BLOCK_SYMBOLS = size


def test_many_symbols_are_ranked_before_they_overflow():
    rng = np.random.default_rng(0)
    ours = rng.integers(0, 2**20, 3000)
    wanted = ours.copy()
    wanted[::10] += 1
    pairs = [(ours.tolist(), wanted.tolist())] * 5
    assert counted(pairs) == expected(pairs)


def test_characters_leave_out_white_space_and_keep_what_lies_beyond_the_first_plane():
    assert characters(" a\u3000\n😀").tolist() == [ord("a"), ord("😀")]


def test_a_vocabulary_numbers_in_order():
    vocabulary = Vocabulary()
    assert vocabulary.symbols(["b", "a", "b"]).tolist() == [0, 1, 0]
    assert vocabulary.symbols([]).tolist() == []
