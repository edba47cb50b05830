"""Containers that begin with torch and trl imported: a job in a second, not in ten.

    python -m tests.standin.warm SOCKET

imports them once, and forks a process for each request that comes in by the socket. It ends when
its standard input does. A `WarmProcess` is what subprocess.Popen would be.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

_IMPORTS = ("torch", "datasets", "peft", "safetensors.torch", "trl", "kubernetes.client")
_REPOSITORY = Path(__file__).parents[2]
_START_SECONDS = 120.0
_servers: list[subprocess.Popen[bytes]] = []


class WarmProcess:
    """A process in a session of its own that runs `python -m MODULE ARGUMENTS`."""

    def __init__(
        self, folder: Path, arguments: Sequence[str], environment: Mapping[str, str], log: Path
    ):
        self._socket = _connect(folder / "warm.sock")
        self._answers = self._socket.makefile("rwb")
        request = {"arguments": list(arguments), "environment": dict(environment), "log": str(log)}
        self._answers.write(json.dumps(request).encode() + b"\n")
        self._answers.flush()
        self.pid = int(self._answers.readline())

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self.wait() if select.select([self._socket], [], [], 0)[0] else None

    def wait(self) -> int:
        """Wait for the exit code."""
        if not hasattr(self, "_code"):
            self._code = int(self._answers.readline())
        return self._code

    def kill(self) -> None:
        """Kill it with its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


def _connect(address: Path) -> socket.socket:
    """Connect to the server, which is started where none is yet."""
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
                address.unlink(missing_ok=True)
                command = [sys.executable, "-m", __name__, str(address)]
                environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(_REPOSITORY)}
                _servers.append(
                    subprocess.Popen(
                        command, stdin=subprocess.PIPE, cwd=_REPOSITORY, env=environment
                    )
                )
                started = True
            time.sleep(0.05)


def _serve(address: str) -> None:
    for name in _IMPORTS:
        importlib.import_module(name)
    from trl import DPOTrainer, SFTTrainer  # noqa: F401  (which it imports where they are used)

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    server = socket.socket(socket.AF_UNIX)
    server.bind(address)
    server.listen()
    while True:
        ready, _, _ = select.select([server, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        connection, _ = server.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            server.close()
            _run(connection)
        connection.close()


def _run(connection: socket.socket) -> None:
    """Run one process, and tell its number and its exit code."""
    stream = connection.makefile("rwb")
    request = json.loads(stream.readline())
    child = os.fork()
    if child:
        stream.write(f"{child}\n".encode())
        stream.flush()
        _, status = os.waitpid(child, 0)
        with contextlib.suppress(BrokenPipeError):  # who asked may be gone
            stream.write(f"{os.waitstatus_to_exitcode(status)}\n".encode())
            stream.flush()
        os._exit(0)
    os.setsid()
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    connection.detach()
    os.environ.clear()
    os.environ.update(request["environment"])
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
    _serve(sys.argv[1])
