"""Coverage-guided fuzzing of the verbs that read files, by hand: `python -m tests.fuzz -runs=9999`.

It needs `pip install atheris` (Linux, Python 3.11 to 3.13) and takes libFuzzer's options, such as
`-max_total_time=1200 -timeout=5 -rss_limit_mb=600`. An input's first byte chooses the verb, the
rest is the file. Every exit code but 0 to 4, a traceback, a hang and too much memory are findings;
tests/cli/test_fuzz.py does the same without guidance in the suite.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tunepipe"]):
    from tunepipe.cli import main

    for module in ("data.conversion", "validation.validate", "validation.fast_path"):
        importlib.import_module(f"tunepipe.{module}")
    for module in ("splitting.split", "planning.plan", "evaluation.score"):
        importlib.import_module(f"tunepipe.{module}")

from tests import defects
from tests.cli.test_fuzz import HOSTILE, VERBS


def seeds(folder: Path) -> None:
    """Write valid rows of every format and the hostile pieces, each for every verb."""
    rows = [
        b"\n".join(defects.sound_lines(format, 12)) for format in ("palm", "gemini", "messages")
    ]
    for number, data in enumerate([*HOSTILE, *rows]):
        for verb in range(len(VERBS)):
            (folder / f"{verb}-{number}").write_bytes(bytes([verb]) + data)


def run_verb(data: bytes) -> None:
    """Run one verb on a file with these bytes."""
    verbs = list(VERBS.values())
    Path("in").write_bytes(data[1:])
    shown = io.StringIO()
    with contextlib.redirect_stderr(shown), contextlib.redirect_stdout(io.StringIO()):
        code = main.run(verbs[data[0] % len(verbs)] if data else verbs[0])
    if code not in range(5) or "Traceback" in shown.getvalue():
        raise AssertionError(f"exit code {code}: {shown.getvalue()[-2000:]}")


if __name__ == "__main__":
    corpus = Path(tempfile.mkdtemp(prefix="tunepipe-fuzz-"))
    seeds(corpus)
    os.chdir(tempfile.mkdtemp())
    atheris.Setup([sys.argv[0], str(corpus), *sys.argv[1:]], run_verb)
    atheris.Fuzz()
