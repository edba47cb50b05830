"""Noticing SIGTERM without dying of it, so that a cancelled step can cancel its remote job."""

from __future__ import annotations

import os
import select
import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Termination:
    """A block in which SIGTERM ends a wait instead of the process.

    A pipe and not an Event: setting an Event from a signal handler can deadlock with the wait
    that it interrupts. Outside the main thread, where Python takes no signals, it only waits.
    """

    def __init__(self) -> None:
        self.requested = False
        self._read, self._write = os.pipe()
        self._before: Any = None

    def __enter__(self) -> Termination:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._notice)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
        os.close(self._read)
        os.close(self._write)

    def wait(self, seconds: float) -> bool:
        """Wait, at most until SIGTERM comes; returns whether it has come."""
        if not self.requested:
            select.select([self._read], [], [], seconds)
        return self.requested

    def _notice(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        os.write(self._write, b"x")
