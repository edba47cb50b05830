"""The Markdown summary: the same numbers as the report, and every text one line of plain text."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.fixtures.pages import HOSTILE, hostile_facts, sample_facts
from tunepipe.reporting.summary import escaped, summary, table

BARE = {"title": "A run", "verdict": "worse", "reason": "It lost."}


def test_the_summary_of_the_sample_run():
    facts = sample_facts()
    text = summary(facts)
    fixed = sum(row["flip"] == "fixed" for row in facts["rows"])
    broken = sum(row["flip"] == "broken" for row in facts["rows"])
    lines = text.splitlines()
    assert lines[0] == "## Order memos, a sample report"
    assert lines[2] == f"**▲ The tuned model is better.** {escaped(facts['reason'])}"
    assert "| object exact | **79.2** (70.0–86.1) | **58.3** (48.3–67.7) |" in lines
    assert f"{fixed} rows better, {broken} worse than the base model's." in lines
    assert f"- Fingerprint: {facts['dataset']['fingerprint']}" in lines
    assert "field:" not in text


def test_the_least_there_is_makes_a_summary():
    assert summary(BARE) == "## A run\n\n**▼ The tuned model is worse.** It lost.\n"


@pytest.mark.parametrize("missing", sorted(set(sample_facts(0)) - set(BARE)))
def test_a_missing_part_is_left_out(missing):
    facts: dict[str, Any] = sample_facts(3)
    facts[missing] = None
    text = summary(facts)
    assert text.startswith("## Order memos")
    assert "None" not in text
    assert "\n\n\n" not in text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain text, 95 % (a-b) text-bison@001", "plain text, 95 % (a-b) text-bison@001"),
        ("a|b", r"a\|b"),
        ("*bold* _it_ `code`", r"\*bold\* \_it\_ \`code\`"),
        ("<script>&amp;", r"\<script\>\&amp;"),
        ("[x](javascript:y)", r"\[x\](javascript:y)"),
        ("see https://a.b", r"see https\://a.b"),
        ("# head", r"\# head"),
        ("- item", r"\- item"),
        ("1. item", r"1\. item"),
        ("two\nlines\r\n\tof text", "two lines of text"),
        ("half \ud800\x00", "half \ufffd␀"),
        (None, ""),
        (12, "12"),
    ],
)
def test_texts_are_written_as_they_read(text, written):
    assert escaped(text) == written


def test_long_texts_are_cut():
    assert escaped("word " * 1000).endswith("…")
    assert len(escaped("x" * 1000)) == 501


def test_hostile_texts_cannot_add_lines_or_cells():
    text = summary(hostile_facts())
    text.encode("utf-8")
    body = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace(r"\|", "").count("|") for line in body} == {4}
    assert all(line[:2] in ("##", "**", "| ", "- ", "") or line[0].isalnum() for line in
               map(str.rstrip, text.splitlines()) if line)  # fmt: skip
    assert HOSTILE[0] not in text


def test_a_table_has_as_many_cells_in_every_line():
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | ---: |\n| 1 | 2 |"


def test_more_rows_are_asked_for_where_they_would_settle_it():
    facts = copy.deepcopy(sample_facts(0))
    facts["comparisons"]["base"]["more_rows"] = [300, 1200]
    assert "300 to 1\u202f200 more held-out rows would show such a difference" in summary(facts)


def test_the_judge_has_a_sentence():
    facts = sample_facts(0)
    assert (
        "Judged by gemini-3.5-flash: 31 wins, 11 losses, 54 ties against the base model: the tuned "
        "model is better." in summary(facts)
    )
    facts["judge"] = {"model": "m", "refused": "above the ceiling"}
    assert "The judge gave no judgement: above the ceiling" in summary(facts)
