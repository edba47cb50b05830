"""Word-level differences, in any script."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunepipe.reporting.word_diff import Piece, diff, words

TEXTS = st.text(
    st.one_of(st.sampled_from("ab 東京のカー。,👩\u200d\u0301ไทย\n"), st.characters()), max_size=60
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the cat, 12 times", ["the", " ", "cat", ",", " ", "12", " ", "times"]),
        ("東京のカレーです", ["東", "京", "の", "カレー", "です"]),
        ("Tokyo東京2024年", ["Tokyo", "東", "京", "2024", "年"]),
        ("👨\u200d👩\u200d👧!", ["👨\u200d👩\u200d👧", "!"]),
        ("cafe\u0301 नमस्ते", ["cafe\u0301", " ", "नमस्ते"]),
        ("שלום, עולם", ["שלום", ",", " ", "עולם"]),
        ("", []),
    ],
)
def test_words_end_where_the_script_changes(text, expected):
    assert words(text) == expected


@settings(deadline=None, max_examples=150)
@given(TEXTS)
def test_words_join_to_the_text(text):
    found = words(text)
    assert "".join(found) == text
    assert all(found)


@settings(deadline=None, max_examples=100)
@given(st.text(st.characters(max_codepoint=127)))
def test_plain_ascii_takes_a_short_cut_to_the_same_words(text):
    # A letter of another script at the end sends the text the long way.
    assert words(text) == words(text + "東")[:-1]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("", "", []),
        ("same", "same", [Piece("same", "same")]),
        ("", "new", [Piece("added", "new")]),
        (
            "the cat sat on the mat",
            "the dog sat on a mat",
            [
                Piece("same", "the "),
                Piece("removed", "cat"),
                Piece("added", "dog"),
                Piece("same", " sat on "),
                Piece("removed", "the"),
                Piece("added", "a"),
                Piece("same", " mat"),
            ],
        ),
        (
            "東京で会議です",
            "大阪で会議です",
            [Piece("removed", "東京"), Piece("added", "大阪"), Piece("same", "で会議です")],
        ),
        # A lone space between two changes belongs to both, so that phrases stay whole.
        (
            "it is a bad idea here",
            "it is one good idea here",
            [
                Piece("same", "it is "),
                Piece("removed", "a bad"),
                Piece("added", "one good"),
                Piece("same", " idea here"),
            ],
        ),
        (
            "nothing alike",
            "戦争と平和",
            [Piece("removed", "nothing alike"), Piece("added", "戦争と平和")],
        ),
    ],
)
def test_differences(old, new, expected):
    assert diff(old, new) == expected


@settings(deadline=None, max_examples=200)
@given(TEXTS, TEXTS)
def test_pieces_give_both_texts_back(old, new):
    pieces = diff(old, new)
    assert "".join(text for kind, text in pieces if kind != "added") == old
    assert "".join(text for kind, text in pieces if kind != "removed") == new
    assert all(text for _, text in pieces)
    assert all(left.kind != right.kind for left, right in pairwise(pieces))


def test_very_long_texts_are_not_lined_up():
    old, new = "word " * 3000, "word " * 2999 + "end"
    assert [piece.kind for piece in diff(old, new)] == ["removed", "added"]
