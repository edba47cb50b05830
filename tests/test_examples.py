"""The sample dataset is what its program writes, and is fit to be shown."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"
PROGRAM = runpy.run_path(str(EXAMPLES / "make_orders.py"))


def rows() -> list[dict[str, str]]:
    lines = (EXAMPLES / "orders.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_the_program_writes_the_committed_file_byte_for_byte():
    written = subprocess.run(
        [sys.executable, EXAMPLES / "make_orders.py"], check=True, capture_output=True
    ).stdout
    assert written == (EXAMPLES / "orders.jsonl").read_bytes()


def test_another_seed_gives_other_rows():
    first, second = (list(PROGRAM["orders"](20, seed)) for seed in (1, 2))
    assert not set(first) & set(second)


def test_every_answer_can_be_read_off_its_memo():
    units, due = PROGRAM["UNITS"], PROGRAM["DUE"]
    items = {item.key: item for item in PROGRAM["ITEMS"]}
    for row in rows():
        memo, answer = row["input_text"], json.loads(row["output_text"])
        item = items[answer["item"]]
        assert answer["category"] == item.category
        assert any(word in memo for word in item.japanese + item.english)
        assert any(word in memo for word in units[answer["unit"]])
        assert any(word in memo for word in due[answer["due"]])
        assert answer["customer"] in memo
        assert str(answer["quantity"]) in memo
        assert ("EMAIL" in answer["personal_data"]) == ("@" in memo)
        assert ("NAME" in answer["personal_data"]) == ("担当" in memo or "Ask for" in memo)
        assert ("PHONE" in answer["personal_data"]) == ("電話" in memo or "call" in memo)


def test_no_memo_stands_there_twice():
    memos = [row["input_text"] for row in rows()]
    assert len(set(memos)) == len(memos) == 600
