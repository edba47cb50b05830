"""HTTPS: the REST spelling of the generated methods, Cloud Storage, tokens, templates, images.

The Host header says which service is meant. Everything refused is refused in Google's shape:
`{"error": {"code", "message", "status"}}`.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from google.api_core import exceptions
from google.protobuf import json_format

from .cloud import TOKEN, Cloud, Dropped, Outlived
from .discovery import answer_problems, request_problems
from .governance import Governance
from .storage import Reply, Storage
from .surface import Binding, Method
from .templates import Templates
from .tunings import Tunings


class Rest:
    """Answers one HTTP request, whatever its host."""

    def __init__(
        self, cloud: Cloud, surface: dict[str, Method], templates: Templates, tunings: Tunings
    ) -> None:
        self.cloud, self.templates, self.tunings = cloud, templates, tunings
        self.storage, self.governance = Storage(cloud), Governance(cloud)
        self.routes = [(b, m) for m in surface.values() for b in m.bindings]

    def answer(self, verb: str, target: str, headers: Any, body: bytes) -> Reply:
        """Find the service and let it answer; both sides are held against Google's documents."""
        host = headers.get("Host", "").partition(":")[0]
        reply = self._answer(verb, target, headers, body)
        self.cloud.mismatches += request_problems(host, verb, target, body)
        if reply.code == 200:
            self.cloud.mismatches += answer_problems(host, verb, target, reply.body)
        return reply

    def _answer(self, verb: str, target: str, headers: Any, body: bytes) -> Reply:
        host = headers.get("Host", "").partition(":")[0]
        if host == "oauth2.googleapis.com":
            return self._guarded("token", host, target, _token)
        if host == "storage.googleapis.com":
            handle = lambda: self.storage.answer(verb, target, headers, body)  # noqa: E731
            self._authorized(headers)
            return self._guarded(f"storage.{verb.lower()}", host, target, handle)
        if reply := self.governance.answer(verb, target, host, body):
            self._authorized(headers)
            return reply
        if host.endswith(".pkg.dev"):
            self.cloud.tokens.append((host, "Authorization" in headers))
            place = self.cloud.facts.get("template_redirect", "")
            if place and host not in place:
                return Reply(code=302, headers={"Location": place})
            if target.startswith("/v2/"):
                return self._guarded("image.get", host, target, lambda: _manifest(target))
            uri = f"https://us-kfp.pkg.dev{urlsplit(target).path}"
            return self._guarded("template.get", host, uri, lambda: self._template(uri))
        return self._method(verb, target, headers, body, host)

    def _template(self, uri: str) -> Reply:
        return Reply(
            self.templates.text(uri).encode(), headers={"Content-Type": "application/yaml"}
        )

    def _guarded(self, method: str, host: str, target: str, handle: Callable[[], Reply]) -> Reply:
        answer: Reply = self.cloud.guarded(
            method, handle, host=host, resource=target, transport="rest"
        )
        return answer

    def _authorized(self, headers: Any) -> str:
        bearer = str(headers.get("Authorization", "")).removeprefix("Bearer ")
        if not bearer:
            raise exceptions.Unauthorized("Request is missing required authentication.")
        return bearer

    def _method(self, verb: str, target: str, headers: Any, body: bytes, host: str) -> Reply:
        url = urlsplit(target)
        bearer = headers.get("Authorization", "")
        if reply := self.tunings.answer(verb, target, body, host, bearer):
            return reply
        for binding, method in self.routes:
            match = binding.pattern.match(url.path)
            if match and binding.verb == verb:
                named = dict(zip(binding.fields, match.groups(), strict=True))
                request = _request(method, binding, named, url.query, body)
                answer = self.cloud.call(
                    method.name, request, host=host, transport="rest", bearer=bearer
                )
                return Reply(_to_json(answer), headers={"Content-Type": "application/json"})
        raise exceptions.NotFound(f"The stand-in has no {verb} {host}{url.path}.")


def _request(
    method: Method, binding: Binding, named: dict[str, str], query: str, body: bytes
) -> Any:
    fields: dict[str, Any] = {}
    try:
        if binding.body == "*":
            fields |= json.loads(body or b"{}")
        elif binding.body:
            fields[binding.body] = json.loads(body or b"{}")
        for key, value in [*named.items(), *parse_qsl(query)]:
            if not key.startswith("$"):
                _place(fields, key.split("."), value)
        plain = method.request.pb() if hasattr(method.request, "pb") else method.request
        message = plain() if isinstance(plain, type) else plain
        json_format.ParseDict(fields, message)
    except (json_format.ParseError, json.JSONDecodeError, AttributeError) as error:
        raise exceptions.InvalidArgument(f"Invalid JSON payload received. {error}") from error
    return method.request.wrap(message) if hasattr(method.request, "wrap") else message


def _place(fields: dict[str, Any], path: list[str], value: str) -> None:
    for part in path[:-1]:
        fields = fields.setdefault(part, {})
    fields[path[-1]] = value


def _to_json(answer: Any) -> bytes:
    if answer is None:
        return b"{}"
    message = type(answer).pb(answer) if hasattr(type(answer), "pb") else answer
    return json_format.MessageToJson(message).encode()


def _manifest(target: str) -> Reply:
    """What the registry says of an image of Google's; the bytes decide its digest."""
    if not target.startswith("/v2/vertex-ai/"):
        raise exceptions.NotFound(f"{target} not found.")
    body = {"schemaVersion": 2, "manifests": [], "annotations": {"of": target}}
    kind = "application/vnd.oci.image.index.v1+json"
    return Reply(json.dumps(body).encode(), headers={"Content-Type": kind})


def _token() -> Reply:
    body = {"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"}
    return Reply(json.dumps(body).encode(), headers={"Content-Type": "application/json"})


class QuietServer(ThreadingHTTPServer):
    """One thread a connection, none of which keeps the process alive."""

    daemon_threads = True
    disable_nagle_algorithm = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None: ...


def serve(
    answer: Callable[[str, str, Any, bytes], Reply], certificate: Path | None, key: Path | None
) -> QuietServer:
    """Make a server of `answer` on a free port; plain HTTP where no certificate is given."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do(self) -> None:
            body = self._body()
            try:
                reply = answer(self.command, self.path, self.headers, body)
            except (Dropped, Outlived):
                self.close_connection = True
                self.connection.close()
                return
            except exceptions.GoogleAPICallError as error:
                # A download's error is plain text: there is no JSON where bytes were asked for.
                plain = "alt=media" in self.path
                reply = (
                    Reply(error.message.encode(), int(error.code)) if plain else error_reply(error)
                )
            self.send_response(reply.code)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                return b"".join(iter(self._chunk, b""))
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def _chunk(self) -> bytes:
            size = int(self.rfile.readline().partition(b";")[0], 16)
            data = self.rfile.read(size)
            self.rfile.readline()
            return data

        def log_message(self, *args: Any) -> None: ...

    server = QuietServer(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        context.set_alpn_protocols(["http/1.1"])
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    return server


def error_reply(error: exceptions.GoogleAPICallError) -> Reply:
    status = error.grpc_status_code.name if error.grpc_status_code else "UNKNOWN"
    body = {"error": {"code": int(error.code), "message": error.message, "status": status}}
    return Reply(json.dumps(body).encode(), int(error.code), {"Content-Type": "application/json"})
