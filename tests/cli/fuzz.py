"""Coverage-guided fuzzing of a verb, by hand: pip install atheris, then

    python -m tests.cli.fuzz validate -max_total_time=3600

No input may crash the verb, keep it for more than 5 seconds, or take more than 1 GiB. What does is
left in the working directory. The suite has the short form, test_fuzz.py.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tunepipe"]):
    # Verbs import these when they run, which would be too late to be guided by them.
    import tunepipe.data.conversion
    import tunepipe.evaluation.score
    import tunepipe.planning.plan
    import tunepipe.runs.pipeline_spec
    import tunepipe.splitting.split
    import tunepipe.validation.fast_path
    import tunepipe.validation.validate  # noqa: F401
    from tunepipe.cli import main

from tests import defects
from tests.cli.test_fuzz import HOSTILE, arguments

COMPILED = Path(__file__).parents[2] / "compiled" / "components"
LIMITS = ["-timeout=5", "-rss_limit_mb=1024", "-max_len=20000"]
_EXPECTED = (0, 1, 2, 3, 4)


def fuzz(verb: str, options: list[str]) -> None:
    """Run a verb on inputs that libFuzzer makes of valid rows and hostile pieces.

    Args:
        verb: One of those of test_fuzz.py.
        options: Of libFuzzer.
    """
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    corpus = folder / "corpus"
    corpus.mkdir()
    seeds = [*HOSTILE, *(b"\n".join(defects.sound_lines(f, 3)) for f in ("palm", "gemini"))]
    seeds += [path.read_bytes() for path in COMPILED.glob("import_*.yaml")]
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)
    (folder / "rows").write_bytes(b"\n".join(defects.sound_lines("gemini")))
    command = arguments(verb, folder)

    def try_input(data: bytes) -> None:
        (folder / "in").write_bytes(data)
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = main.run(command)
        if code not in _EXPECTED:
            raise RuntimeError(f"exit code {code}: {said.getvalue()[-2000:]}")

    atheris.Setup([sys.argv[0], *LIMITS, *options, str(corpus)], try_input)
    atheris.Fuzz()


if __name__ == "__main__":
    fuzz(sys.argv[1], sys.argv[2:])
