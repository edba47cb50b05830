"""`make standin`: a stand-in of Google Cloud that stays up until Ctrl-C.

    python -m tests.standin.serve [FOLDER]

FOLDER (by default .standin) keeps its buckets and the file `env`. Source that file in another
terminal, and every Google client that starts there talks to the stand-in.
"""

from __future__ import annotations

import shlex
import shutil
import signal
import sys
from pathlib import Path

from .process import StandIn
from .session import BUCKET, PROJECT, REGION

_SAMPLE = Path(__file__).parents[2] / "examples" / "orders.jsonl"


def main(folder: Path) -> None:
    """Start it, print how to use it, and wait."""
    cloud = StandIn(folder.resolve())
    bucket = cloud.buckets / BUCKET
    bucket.mkdir(exist_ok=True)
    shutil.copy(_SAMPLE, bucket)
    variables = {
        **cloud.environment,
        "TUNEPIPE_PROJECT": PROJECT,
        "TUNEPIPE_REGION": REGION,
        "TUNEPIPE_BUCKET": f"gs://{BUCKET}",
    }
    lines = (f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
    file = folder / "env"
    file.write_text("".join(lines), encoding="utf-8")
    print(f"the stand-in is up; its buckets are in {cloud.buckets}")
    print(f"in another terminal:\n  source {file}")
    print(f"  tunepipe doctor --dataset gs://{BUCKET}/{_SAMPLE.name} --base-model gemini-3.5-flash")
    print("Ctrl-C ends it", flush=True)
    try:
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    finally:
        cloud.stop()


if __name__ == "__main__":
    # Both signals end the wait, and the stand-in with it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".standin"))
