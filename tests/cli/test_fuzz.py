"""Whatever bytes a dataset holds, a verb answers with a message and one of its exit codes."""

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import defects
from tests.validation.test_fuzz import PIECES
from tunepipe.cli import main

HOSTILE = [
    *PIECES, b"[" * 2000, b'{"a":' * 300, b"PAR1", b"PK\x03\x04xl/", b"\x1f\x8b\x08", b"BZh",
    b"\xff\xfe{\x00", b"version https://git-lfs", b"sep=;\n", b"a,b\n1,2\n", b"input,output\nq,a\n",
    b'{"conversations": [{"from": 1}]}', b'{"chosen": {}, "rejected": []}', b'{"text": "x"}',
    b'{"instruction": "q", "output": 3}', b'{"id": 1, "reference": "a", "prediction": 1e400}',
    b'{"contents": ["x"]}', b'{"contents": [{"parts": [{"functionCall": 3}]}]}', b"1e400",
    b"pipelineInfo: {name: x}\n", b"components: {a: [}", b"a: &a [*a]",
    b'{"messages": [{"role": {}}]}', b'{"completions": [{"score": "x"}], "contents": []}',
]  # fmt: skip

VERBS = {
    "validate": ["validate", "in"],
    "split": ["split", "in", "--train", "t", "--eval", "e"],
    "convert": ["convert", "in", "out", "--to", "gemini"],
    "plan": ["plan", "in", "--region", "us-central1"],
    "score": ["score", "in"],
    "run": [
        *("run", "--pipeline", "in", "--dataset", "rows", "--project", "p"),
        *("--region", "us-central1", "--bucket", "gs://b", "--dry-run"),
    ],
}


FILES = ("in", "out", "t", "e", "rows")


def arguments(verb: str, folder: Path) -> list[str]:
    """Return a verb's arguments with its files in a folder."""
    return [str(folder / word) if word in FILES else word for word in VERBS[verb]]


@pytest.mark.parametrize("verb", VERBS)
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(
    format=st.sampled_from(["palm", "gemini", "messages", "preference"]),
    pieces=st.lists(st.sampled_from(HOSTILE), max_size=8),
    sound=st.integers(0, 3),
    glue=st.sampled_from([b"", b"\n", b" "]),
)
def test_a_verb_never_fails_unforeseen(tmp_path_factory, capfd, verb, format, pieces, sound, glue):
    folder = tmp_path_factory.mktemp("fuzz")
    rows = defects.sound_lines(format, sound) if sound else []
    (folder / "in").write_bytes(glue.join(pieces) + b"\n" + b"\n".join(rows))
    (folder / "rows").write_bytes(b"\n".join(defects.sound_lines("gemini")))
    start = time.process_time()
    code = main.run(arguments(verb, folder))
    assert time.process_time() - start < 5
    err = capfd.readouterr().err
    assert code in (0, 1, 2, 3, 4), err
    assert "Traceback" not in err
