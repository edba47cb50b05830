"""The sample dataset is what its program writes, and is fit to be shown."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

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


@pytest.mark.usefixtures("warm_steps")
def test_the_notebook_runs_from_top_to_bottom_and_shows_its_results(tmp_path):
    notebook = nbformat.read(EXAMPLES / "quickstart.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in code), "commit it without outputs"
    (tmp_path / "orders.jsonl").write_bytes((EXAMPLES / "orders.jsonl").read_bytes())
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = ["".join(one.data.get("text/html", "") for one in results(cell)) for cell in code]
    titles = ("Validation of orders", "Validation of Data", "Split", "Plan", "Run", "Scores")
    found = [html for html in shown if html.startswith('<div class="tunepipe">')]
    assert len(found) == len(titles)
    for html, title in zip(found, titles, strict=True):
        assert title in html
    assert "did not pass" in found[1]


def results(cell):
    return [one for one in cell.outputs if one.output_type == "execute_result"]
