"""Answers that are paid for, kept on the disk as they come."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tunepipe.backends.base import Answer

# What an answer took, as far as it was measured.
MEASURED = ("seconds", "input_tokens", "output_tokens")


@dataclass
class AnswerFile:
    """A file of answers, open for more, and what it holds: answers, or the error, by question's id.

    Each answer is on the disk when `add` returns. A question without an answer is not stored, so
    the next process that opens the file asks it again.
    """

    file: IO[bytes]
    answered: dict[str, Answer] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, path: Path) -> AnswerFile:
        """Open a file of answers; it and its folder are made if they are missing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
        file.seek(0)
        content = file.read()
        # A step that was killed may have left half a line.
        file.truncate(content.rfind(b"\n") + 1)
        answers = [Answer(**json.loads(line)) for line in content.split(b"\n")[:-1]]
        return cls(file, {answer.id: answer for answer in answers if answer.text is not None})

    def add(self, answer: Answer) -> None:
        """Keep one answer; several threads may do so at a time."""
        record = {"id": answer.id, "text": answer.text}
        record |= {
            name: getattr(answer, name) for name in MEASURED if getattr(answer, name) is not None
        }
        line = json.dumps(record).encode() + b"\n"
        with self._lock:
            if answer.text is None:
                self.errors[answer.id] = answer.error or "no answer"
            else:
                self.answered[answer.id] = answer
            self.file.write(line)
            self.file.flush()
            os.fsync(self.file.fileno())

    def __enter__(self) -> AnswerFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self.file.close()
