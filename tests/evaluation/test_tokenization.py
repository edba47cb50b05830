"""Tokens by script, and what counts as no difference."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunepipe.evaluation.normalization import normalized, spaced, tokens


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("", []),
        ("... !? 😀", []),
        ("Don't stop: 1,000 x_y", ["don", "t", "stop", "1", "000", "x", "y"]),
        ("Café NAÏVE Straße", ["café", "naïve", "strasse"]),
        ("東京に住む。", ["東", "京", "に", "住", "む"]),
        ("ｶﾞｷﾞＡＢＣ１２", ["ガ", "ギ", "abc12"]),
        ("が", ["が"]),
        ("注文No.12を確認", ["注", "文", "no", "12", "を", "確", "認"]),
        ("葛\U000e0100城", ["葛", "城"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("كِتَابٌ", ["كِتَابٌ"]),
        ("កម្ពុជា", list("កម្ពុជា")),
        ("Привет, мир", ["привет", "мир"]),
        ("co\u00adoperate a\u200bb", ["cooperate", "a", "b"]),
    ],
)
def test_tokens(text, cut):
    assert tokens(text) == cut


@settings(deadline=None, max_examples=200)
@given(st.text(st.characters(max_codepoint=127)))
def test_ascii_tokens_are_those_of_rouge_score(text):
    assert tokens(text) == re.findall("[a-z0-9]+", text.lower())


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Yes", " yes\n", True),
        ("ＡＢＣ　ｶﾅ", "abc カナ", True),
        ("café", "cafe\u0301", True),
        ("yes.", "yes", False),
        ("a b", "ab", False),
    ],
)
def test_normalized(one, other, same):
    assert (normalized(one) == normalized(other)) is same


def test_spaces_go_only_round_scripts_without_spaces():
    assert spaced("Tokyo は 東京 at 9").split() == ["Tokyo", "は", "東", "京", "at", "9"]
    assert spaced("plain text") == "plain text"
