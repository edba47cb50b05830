"""Text metrics against rouge-score and sacrebleu, over random texts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF

from tunepipe.evaluation.normalization import spaced
from tunepipe.evaluation.text_metrics import measure

words = st.sampled_from(
    ["the", "cat", "sat", "a mat.", "1,000", "don't", "(very)", "2-blue", "\n", "-\n", "&quot;"]
)
english = st.lists(words, max_size=14).map(" ".join)
ascii_text = st.text(st.characters(max_codepoint=126), max_size=40)
japanese = st.text(st.sampled_from("東京にすむ人が好きだ。、 12Aaカ\n"), max_size=25)
corpora = st.lists(
    st.tuples(english, english) | st.tuples(japanese, japanese), min_size=1, max_size=8
)


def values(pairs):
    return {metric.name: metric.value for metric in measure(*map(list, zip(*pairs, strict=True)))}


@settings(deadline=None, max_examples=40)
@given(st.tuples(english, english) | st.tuples(ascii_text, ascii_text))
def test_rouge_is_that_of_rouge_score_on_ascii(pair):
    prediction, reference = pair
    peer = RougeScorer(["rouge1", "rouge2", "rougeL"]).score(reference, prediction)
    ours = values([pair])
    for name, key in (("rouge_1", "rouge1"), ("rouge_2", "rouge2"), ("rouge_l", "rougeL")):
        assert ours[name] == pytest.approx(peer[key].fmeasure, abs=1e-9)


def cut_by_character(text):
    """What our BLEU does after 13a, as a tokenizer that sacrebleu can be given."""
    return " ".join(spaced(BLEU().tokenizer(text.rstrip())).split())


@settings(deadline=None, max_examples=40)
@given(corpora)
def test_bleu_is_sacrebleus(pairs):
    predictions, references = (
        [cut_by_character(t) for t in side] for side in zip(*pairs, strict=True)
    )
    peer = BLEU(tokenize="none", force=True).corpus_score(predictions, [references])
    assert values(pairs)["bleu"] == pytest.approx(peer.score / 100, abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(english, english), min_size=1, max_size=8))
def test_bleu_on_english_is_sacrebleus_default(pairs):
    predictions, references = zip(*pairs, strict=True)
    peer = BLEU(force=True).corpus_score(predictions, [references])
    assert values(pairs)["bleu"] == pytest.approx(peer.score / 100, abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(corpora)
def test_chrf_is_sacrebleus(pairs):
    predictions, references = zip(*pairs, strict=True)
    peer = CHRF().corpus_score(predictions, [references])
    assert values(pairs)["chrf"] == pytest.approx(peer.score / 100, abs=1e-9)


def test_chrf_of_more_n_grams_than_an_integer_has_numbers_for_is_sacrebleus():
    chance = np.random.default_rng(0)  # 4,000 symbols: 6-grams of 72 bits
    references = ["".join(map(chr, row)) for row in chance.integers(0x4E00, 0x5DA0, (400, 40))]
    predictions = [text[:30] + text[25:] for text in references[:200]] + references[:200]
    peer = CHRF().corpus_score(predictions, [references])
    assert values(list(zip(predictions, references, strict=True)))["chrf"] == pytest.approx(
        peer.score / 100, abs=1e-9
    )


@settings(deadline=None, max_examples=40)
@given(corpora)
def test_all_values_lie_between_nought_and_one(pairs):
    assert all(-1e-12 <= value <= 1 + 1e-12 for value in values(pairs).values())


@pytest.mark.parametrize("name", ["bleu", "chrf", "token_f1", "rouge_2"])
def test_a_missing_answer_counts_as_one_that_shares_nothing(name):
    references = ["one two three four five", "six seven eight nine ten"]

    def metric(*predictions):
        return next(each for each in measure(predictions, references) if each.name == name)

    missing = metric(*references).without(np.array([False, True]))
    assert missing.value == metric(references[0], "000 00000 00000 0000 000").value


@pytest.mark.parametrize(
    "text", ["東京は日本の首都です", "The café is open now, come in", "ก ข ค ง จ"]
)
def test_an_answer_like_its_reference_is_perfect_in_any_script(text):
    assert values([(text, text)]) == pytest.approx(dict.fromkeys(values([(text, text)]), 1.0))


NOUGHT = ("rouge_1", "rouge_2", "rouge_l", "bleu", "chrf")


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        (
            "",
            "",
            {"exact_match": 1, "token_f1": 1, "edit_similarity": 1} | dict.fromkeys(NOUGHT, 0),
        ),
        ("", "word", {"exact_match": 0, "token_f1": 0, "edit_similarity": 0}),
        ("word", "", {"exact_match": 0, "token_f1": 0, "edit_similarity": 0}),
        ("...", "!!!", {"exact_match": 0, "token_f1": 1, "edit_similarity": 0}),
        ("Ｙｅｓ ", "yes", {"exact_match": 0, "exact_match_normalized": 1, "token_f1": 1}),
        ("a b c d", "a b x d", {"token_f1": 0.75, "rouge_2": 1 / 3, "rouge_l": 0.75}),
        ("東京", "東北", {"token_f1": 0.5, "edit_similarity": 0.5}),
    ],
)
def test_single_rows(prediction, reference, expected):
    found = values([(prediction, reference)])
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_edit_similarity_is_the_textbook_distance():
    def distance(a, b):
        line = list(range(len(b) + 1))
        for i, x in enumerate(a, 1):
            line, above = [i], line
            for j, y in enumerate(b, 1):
                line.append(min(above[j] + 1, line[-1] + 1, above[j - 1] + (x != y)))
        return line[-1]

    rng = np.random.default_rng(0)
    pairs = [
        ["".join(rng.choice(list("ab京"), rng.integers(1, 9))) for _ in "12"] for _ in range(50)
    ]
    expected = [1 - distance(a, b) / max(len(a), len(b)) for a, b in pairs]
    similarity = measure(*zip(*pairs, strict=True))[-1]
    assert similarity.name == "edit_similarity"
    assert similarity.scores.tolist() == pytest.approx(expected)
