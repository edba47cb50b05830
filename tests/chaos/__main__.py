"""`python -m tests.chaos --trials 500`: the chaos driver in full; see `driver`."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.driver import BACKENDS, FULL_SCALE, LAG_SECONDS, Result, play
from tests.standin.session import BUCKET, running


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--trials", type=int, default=100, help="logical runs in all")
    parser.add_argument("--at-once", type=int, default=4, help="logical runs at a time")
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    parser.add_argument("--backend", action="append", choices=BACKENDS, help="default: all")
    parser.add_argument("--scale", type=float, default=FULL_SCALE, help="of time; default 1/20")
    arguments = parser.parse_args()
    cloud = running()
    os.environ.update(cloud.environment)
    total, began, seed = Result(), time.monotonic(), arguments.seed
    while total.runs.total() < arguments.trials:
        cloud.reset()
        shutil.rmtree(cloud.buckets / BUCKET, ignore_errors=True)
        (cloud.buckets / BUCKET).mkdir()
        runs = min(arguments.at_once, arguments.trials - total.runs.total())
        with tempfile.TemporaryDirectory() as folder:
            chosen = arguments.backend or list(BACKENDS)
            found = play(cloud, Path(folder), chosen, runs, random.Random(seed), arguments.scale)
        for problem in found.problems:
            print(f"seed {seed}: {problem}", flush=True)
        total.add(found)
        seed += 1
    minutes = (time.monotonic() - began) / 60
    print(f"{minutes:.1f} minutes; lists lag up to {LAG_SECONDS:g} s; scale {arguments.scale:g}")
    print(f"{'backend':<12} {'runs':>6} {'jobs paid':>10}")
    for backend in BACKENDS:
        print(f"{backend:<12} {total.runs[backend]:>6} {total.paid[backend]:>10}")
    print(f"steps {total.steps}, kills {total.kills}, faults {total.faults}")
    return int(bool(total.problems))


if __name__ == "__main__":
    sys.exit(main())
