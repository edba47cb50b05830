"""Runs over files and over function calls: evaluation sees what the model was tuned on."""

import base64
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

from tests.standin.process import StandIn
from tests.standin.session import BUCKET, PROJECT, REGION
from tunepipe.cli import main

PLACE = ["--project", PROJECT, "--region", REGION, "--bucket", f"gs://{BUCKET}"]
ROWS = 120
PARAMETERS = {
    "type": "OBJECT",
    "properties": {"city": {"type": "STRING"}, "days": {"type": "INTEGER"}},
}
FUNCTIONS = [{"name": name, "parameters": PARAMETERS} for name in ("weather", "traffic", "pollen")]


def picture(number: int) -> str:
    """A PNG of 8 x 8 points in a colour of its own, in base64."""
    colour = bytes((number % 256, 7 * number % 256, 29 * number % 256))
    points = zlib.compress((b"\0" + colour * 8) * 8)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    png = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", points) + chunk(b"IEND", b"")
    )
    return base64.b64encode(png).decode()


def picture_rows() -> list[dict[str, Any]]:
    """Rows whose text is the same: who does not see the picture cannot know the answer."""
    return [
        {
            "systemInstruction": {"parts": [{"text": "Name the colour."}]},
            "contents": [
                {
                    "role": "user",
                    "parts": [
                        {"inlineData": {"mimeType": "image/png", "data": picture(number)}},
                        {"text": "Which colour is it?"},
                    ],
                },
                {"role": "model", "parts": [{"text": f"c{number}"}]},
            ],
        }
        for number in range(ROWS)
    ]


# How a row holds each kind of file: inline, or by its address in the bucket.
FILES = {"audio/wav": "inline", "video/mp4": "address", "application/pdf": "address"}


def file_rows() -> list[dict[str, Any]]:
    """Rows of sound, video and documents; each file holds the number that is asked for."""
    rows = []
    for number in range(ROWS):
        mime_type, place = list(FILES.items())[number % len(FILES)]
        data = base64.b64encode(f"RIFF{number}".encode()).decode()
        uri = f"gs://{BUCKET}/media/{number}.bin"
        part: dict[str, Any] = {"fileData": {"mimeType": mime_type, "fileUri": uri}}
        if place == "inline":
            part = {"inlineData": {"mimeType": mime_type, "data": data}}
        rows.append(
            {
                "contents": [
                    {"role": "user", "parts": [part, {"text": "Which number does it say?"}]},
                    {"role": "model", "parts": [{"text": f"n{number}"}]},
                ]
            }
        )
    return rows


def call_rows() -> list[dict[str, Any]]:
    """Rows answered by one call, or by two at once."""
    return [
        {
            "contents": [
                {"role": "user", "parts": [{"text": f"What is it like in town {number}?"}]},
                {
                    "role": "model",
                    "parts": [
                        {
                            "functionCall": {
                                "name": FUNCTIONS[number % 3]["name"],
                                "args": {"city": f"t{number}", "days": n},
                            }
                        }
                        for n in range(1, 2 + number % 2)
                    ],
                },
            ],
            "tools": [{"functionDeclarations": FUNCTIONS}],
        }
        for number in range(ROWS)
    ]


def run(cloud: StandIn, capfd: Any, rows: list[dict[str, Any]]) -> tuple[dict[str, Any], Path]:
    """Run the whole pipeline and return its result, and the folder of the bucket."""
    path = Path("rows.jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    media = cloud.buckets / BUCKET / "media"
    media.mkdir()
    for number in range(ROWS):
        (media / f"{number}.bin").write_bytes(b"file")
    arguments = ["run", "--backend", "gemini", "--dataset", str(path), *PLACE, "--epochs", "2"]
    arguments += ["--option", "poll_seconds=0.5", "--yes", "--json", "--wait"]
    assert main.run(arguments) == 0, cloud.log()
    return json.loads(capfd.readouterr().out), cloud.buckets / BUCKET


@pytest.mark.parametrize(
    "rows", [picture_rows(), file_rows(), call_rows()], ids=["pictures", "files", "calls"]
)
@pytest.mark.parametrize(("fault", "is_better"), [("", True), ("confused", False)])
def test_the_verdict_follows_the_answers(
    cloud: StandIn, capfd: Any, rows: list[dict[str, Any]], fault: str, is_better: bool
) -> None:
    if fault:
        cloud.fault("tuning", message=fault)
    done, bucket = run(cloud, capfd, rows)
    assert (done["verdict"] == "better") is is_better
    report = (cloud.buckets / done["results"]["report"].removeprefix("gs://")).read_text()
    if "tools" in rows[0]:
        assert "weather(city=" in report
    elif "systemInstruction" in rows[0]:
        assert "data:image/png;base64," in report
    assert list(bucket.rglob("summary"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backend", "open-model", "--base-model", "qwen/qwen3@qwen3-4b"], "120 errors"),
        (
            ["--backend", "gemini", "--param", "judge_model=gemini-3.5-flash"],
            "the judge reads text",
        ),
        (["--backend", "local"], "tiny does not take"),
    ],
    ids=["open-model", "judge", "local"],
)
def test_what_cannot_be_shown_is_refused_before_anything_is_paid(
    cloud: StandIn, capfd: Any, arguments: list[str], message: str
) -> None:
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in picture_rows()))
    place = [] if "local" in arguments else [*PLACE, "--option", "poll_seconds=0.5"]
    run = ["run", "--dataset", "rows.jsonl", *place, *arguments, "--yes", "--wait", "--json"]
    assert main.run(run) in (1, 2, 4)
    told = capfd.readouterr()
    assert message in told.out + told.err + cloud.log()
    assert not cloud.ask("tunings")
