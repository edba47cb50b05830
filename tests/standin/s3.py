"""A server that speaks S3, by moto, with buckets for s3:// and minio://."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

BUCKET = "tunepipe-rows"


class S3Server:
    """The server, one request at a time: of two writers at once one is first, as on Amazon S3."""

    def __init__(self) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        self.app = DomainDispatcherApplication(create_backend_app)
        self.conditional_writes = True
        self.faults: list[str] = []
        self.calls: list[str] = []
        self.server = make_server("127.0.0.1", 0, self._answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _answer(self, environ, start_response):
        self.calls.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        if not self.conditional_writes:
            environ.pop("HTTP_IF_NONE_MATCH", None)
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "before":
            start_response("503 Slow Down", [])
            return []
        answer = self.app(environ, start_response if fault != "after" else lambda *_: None)
        if fault == "after":  # it was done, and nobody learns of it
            list(answer)
            start_response("503 Slow Down", [])
            return []
        return answer

    def stop(self) -> None:
        self.server.shutdown()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    server = S3Server()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """The server with an empty bucket, as a user's settings name it."""
    import boto3

    from tunepipe.stores import s3 as store

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "MINIO_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("MINIO_SECRET_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_server.url)
    monkeypatch.setenv("MINIO_ENDPOINT", s3_server.url.removeprefix("http://"))
    forget(store)
    bucket = boto3.resource("s3").Bucket(BUCKET)
    bucket.create()
    yield s3_server
    s3_server.conditional_writes, s3_server.faults = True, []
    bucket.object_versions.delete()
    bucket.delete()
    forget(store)


def forget(store) -> None:
    """Forget what the process has learnt of a server: tests change its address."""
    store._client.cache_clear()
    store._require_conditional_writes.cache_clear()
