"""Whole texts: every line that people read of a command, and its exit code.

python -m tests.cli.test_whole_texts    # writes texts.json anew; read its diff
"""

import contextlib
import io
import json
import os
import tempfile
from pathlib import Path

import pytest

from tunepipe.cli import main

GOLDEN = Path(__file__).with_name("texts.json")
ROWS = [{"input_text": f"question {n}", "output_text": f"answer {n}"} for n in range(120)]
BAD = [
    *ROWS[:12], *ROWS[:2], {"input_text": "alone"}, *({"output_text": f"a {n}"} for n in range(4)),
    {"input_text": 7, "output_text": "seven"},
]  # fmt: skip


def answers(right: int, missing: int = 0) -> list[dict[str, object]]:
    return [
        {
            "id": str(n), "input": f"q {n}", "reference": "ab"[n % 2],
            "prediction": None if n >= 60 - missing else "ab"[(n + (n >= right)) % 2],
            "kind": "xy"[n // 30],
        }
        for n in range(60)
    ]  # fmt: skip


FILES = {
    "rows.jsonl": ROWS,
    "kinds.jsonl": [{**row, "kind": "ab"[n % 2]} for n, row in enumerate(ROWS)],
    "few.jsonl": ROWS[:8],
    "some.jsonl": [*ROWS[:50], *BAD[-6:]],
    "bad.jsonl": BAD,
    "odd.jsonl": [*({"prompt": f"p {n}", "completion": "c"} for n in range(10)), {"prompt": "p"}],
    "tuned.jsonl": answers(50, missing=2),
    "base.jsonl": answers(20),
    "close.jsonl": answers(47),
}
SIDES = "--train train.jsonl --eval eval.jsonl"
COMMANDS = [
    "validate rows.jsonl",
    "validate bad.jsonl",
    "validate bad.jsonl --show-all",
    "validate bad.jsonl rows.jsonl --max-problems 4",
    "validate bad.jsonl --fix fixed.jsonl",
    f"split rows.jsonl {SIDES}",
    f"split kinds.jsonl {SIDES} --eval-fraction 0.3 --stratify-by kind",
    f"split bad.jsonl {SIDES}",
    f"split few.jsonl {SIDES}",
    "convert rows.jsonl out.jsonl --to messages",
    "convert kinds.jsonl out.jsonl --to messages",
    "convert odd.jsonl out.jsonl --to gemini",
    "convert bad.jsonl out.jsonl --to gemini",
    "plan rows.jsonl --backend local",
    "plan some.jsonl --backend local --metric exact_match",
    "plan --rows 240 --backend local --epochs 2.5 --answers 3",
    "plan --backend local",
    "plan rows.jsonl --rows 9",
    "plan bad.jsonl --backend local --train-steps 90",
    "plan --rows 5 --backend local --answers 3",
    "score tuned.jsonl",
    "score tuned.jsonl --missing excluded",
    "score tuned.jsonl --baseline base.jsonl --require better",
    "score base.jsonl --baseline tuned.jsonl",
    "score base.jsonl --baseline tuned.jsonl --margin 0.9 --require not-worse",
    "score close.jsonl --baseline tuned.jsonl",
    "score close.jsonl --baseline tuned.jsonl --require not-worse",
    "score close.jsonl --baseline tuned.jsonl --require better",
    "score close.jsonl --baseline tuned.jsonl --require not-worse --margin 0.01",
    "score close.jsonl --baseline tuned.jsonl --require not-worse --margin 0.5",
    "score tuned.jsonl --baseline base.jsonl --slice-by kind --slice-by class",
    "score tuned.jsonl --require better",
    "score tuned.jsonl --judge-decides",
    "score tuned.jsonl --judge gemini-3.5-flash",
    "score tuned.jsonl --judge-prompt prompt.txt",
    "champions",
    "runs",
    "costs",
    "predict --model m",
    "predict --model m text --input rows.jsonl --output out.jsonl",
    "predict --model m --input rows.jsonl",
]


def shown(command: str) -> list[object]:
    """The exit code of a command in this folder, and its lines."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main.run(command.split())
    return [code, *out.getvalue().splitlines(), *err.getvalue().splitlines()]


def fill(folder: Path) -> None:
    for name, rows in FILES.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.usefixtures("empty_folder")
def test_a_command_says_this_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    fill(Path())
    assert shown(command) == json.loads(GOLDEN.read_text(encoding="utf-8"))[command]


def write() -> None:
    texts = {}
    for command in COMMANDS:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            fill(Path())
            texts[command] = shown(command)
    GOLDEN.write_text(json.dumps(texts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    for variable in [name for name in os.environ if name.startswith("TUNEPIPE_")]:
        del os.environ[variable]
    write()
