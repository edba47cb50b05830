"""The words of a failed step: its host says no more than "exited with a non-zero status".

A step writes them next to its outputs, where the exit task and `tunepipe status` read them, and
where Kubernetes takes the reason for a container's end from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path

from tunepipe import errors
from tunepipe.errors import CloudError, TunepipeError
from tunepipe.stores import storage

FILE = "error.json"
_CHARACTERS_MAX = 2000
_REFUSALS = ("UsageError", "DataError", "LimitError")
_IN_ARGO = re.compile(
    r"\(exit code \d+\): (?P<kind>\w+): (?P<found>.*?)(\nfix: (?P<fix>.*))?\Z", re.S
)
_TERMINATION_LOG = Path("/dev/termination-log")
# The folder of the run's steps on Vertex AI and on this machine, for the exit task.
_steps_folder: ContextVar[str] = ContextVar("steps_folder", default="")


@dataclass(frozen=True)
class Failure:
    """Why a step failed: the class of the error, and what it says."""

    kind: str
    found: str
    where: str = ""
    fix: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Return the words of an error; one that is not tunepipe's has its class among them."""
        if isinstance(error, TunepipeError):
            found = error.found[:_CHARACTERS_MAX]
            return cls(type(error).__name__, found, error.where, error.fix)
        return cls("", f"{type(error).__name__}: {error}"[:_CHARACTERS_MAX])

    def error(
        self, where: str, fix: str = "", otherwise: type[TunepipeError] = CloudError
    ) -> TunepipeError:
        """Return the error of `where` again; `otherwise` is its class if not tunepipe's."""
        named = getattr(errors, self.kind, None)
        kind = otherwise
        if isinstance(named, type) and issubclass(named, TunepipeError):
            kind = named
        found = f"{self.where}: {self.found}" if self.where else self.found
        return kind(found, where=where, fix=self.fix or fix)

    def message(self) -> str:
        """Return it as the message of a container that has ended."""
        found = f"{self.where}: {self.found}" if self.where else self.found
        return (
            (f"{self.kind}: " if self.kind else "") + found + f"\nfix: {self.fix}" * bool(self.fix)
        )


@contextmanager
def failure_kept(output_file: str, termination_log: Path = _TERMINATION_LOG) -> Iterator[None]:
    """Run a step's body; write down why it failed next to its outputs, and for Kubernetes.

    What was refused once stays refused: a host that repeats a step is told so again at once.
    """
    file = Path(output_file).with_name(FILE)
    earlier = read_failure(str(file)) if file.exists() else None
    file.unlink(missing_ok=True)
    token = _steps_folder.set(str(file.parents[1]))
    try:
        if earlier and earlier.kind in _REFUSALS:
            raise getattr(errors, earlier.kind)(earlier.found, where=earlier.where, fix=earlier.fix)
        yield
    except (Exception, SystemExit) as end:
        error = end.__cause__ if isinstance(end, SystemExit) else end
        if error is None:
            raise
        failure = Failure.of(error)
        with suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(asdict(failure)), encoding="utf-8")
        with suppress(OSError):
            if termination_log.exists():
                termination_log.write_text(failure.message(), encoding="utf-8")
        raise
    finally:
        _steps_folder.reset(token)


def find_failure(pattern: str) -> Failure | None:
    """Read the words that the first step left that a glob of its files names; None without any."""
    with suppress(TunepipeError):
        for file in storage.matching_files(pattern):
            return read_failure(file)
    return None


def failure_of(message: str, step: str) -> Failure | None:
    """Read the words of a step from what Argo says of its container; None if it had no words."""
    match = _IN_ARGO.search(message)
    if match and isinstance(getattr(errors, match["kind"], None), type):
        return Failure(match["kind"], match["found"], step, match["fix"] or "")
    return None


def read_failure(file: str) -> Failure | None:
    """Read the words in a file; None if they cannot be read."""
    with suppress(TunepipeError, ValueError, TypeError):
        fields = json.loads(storage.read_bytes(file))
        if isinstance(fields, dict) and all(isinstance(text, str) for text in fields.values()):
            return Failure(**fields)
    return None


def failure_of_run() -> Failure | None:
    """Read why this run failed, in its exit task; None if that is not known."""
    folder = _steps_folder.get()
    return find_failure(f"{folder}/*/{FILE}") if folder else None
