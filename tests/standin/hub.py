"""The hub, for the files of one model in one revision; a gated one wants its token."""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def serve(folder: Path, model: str, revision: str = "main", token: str = ""):
    """Serve a folder as `model`, under `revision` and its commit; yield the address and requests.

    A request without the token is refused as the hub refuses it, and so is another revision.
    """
    requests: list[tuple[str, str]] = []
    known = (revision, COMMIT)

    class Hub(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
            requests.append((self.path, bearer))
            path = self.path.partition("?")[0]
            parts = path.removeprefix(f"/{model}/resolve/").removeprefix(f"/api/models/{model}/")
            if token and bearer != token:
                self.answer(401, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"})
            elif parts == path:
                self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            elif parts.partition("/")[0] in ("revision", "tree"):
                if parts.split("/")[1] not in known:
                    self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
                    return
                files = [{"type": "file", "path": one.name, "oid": "0", "size": one.stat().st_size}
                         for one in sorted(folder.iterdir())]  # fmt: skip
                siblings = [{"rfilename": one["path"]} for one in files]
                listing = {"id": model, "sha": COMMIT, "siblings": siblings}
                body = files if parts.startswith("tree/") else listing
                self.answer(200, json.dumps(body).encode(), {})
            elif parts.partition("/")[0] not in known:
                self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            elif (file := folder / parts.partition("/")[2]).is_file():
                data = file.read_bytes()
                etag = f'"{hashlib.sha256(data).hexdigest()}"'
                self.answer(200, data, {"X-Repo-Commit": COMMIT, "ETag": etag})
            else:
                self.answer(404, b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})

        def answer(self, code, data, headers):
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()
