"""A webhook on this machine: what was posted to it, and how it answers."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tunepipe.gcp.outbound import ALLOW_PRIVATE


class Receiver:
    """Keeps what is posted; `answers` are the statuses of the next posts, then 200."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.messages: list[Any] = []
        self.answers: list[int] = []
        self.posts = 0


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Open a webhook on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.posts += 1
            status = made.answers.pop(0) if made.answers else 200
            if status == 200:
                made.messages.append(json.loads(body))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Receiver(f"http://127.0.0.1:{server.server_address[1]}/hook/T0P-S3CR3T")
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    before = os.environ.get(ALLOW_PRIVATE)
    os.environ[ALLOW_PRIVATE] = "1"  # a webhook on this machine has to be allowed
    try:
        yield made
    finally:
        del os.environ[ALLOW_PRIVATE]
        if before is not None:
            os.environ[ALLOW_PRIVATE] = before
        server.shutdown()
        server.server_close()
