"""A conversation that holds a held-out row as its beginning trains on that row's answer."""

import json

import pytest

from tunepipe.validation.validate import validate


def chat(*texts: str, system: str = "") -> dict:
    first = [{"role": "system", "content": system}] if system else []
    roles = ("user", "assistant")
    turns = [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)]
    return {"messages": first + turns}


def write(path, *rows: dict):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# Of each training row: which held-out row it leaks, and how the message begins.
TRAIN = [
    (chat("q1", "a1", "q2", "a2", system="s"), 1, "the conversation holds the input at line 1"),
    (chat("q1", "a1", "q2", "a2"), 2, "the conversation holds the input at line 2"),
    (chat("q1", "x"), 2, "the same input is at line 2"),
    (chat("q0", "a", "q1", "a1"), 0, ""),  # the same question in another conversation
    (chat("q9", "a"), 0, ""),
    (chat("a1", "q1"), 0, ""),
]
HELD = (chat("q1", "other", system="s"), chat("q1", "z"))


@pytest.mark.parametrize(
    "options", [{}, {"fast_from_bytes": 0}, {"fast_from_bytes": 0, "block_bytes": 90}]
)
@pytest.mark.parametrize("copies", [1, 9000])
def test_a_held_out_row_within_a_conversation_is_a_leak(tmp_path, options, copies):
    """9,000 copies are more than a dictionary of hashes takes."""
    filler = [chat(f"f{n}", "a", f"g{n}", "b") for n in range(copies - 1)]
    train = write(tmp_path / "train.jsonl", *(row for row, _, _ in TRAIN), *filler)
    held = write(tmp_path / "held.jsonl", *HELD)
    report = validate([train], against=[held], **options)
    found = [(x.line, x.message) for x in report.problems if x.code == "eval-leak"]
    expected = [(n, f"{words} of {held}") for n, (_, line, words) in enumerate(TRAIN, 1) if line]
    assert found == expected
    assert report.counts["eval-leak"] == report.errors == 3


def test_formats_of_the_two_files_may_differ(tmp_path):
    train = write(tmp_path / "train.jsonl", chat("q1", "a1", "q2", "a2"))
    part = {"role": "user", "parts": [{"text": "q1"}]}
    answer = {"role": "model", "parts": [{"text": "other"}]}
    held = write(tmp_path / "held.jsonl", {"contents": [part, answer]})
    assert validate([train], against=[held]).counts["eval-leak"] == 1
