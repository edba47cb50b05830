"""`make mutants`: random wrong changes of the package; do the tests notice them?

    python -m tests.mutants --sample 60 --seed 1

Each change is made in a copy of the repository, one at a time, and the tests that mirror the
changed module are run, then those that come from elsewhere to its folder (`_ALSO`). Changes of
folders where a mistake costs money are drawn more often (`_WEIGHTS`). Each outcome is listed with
the test that noticed the change, so that a test that fails by chance can be seen. What the tests do
not notice is a missing test, or a change that makes no difference.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from tests.mutants.changes import Change, changes_of

ROOT = Path(__file__).parents[2]
# Folders of tests that cover a folder of the package besides the one of its name.
_ALSO = {
    "backends": ("tests/steps", "tests/runs/test_managed_run.py", "tests/cli/test_run.py"),
    "catalog": ("tests/planning",),
    "cli": ("tests/test_docs.py",),
    "data": ("tests/validation", "tests/splitting", "tests/cli/test_data_commands.py"),
    "evaluation": ("tests/steps", "tests/cli/test_data_commands.py", "tests/cli/test_judge.py"),
    "gcp": ("tests/stores", "tests/runs/test_managed_run.py", "tests/cli/test_run_refusals.py"),
    "notifications": ("tests/steps",),
    "planning": ("tests/steps", "tests/cli"),
    "registry": ("tests/cli/test_champions.py", "tests/steps", "tests/runs/test_managed_run.py"),
    "reporting": ("tests/cli/test_data_commands.py", "tests/pages"),
    "runs": ("tests/cli/test_run.py", "tests/cli/test_run_refusals.py"),
    "splitting": ("tests/cli/test_data_commands.py", "tests/steps"),
    "steps": (
        *("tests/components", "tests/runs/test_managed_run.py", "tests/cli/test_champions.py"),
        *("tests/registry/test_vertex_alias.py", "tests/registry/test_evaluations.py"),
    ),
    "stores": ("tests/gcp", "tests/runs/test_cancellation.py", "tests/runs/test_managed_run.py"),
    "validation": ("tests/cli/test_data_commands.py", "tests/steps"),
}
# Tests that start servers or processes, or train, come last.
_SLOW = re.compile(r"\b(cloud|standin|s3|subprocess|torch|transformers|sync_playwright)\b")
# How often a change is drawn, by its folder: 1 for what is not named.
_WEIGHTS = {
    **dict.fromkeys(("gcp", "planning", "registry"), 4.0),
    **dict.fromkeys(("splitting", "stores"), 3.0),
    **dict.fromkeys(("backends", "evaluation", "runs", "validation"), 2.0),
    **dict.fromkeys(("cli", "packaging", "reporting"), 0.5),
}
# What most tests import; it takes longer than they do.
_SLOW_IMPORTS = (
    *("google.cloud.aiplatform_v1", "google.cloud.storage", "google.genai", "kfp", "kfp.compiler"),
    *("hypothesis", "jsonschema", "numpy", "rapidfuzz", "sacrebleu", "scipy.stats", "torch"),
    *("transformers", "typer"),
)
# A change of any file that a component carries would be noticed by this one.
_NOT_THIS = "tests/runs/test_compile.py::test_compiled_is_current"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--sample", type=int, default=60, help="changes to make")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--skip", type=int, default=0, help="of them, those that were tried before")
    parser.add_argument("--under", action="append", help="a part of the package; default: all")
    parser.add_argument("--minutes", type=float, default=6.0, help="for the tests of one change")
    arguments = parser.parse_args()
    under = arguments.under or ["tunepipe"]
    sample = draw(under, arguments.sample, random.Random(arguments.seed))[arguments.skip :]
    outcomes: Counter[str] = Counter()
    broken: set[str] = set()
    for name in _SLOW_IMPORTS:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = _copy(Path(folder) / "copy")
        for change in sample:
            began = time.monotonic()
            outcome, by = try_change(copy, change, 60 * arguments.minutes, broken)
            outcomes[outcome] += 1
            print(f"{outcome:8} {time.monotonic() - began:4.0f} s  {change}  {by}", flush=True)
    decided = outcomes["noticed"] + outcomes["missed"]
    rate = 100 * outcomes["noticed"] / max(decided, 1)
    print(f"{dict(outcomes)}: {rate:.0f} % of {decided} noticed; seed {arguments.seed}")
    for test in sorted(broken):
        print(f"left out, since it fails without a change: {test}")
    return 0


def draw(under: Sequence[str], size: int, random_: random.Random) -> list[Change]:
    """Draw changes at random, each by the weight of its folder."""
    files = [
        path
        for part in under
        for path in sorted((ROOT / part).rglob("*.py"))
        if "components" not in path.parts and "pipelines" not in path.parts
    ]
    everything = [change for path in files for change in changes_of(path, path.relative_to(ROOT))]

    def ticket(change: Change) -> float:
        return random_.random() ** (1 / _WEIGHTS.get(change.file.parts[1], 1.0))

    return sorted(everything, key=ticket, reverse=True)[:size]


def try_change(copy: Path, change: Change, seconds: float, broken: set[str]) -> tuple[str, str]:
    """Return whether the tests noticed a change (noticed, missed, slow: out of time), and which.

    Args:
        copy: A copy of the repository.
        change: The change, which is taken back.
        seconds: For the tests.
        broken: Tests that fail without any change; those that are found are added.
    """
    file = copy / change.file
    before = file.read_text(encoding="utf-8")
    end = time.monotonic() + seconds
    waiting = tests_of(change.file)
    while waiting:
        try:
            file.write_text(change.apply(before), encoding="utf-8")
            failed = failing(copy, waiting[0], broken, end - time.monotonic())
        except TimeoutError:
            return "slow", ""
        finally:
            file.write_text(before, encoding="utf-8")
        if not failed:
            waiting.pop(0)
            continue
        also_before = failing(copy, failed, broken, seconds)
        if not also_before:
            return "noticed", f"by {failed[0]}"
        broken.update(also_before)
    return "missed", ""


def failing(copy: Path, tests: Sequence[str], without: Iterable[str], seconds: float) -> list[str]:
    """Run tests to the first that fails, and name it; [] if all pass.

    They run in a fork of this process, which has imported what is slow to import.

    Raises:
        TimeoutError: The time has run out.
    """
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.setsid()
        os.close(read)
        with contextlib.suppress(BaseException):
            os.chdir(copy)
            os.environ["PYTHONPATH"] = sys.path[0] = str(copy)
            os.environ["TMPDIR"] = tempfile.tempdir = str(copy.parent)
            for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
                del sys.modules[name]
            os.dup2(os.open(os.devnull, os.O_RDWR), 1)
            os.dup2(1, 2)
            deselected = [f"--deselect={each}" for each in (_NOT_THIS, *without)]
            options = ["-x", "-q", "-p", "no:cacheprovider", "--timeout=120", *deselected]
            code = pytest.main([*options, *tests], plugins=[_Reporter(write)])
            os._exit(0 if code in (0, 5) else 1)  # 5: every test was deselected
        os._exit(1)
    os.close(write)
    code = _code_of(child, seconds)
    with os.fdopen(read) as file:
        named = file.read().splitlines()
    return (named or list(tests)) if code else []


class _Reporter:
    """Writes the name of each test that fails, and of each file that cannot be imported."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            os.write(self._descriptor, f"{report.nodeid}\n".encode())

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            os.write(self._descriptor, f"{report.nodeid}\n".encode())


def _code_of(child: int, seconds: float) -> int:
    """Wait for a child's exit code, and end what it has left running."""
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        raise TimeoutError
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)


def tests_of(file: Path) -> list[list[str]]:
    """Return the tests that cover a module: quick ones first, its own before its folder's.

    Args:
        file: The module, such as tunepipe/gcp/retries.py.
    """
    folder = Path("tests", *file.parent.parts[1:])
    while not (ROOT / folder).is_dir():
        folder = folder.parent
    pattern = "test_*.py" if folder == Path("tests") else "**/test_*.py"
    mirrored = {str(path.relative_to(ROOT)) for path in (ROOT / folder).glob(pattern)}
    dotted = ".".join(file.with_suffix("").parts)
    package, _, name = dotted.rpartition(".")
    imports = re.compile(
        rf"from {re.escape(dotted)} import|from {re.escape(package)} import [^\n]*\b{name}\b"
    )
    stages: dict[tuple[bool, bool], list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        test, text = str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
        is_importing, is_mirrored = bool(imports.search(text)), test in mirrored
        if is_importing or is_mirrored:
            is_own = is_mirrored and (is_importing or name in path.stem)
            stages.setdefault((bool(_SLOW.search(text)), not is_own), []).append(test)
    also = [each for each in _ALSO.get(file.parts[1], ()) if each not in mirrored]
    return [*(tests for _, tests in sorted(stages.items())), *([also] if also else [])]


def _copy(folder: Path) -> Path:
    """Copy the files that git knows, and those that it would."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for name in listed:
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    return folder


if __name__ == "__main__":
    sys.exit(main())
