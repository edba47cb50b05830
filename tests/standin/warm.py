"""Processes that begin with what they use imported: a training in a second, not in ten.

    python -m tests.standin.warm FOLDER

imports them once, and forks a process for each request that comes in by the folder's socket. It
ends when nobody has the folder's FIFO open. A `WarmProcess` is what subprocess.Popen would be,
`warm_python` an interpreter for `python -m MODULE`, which torchrun takes from PYTHON_EXEC, and
`warm_steps` the environment for steps of kfp.local. What is imported is not ours, and known to be
what a step installs: the tests of its packages begin with a new Python.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

_IMPORTS = (
    *("torch", "datasets", "peft", "safetensors.torch", "trl", "kubernetes.client"),
    *("kfp.dsl", "google.cloud.aiplatform_v1", "google.cloud.aiplatform_v1beta1"),
    *("google.cloud.storage", "google.genai", "scipy.stats", "sacrebleu", "rapidfuzz"),
    *("jsonschema", "jinja2", "msgspec", "tenacity", "xxhash"),
)
_REPOSITORY = Path(__file__).parents[2]
CLIENTS = Path(__file__).with_name("step")
_SHARED = "STANDIN_WARM"
_START_SECONDS = 300.0  # on a busy machine its imports take a minute and a half
_servers: list[subprocess.Popen[bytes]] = []


class WarmProcess:
    """A process in a session of its own that runs `python -m MODULE ARGUMENTS`."""

    def __init__(
        self, folder: Path, arguments: Sequence[str], environment: Mapping[str, str], log: Path
    ):
        self._socket, self._lock = _connect(folder), threading.Lock()
        request = {"arguments": list(arguments), "environment": dict(environment)}
        request["folder"] = str(_REPOSITORY)
        with log.open("ab") as file:
            socket.send_fds(self._socket, [b"-"], [file.fileno()] * 2)
        self._answers = self._socket.makefile("rwb")
        self._answers.write(json.dumps(request).encode() + b"\n")
        self._answers.flush()
        self.pid = int(self._answers.readline())

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self.wait() if select.select([self._socket], [], [], 0)[0] else None

    def wait(self) -> int:
        """Wait for the exit code."""
        with self._lock:  # it comes once, and several threads may ask
            if not hasattr(self, "_code"):
                self._code = int(self._answers.readline())
            return self._code

    def kill(self) -> None:
        """Kill it with its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


_CLIENT = """#!{python} -SE
import sys

sys.path.insert(0, {clients!r})
from warm_client import stand_for

arguments = [word for word in sys.argv[1:] if word != "-u"]
assert arguments[0] == "-m", arguments
stand_for({folder!r}, arguments[1:])
"""


def warm_python(folder: Path) -> str:
    """Write an interpreter whose processes are forked from the server of a folder."""
    _connect(folder).close()
    file = folder / f"warm_python-{os.getpid()}"  # which no other process writes meanwhile
    file.write_text(_CLIENT.format(python=sys.executable, clients=str(CLIENTS), folder=str(folder)))
    file.chmod(0o700)
    return str(file)


def warm_steps() -> dict[str, str]:
    """Return the environment in which steps are forked as well.

    It is empty where there is no shared server.
    """
    if _SHARED not in os.environ:
        return {}
    _connect(Path(os.environ[_SHARED])).close()
    paths = [str(CLIENTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths), "STANDIN_WARM_STEPS": os.environ[_SHARED]}


def share() -> None:
    """Have this process and its children use one server, which ends with this process."""
    folder = tempfile.mkdtemp(prefix="warm-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _hold(Path(folder))
    os.environ[_SHARED] = folder


def shared(folder: Path) -> Path:
    """Return the folder of the shared server; where there is none, the one that is passed."""
    return Path(os.environ.get(_SHARED, folder))


def _hold(folder: Path) -> None:
    """Let the server of a folder go on until this process ends, in whatever way."""
    os.mkfifo(folder / "alive")
    os.open(folder / "alive", os.O_RDWR)


def _connect(folder: Path) -> socket.socket:
    """Connect to the server, which is started where none is yet."""
    address = folder / "warm.sock"
    with address.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        end = time.monotonic() + _START_SECONDS
        started = False
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(address))
                return connection
            except OSError:
                connection.close()
                assert time.monotonic() < end, "the server of warm processes does not start"
            if not started:
                if not (folder / "alive").exists():
                    _hold(folder)
                command = [sys.executable, "-m", __name__, str(folder)]
                environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(_REPOSITORY)}
                _servers.append(
                    subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        cwd=_REPOSITORY,
                        env=environment,
                        start_new_session=True,  # whoever starts it is not all that it serves
                    )
                )
                started = True
            time.sleep(0.05)


def _serve(folder: Path) -> None:
    os.environ["_KFP_RUNTIME"] = "true"  # what a step imports of kfp
    for name in _IMPORTS:
        importlib.import_module(name)
    from transformers import AutoModelForCausalLM, LlamaForCausalLM  # noqa: F401
    from trl import DPOTrainer, SFTTrainer  # noqa: F401  (which it imports where they are used)

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    alive = os.open(folder / "alive", os.O_RDONLY | os.O_NONBLOCK)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(folder / "warm.sock"))
    server.listen()
    while True:
        ready, _, _ = select.select([server, alive], [], [])
        if alive in ready:  # nobody holds it any more
            return
        connection, _ = server.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            server.close()
            _run(connection)
        connection.close()


def _run(connection: socket.socket) -> None:
    """Run one process, and tell its number and its exit code; it ends with who asked for it."""
    _, output, _, _ = socket.recv_fds(connection, 1, 2)
    if not output:  # only a look whether the server is there
        os._exit(0)
    stream = connection.makefile("rwb")
    request = json.loads(stream.readline())
    child = os.fork()
    if child:
        stream.write(f"{child}\n".encode())
        stream.flush()
        while not (ended := os.waitpid(child, os.WNOHANG))[0]:
            if select.select([connection], [], [], 0.02)[0]:  # nothing more is asked: it is gone
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child, signal.SIGKILL)
                os._exit(0)
        with contextlib.suppress(BrokenPipeError):
            stream.write(f"{os.waitstatus_to_exitcode(ended[1])}\n".encode())
            stream.flush()
        os._exit(0)
    os.setsid()
    for source, target in zip((os.open(os.devnull, os.O_RDONLY), *output), range(3), strict=True):
        os.dup2(source, target)
    connection.detach()
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if "PYTHONSAFEPATH" not in os.environ:
        paths.insert(0, request["folder"])
    sys.path[:0] = [path for path in paths if path and path not in sys.path]
    if str(CLIENTS) in paths:
        runpy.run_path(str(CLIENTS / "sitecustomize.py"))  # as a new Python does
    module, *arguments = request["arguments"]
    sys.argv = [module, *arguments]
    code = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
