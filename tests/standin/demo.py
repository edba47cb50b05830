"""`make demo-vertex`: the whole command against the stand-in, with no account and no network.

    python -m tests.standin.demo [ARGUMENTS OF tunepipe run]

The steps, the clients and the requests are real. The cloud is not: the template has Google's
interface and trains nothing, and the model that it leaves remembers rows.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .process import StandIn
from .session import BUCKET, PROJECT, REGION

_RUN = [
    *("run", "--backend", "large-model", "--dataset", "examples/orders.jsonl"),
    *("--region", REGION, "--project", PROJECT, "--bucket", f"gs://{BUCKET}"),
    *("--epochs", "1", "--option", "poll_seconds=1", "--wait", "--yes"),
    # The real quota of these models is 60 a minute; a demonstration need not wait for it.
    *("--param", 'asking={"requests_per_minute": 6000}'),
]


def main(arguments: Sequence[str]) -> int:
    """Run the command against a stand-in of its own; returns the command's exit code."""
    with tempfile.TemporaryDirectory(prefix="demo-vertex-") as folder:
        cloud = StandIn(Path(folder))
        (cloud.buckets / BUCKET).mkdir()
        environment = {**os.environ, **cloud.environment}
        code = 1
        try:
            command = [Path(sys.executable).with_name("tunepipe"), *_RUN, *arguments]
            code = subprocess.run(command, env=environment, check=False).returncode
            print(f"jobs the cloud was asked for: {len(cloud.ask('states'))}")
            elsewhere = sorted(cloud.places() - {REGION})
            print(f"calls to other regions: {elsewhere}; refused: {cloud.ask('refused')}")
            if code not in (0, 1):
                print(cloud.log(), file=sys.stderr)
        finally:
            cloud.stop()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
