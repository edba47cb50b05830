"""Input that was made to break a program costs a message, and no process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

DEEP = 50_000
PLACE = ["--project", "p", "--region", "europe-west4", "--bucket", "gs://b", "--dry-run"]
FILES = {
    "lists.yaml": "[" * DEEP,
    "items.yaml": "- " * DEEP,
    "objects.json": '{"a":' * DEEP,
    "half.yaml": "a: [1, 2\nb: }",
    "table.toml": "a = " + "[" * DEEP,
}
CASES = [
    *((["run", "--pipeline", name, "--dataset", "rows.jsonl", *PLACE], name)
      for name in FILES if name != "table.toml"),
    (["compile", "--template", "lists.yaml"], "lists.yaml"),
    (["tables", "--update", "table.toml"], "table.toml"),
    (["plan", "rows.jsonl", "--region", "europe-west4", "--epochs", "1e308"], "epochs"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "place"), CASES, ids=lambda value: str(value)[:60])
def test_it_is_refused_with_its_place(tmp_path: Path, arguments: list[str], place: str) -> None:
    """In a process of its own: libyaml ends the whole process where it runs out of stack."""
    rows = [{"input_text": f"q {n}", "output_text": f"a {n}"} for n in range(300)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in set(FILES) & set(arguments):
        (tmp_path / name).write_text(FILES[name])
    ran = subprocess.run(
        [sys.executable, "-m", "tunepipe", *arguments, "--json"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 2, ran.stderr
    error = json.loads(ran.stdout)["error"]
    assert place in error["where"]
    assert len(error["found"]) < 400


BIG_BYTES, BOUND_KIB = 200_000_000, 120 * 1024
VERBS = {
    "validate": ["validate", "rows.jsonl"],
    "split": ["split", "rows.jsonl", "--train", "t.jsonl", "--eval", "e.jsonl"],
    "convert": ["convert", "rows.jsonl", "out.jsonl", "--to", "gemini"],
    "plan": ["plan", "rows.jsonl", "--region", "us-central1"],
    "score": ["score", "answers.jsonl"],
}
ROW = '{{"input_text": "q {0}", "output_text": "{1}"}}\n'
ANSWER = '{{"id": "{0}", "input": "q", "reference": "a", "prediction": "{1}"}}\n'


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows, and a row of 200 MB among them."""
    folder = tmp_path_factory.mktemp("big")
    for name, row in (("rows.jsonl", ROW), ("answers.jsonl", ANSWER)):
        with (folder / name).open("w") as file:
            file.writelines(row.format(number, "a") for number in range(20))
            file.write(row.format(20, "x" * BIG_BYTES))
    return folder


@pytest.mark.parametrize("verb", VERBS)
def test_a_row_of_200_mb_takes_no_verb_over_its_memory(big: Path, verb: str) -> None:
    program = (
        "from tunepipe.cli import main;"
        f"code = main.run({VERBS[verb]!r});"
        "status = open('/proc/self/status').read();"
        "print(code, status.partition('VmHWM:')[2].split()[0])"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=big, capture_output=True, text=True)
    code, peak_kib = map(int, ran.stdout.split()[-2:])
    assert code in (0, 1, 2), ran.stderr
    assert peak_kib < BOUND_KIB
    assert "32 MiB" in ran.stderr or verb == "plan"
