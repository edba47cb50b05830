"""The whole pipeline on this machine: one folder a run, resumable, and never twice by accident."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import IO, Any

import msgspec

from tunepipe import progress
from tunepipe.backends.local import backend
from tunepipe.data.fingerprint import digest_of
from tunepipe.errors import TunepipeError, UsageError
from tunepipe.files import read_json, unreadable, write_json
from tunepipe.runs.compile import pipeline_text
from tunepipe.runs.status import View, view
from tunepipe.stores import failures
from tunepipe.stores.failures import Failure, find_failure
from tunepipe.stores.generations import guarded, identity

# The results that people open, with the step and the output that make each.
_RESULTS = {
    "report.html": "conclude-run/report",
    "summary.md": "conclude-run/summary",
    "model_card.md": "conclude-run/model_card",
    "comparison.json": "compare-models/comparison",
    "validation.html": "validate-jsonl/page",
    "validation.json": "validate-jsonl/problems",
    "predictions/tuned.jsonl": "evaluate-model/predictions",
    "predictions/base.jsonl": "evaluate-model/base_predictions",
    "predictions/champion.jsonl": "evaluate-model/champion_predictions",
    "model": "tune-local/model",
}

_KILLED = "it was killed; run again, and the work goes on where it stood"
# What kfp.local logs.
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_BEGAN = re.compile(r"Executing task '(.+)'$")
_ENDED = re.compile(r"Task '(.+)' finished with status (\w+)$")
_METADATA = re.compile(r"(metadata=)\{.+\}(?= \)$)")
_ENDINGS = (signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class LocalRun:
    """A run on this machine, as `run.json` in its folder records it.

    Args:
        id: When it began, and the start of its key.
        key: Made from the data's fingerprint and the parameters; equal keys are the same work.
        folder: The folder of everything that it made.
        state: running, succeeded or failed.
        verdict: better, worse or not-enough-evidence; "" before there is one.
        reason: Why, in one sentence; of a failed run, what went wrong.
        results: Names and paths of what a person opens.
    """

    id: str
    key: str
    folder: str
    state: str = "running"
    verdict: str = ""
    reason: str = ""
    results: Mapping[str, str] = field(default_factory=dict)


def run_local(
    parameters: Mapping[str, Any],
    *,
    runs_folder: Path = Path("runs"),
    again: bool = False,
) -> LocalRun:
    """Run the local pipeline over a dataset, from fingerprint to promotion, and show its progress.

    Work that is done already is not repeated but for `again`: the earlier run is returned. The
    folder holds a folder for each run, the registry, and what killed runs left.

    Raises:
        TunepipeError: A step failed; the message says which, why, and where the log is.
    """
    key = key_of(parameters)
    if not again and (earlier := succeeded(runs_folder, key)):
        return earlier
    backend.check(str(parameters.get("base_model") or ""), parameters.get("options") or {})
    runs_folder, began = runs_folder.resolve(), datetime.now(UTC)
    run_id = f"{began:%Y%m%d-%H%M%S}-{key[:6]}"
    run = LocalRun(id=run_id, key=key, folder=str(runs_folder / run_id))
    completed = {
        "registry": str(runs_folder / "registry"),
        "work_dir": str(runs_folder / "work" / key),
        "run_id": run_id,
        "run": {"id": run_id, "created": began.isoformat(timespec="seconds"), "backend": "local"},
        **parameters,
    }
    with _locked(runs_folder / "work" / key) as lock, _ending():
        _write(run)
        try:
            _execute(run, completed, lock)
            done = _finished(run)
        except BaseException as error:
            _write(replace(run, state="failed", reason=str(error) or "interrupted"))
            raise
        _write(done)
    return done


def succeeded(runs_folder: Path, key: str) -> LocalRun | None:
    """Find the last run with this key that succeeded."""
    for file in sorted(runs_folder.glob("*/run.json"), reverse=True):
        with suppress(UsageError):  # a broken record stands in no other run's way
            if (run := read(file.parent)).key == key and run.state == "succeeded":
                return run
    return None


def read(folder: Path) -> LocalRun:
    """Read a run's record; one that was killed could not write down that it has ended."""
    file = folder / "run.json"
    try:
        run = msgspec.json.decode(file.read_bytes(), type=LocalRun)
    except OSError as error:
        raise unreadable(file, error) from error
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        fix = f"remove {folder}, and run the same command again if it was cut off"
        found = f"the record of the run is broken: {error}"
        raise UsageError(found, where=str(file), fix=fix) from error
    if run.state == "running" and not _is_held(folder.parent / "work" / run.key):
        return replace(run, state="failed", reason=_KILLED)
    return run


def key_of(parameters: Mapping[str, Any]) -> str:
    """Return the key of a run's work, from the contents of its files and its parameters."""
    fingerprint = identity(str(parameters["dataset_uri"])).fingerprint
    apart = ("dataset_uri", "notify")
    work = {name: value for name, value in parameters.items() if name not in apart}
    # The content under a name may change; an earlier result is then not valid.
    work.update(guarded(parameters))
    if files := _files(Path(str(parameters.get("base_model") or ""))):
        work["base_files"] = files
    return digest_of([fingerprint, work], 16)


def _files(folder: Path) -> list[tuple[str, int, int]]:
    """List a base model's files with size and time of change: to read them all would take long."""
    if folder == Path() or not folder.is_dir():
        return []
    stats = {path.name: path.stat() for path in folder.iterdir()}
    return sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats.items())


@contextmanager
def _ending() -> Iterator[None]:
    """End a run on SIGTERM or a closed terminal as on Ctrl-C: with its steps, and recorded."""

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signals = []
    if threading.current_thread() is threading.main_thread():
        # What the caller ignores, as nohup does, stays ignored.
        signals = [number for number in _ENDINGS if signal.getsignal(number) is signal.SIG_DFL]
    for number in signals:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in signals:
            signal.signal(number, signal.SIG_DFL)


def _is_held(work: Path) -> bool:
    try:
        with (work / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


@contextmanager
def _locked(work: Path) -> Iterator[IO[str]]:
    """Hold a piece of work for one run; killing the command alone leaves it with its pipeline."""
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(
                "the same work is under way on this machine",
                where=str(work),
                fix="wait for that run, or stop it",
            ) from error
        yield lock


def _write(run: LocalRun) -> None:
    write_json(asdict(run), Path(run.folder) / "run.json")


def _execute(run: LocalRun, parameters: Mapping[str, Any], lock: IO[str]) -> None:
    folder = Path(run.folder)
    log = folder / "log.txt"
    (folder / "pipeline.yaml").write_text(pipeline_text("local"), encoding="utf-8")
    (folder / "parameters.json").write_text(json.dumps(parameters), encoding="utf-8")
    files = [str(folder / name) for name in ("pipeline.yaml", "parameters.json", "steps")]
    shown = view()  # before there is a process that would be left if this is broken off
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "tunepipe.runs.kfp_process", *files],
            stdin=subprocess.DEVNULL,  # no library asks anything, and none is answered by a pipe
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, progress.VARIABLE: "/dev/stderr", "PYTHONUNBUFFERED": "1"},
            start_new_session=True,  # so that its steps end with it
            pass_fds=[lock.fileno()],  # so that the work is locked as long as the pipeline lives
        )
        failed = show_log(_log_lines(process, log), shown)
    finally:
        shown.close()
    if failed:
        failure = find_failure(f"{folder}/steps/*/{failed}/{failures.FILE}")
        failure = failure or Failure("", "it ended without a word, as a killed process does")
        raise failure.error(f"step {failed}", f"read {log}", TunepipeError)
    if process.returncode:
        raise TunepipeError(
            f"the pipeline broke off, with exit code {process.returncode}",
            where=str(log),
            fix="read the log; run again, and the work goes on where it stood",
        )


def _log_lines(process: subprocess.Popen[str], file: Path) -> Iterator[str]:
    """Yield the log of the pipeline's process as it comes, and keep it in a file."""
    with process, file.open("w", encoding="utf-8") as log:
        assert process.stdout
        try:
            for line in process.stdout:
                if not progress_of(line):
                    log.write(without_metadata(line))
                yield line
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            raise


def _finished(run: LocalRun) -> LocalRun:
    results = dict(_collected(Path(run.folder)))
    if "comparison.json" not in results:
        # A run of a series ended before it began to learn.
        (output,) = Path(run.folder).glob("steps/*/prepare-run/executor_output.json")
        values = read_json(output)["parameterValues"]
        return replace(run, state="succeeded", reason=str(values["unchanged_since"]))
    comparison = read_json(results["comparison.json"])
    decision = {name: comparison[name] for name in ("verdict", "reason")}
    return replace(run, state="succeeded", results=results, **decision)


def _collected(folder: Path) -> Iterator[tuple[str, str]]:
    """Put what a person opens at the top of the run's folder, under names that programs know."""
    (steps,) = (folder / "steps").iterdir()
    for name, place in _RESULTS.items():
        source, target = steps / place, folder / name
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            target.symlink_to(source.relative_to(target.parent), target_is_directory=True)
        elif source.exists() and source.stat().st_size:
            shutil.copyfile(source, target)
        if target.exists():
            yield name, str(target)


def show_log(lines: Iterable[str], view: View) -> str:
    """Show the steps of a log as it comes, and return the first that failed; "" if none has."""
    failed = ""
    for raw in lines:
        line = _ANSI.sub("", raw.rstrip("\n"))
        if event := progress_of(line):
            view.progress(event)
        elif began := _BEGAN.search(line):
            view.began(began[1])
        elif ended := _ENDED.search(line):
            succeeded = ended[2] == "SUCCESS"
            view.ended(ended[1], succeeded)
            failed = failed or ("" if succeeded else ended[1])
    return failed


def by_step(text: str) -> dict[str, str]:
    """Return what each step that began has logged, by its name, without colours."""
    logs: dict[str, str] = {}
    step = ""
    for line in _ANSI.sub("", text).splitlines(keepends=True):
        began, ended = _BEGAN.search(line), _ENDED.search(line)
        step = began[1] if began else step
        if step:
            logs[step] = logs.get(step, "") + line
        step = "" if ended else step
    return logs


def without_metadata(line: str) -> str:
    """Leave out what an artifact holds: the labels of a confusion matrix are rows' texts."""
    return _METADATA.sub(r"\1{…}", line)


def progress_of(line: str) -> dict[str, Any]:
    """Read a line that tunepipe.progress wrote; empty for any other line."""
    event: dict[str, Any] = {}
    if line.lstrip().startswith('{"stage":'):
        with suppress(ValueError):
            event = json.loads(line)
    return event
