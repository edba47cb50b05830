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
