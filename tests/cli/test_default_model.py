"""Every verb takes the same model for a format if the user names none."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.standin.process import StandIn
from tunepipe.cli import main

TURNS = [{"role": "user", "parts": [{"text": "a"}]}, {"role": "model", "parts": [{"text": "b"}]}]
MESSAGES = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
PALM_CHAT = {"messages": [{"author": "user", "content": "a"}, {"author": "bot", "content": "b"}]}
ROWS: dict[str, dict[str, Any]] = {
    "palm": {"input_text": "a", "output_text": "b"},
    "prompt-completion": {"prompt": "a", "completion": "b"},
    "palm-chat": PALM_CHAT,
    "gemini": {"contents": TURNS},
    "messages": {"messages": MESSAGES},
}
PLACE = ["--region", "us-central1", "--project", "p"]
MODELS = {
    ("palm", ""): "text-bison@001",
    ("prompt-completion", ""): "text-bison@001",
    ("palm-chat", ""): "chat-bison@001",
    ("palm-chat", "large-model"): "chat-bison@001",
    ("gemini", ""): "gemini-3.5-flash",
    ("messages", ""): "gemini-3.5-flash",
    ("messages", "open-model"): "qwen/qwen3@qwen3-4b",
    ("gemini", "local"): "tiny",
}


@pytest.mark.parametrize(("format", "backend"), MODELS)
def test_the_verbs_agree_on_the_model(
    cloud: StandIn, format: str, backend: str, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = (json.dumps({**ROWS[format], "labels": {"n": str(n)}}) for n in range(120))
    if format in ("palm", "prompt-completion", "palm-chat"):
        lines = (json.dumps(ROWS[format]).replace('"a"', f'"a{n}"') for n in range(120))
    Path("rows.jsonl").write_text("".join(line + "\n" for line in lines))
    chosen = ["--backend", backend] if backend else []
    place = [] if backend == "local" else PLACE

    def answer(*arguments: str) -> dict[str, Any]:
        main.run([*arguments, *chosen, "--json"])
        out = capsys.readouterr().out
        return dict(json.loads(out))

    models = {answer("plan", "rows.jsonl", *place[:2])["model"]}
    bucket = ["--bucket", "gs://b"] if place else []
    dry = answer("run", "--dataset", "rows.jsonl", *place, *bucket, "--dry-run", "--yes")
    models.add(dry["plan"]["model"])
    doctor = answer("doctor", "--dataset", "rows.jsonl", *place)
    models |= {each["found"] for each in doctor["findings"] if each["check"] == "model"}
    assert MODELS[format, backend] in models
    assert all(MODELS[format, backend] in model for model in models), models
