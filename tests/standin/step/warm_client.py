"""Runs `python -m MODULE` in a process that the server of tests/standin/warm.py forks."""

import json
import os
import signal
import socket
from typing import NoReturn


def stand_for(folder: str, arguments: list[str]) -> NoReturn:
    """Run a module there; its signals, its output and its end are those of this process."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(f"{folder}/warm.sock")
    environment = {n: value for n, value in os.environ.items() if n != "STANDIN_WARM_STEPS"}
    request = {"arguments": arguments, "environment": environment, "folder": os.getcwd()}
    socket.send_fds(connection, [b"-"], [1, 2])
    connection.sendall(json.dumps(request).encode() + b"\n")
    answers = connection.makefile("rb")
    number = int(answers.readline())
    signal.signal(signal.SIGTERM, lambda *_: os.kill(number, signal.SIGTERM))
    code = int(answers.readline())
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)
