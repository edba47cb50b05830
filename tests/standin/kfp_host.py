"""A host of open-source Kubeflow Pipelines: its recurring runs and experiments, over HTTP."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

_ROOT = "/apis/v2beta1"


def _fits(cron: str) -> bool:
    """KFP's cron has seconds first, and takes weekdays from 0 to 6."""
    return "7" not in cron.split()[5]


def _from_struct(value: Any) -> Any:
    """A value as it comes back: specs are kept as protobuf Struct, whose 0.0 is written 0."""
    if isinstance(value, dict):
        return {name: _from_struct(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_from_struct(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


class KfpHost:
    """What the host keeps; `calls` are the verbs and paths that changed anything."""

    def __init__(self) -> None:
        self.recurring: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.experiments: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.broken = False
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(
        self, verb: str, path: str, query: dict[str, list[str]], body: Any
    ) -> tuple[int, Any]:
        if verb != "GET":
            self.calls.append(f"{verb} {path}")
        if self.broken and not path.endswith("/healthz"):
            return 503, {"message": "the database is away"}
        match verb, path.removeprefix(_ROOT).strip("/").split("/"):
            case "GET", ["healthz"]:
                return 200, {"multi_user": False}
            case "GET", ["experiments"]:
                return 200, {"experiments": list(self.experiments.values())}
            case "POST", ["experiments"]:
                return 200, self._kept(self.experiments, "experiment_id", body)
            case "GET", ["experiments", one] if one in self.experiments:
                return 200, self.experiments[one]
            case "GET", ["recurringruns"]:
                return 200, self._page(list(self.recurring.values()), query)
            case "POST", ["recurringruns", one] if one.partition(":")[0] in self.recurring:
                name, _, verb = one.partition(":")
                self.recurring[name]["status"] = {"disable": "DISABLED", "enable": "ENABLED"}[verb]
                return 200, {}
            case "GET", ["runs"]:
                return 200, {"runs": list(self.runs.values())}
            case "POST", ["runs"]:
                return 200, self._kept(self.runs, "run_id", {**body, "state": "PENDING"})
            case "POST", ["recurringruns"] if not _fits(body["trigger"]["cron_schedule"]["cron"]):
                return 400, {"message": "end of range (7) above maximum (6)"}
            case "POST", ["recurringruns"]:
                return 200, self._kept(self.recurring, "recurring_run_id", body)
            case "DELETE", ["recurringruns", one] if one in self.recurring:
                del self.recurring[one]
                return 200, {}
        return 404, {"message": f"no {verb} {path}"}

    def _page(self, found: list[Any], query: dict[str, list[str]]) -> dict[str, Any]:
        """One at a time, whatever size is asked for: a host may give fewer."""
        begin = int(query.get("page_token", ["0"])[0])
        more = {"next_page_token": str(begin + 1)} if begin + 1 < len(found) else {}
        return {"recurringRuns": found[begin : begin + 1], **more}

    def _kept(self, kind: dict[str, dict[str, Any]], key: str, body: Any) -> dict[str, Any]:
        name = f"{key}-{len(self.calls)}"
        kind[name] = _from_struct({**body, key: name})
        return kind[name]

    def _handler(host) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(size) or b"{}")
                url = urlsplit(self.path)
                code, said = host.answer(self.command, url.path, parse_qs(url.query), body)
                data = json.dumps(said).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = do

            def log_message(self, *args: Any) -> None: ...

        return Handler
