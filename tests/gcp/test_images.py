"""What is read of an image in its registry: a registry on this machine."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tunepipe.errors import UsageError
from tunepipe.gcp import outbound
from tunepipe.gcp.explanations import RefusedError
from tunepipe.gcp.images import by_digest, read_image

CONFIG = {"Env": ["A=b"], "Labels": {"c": "d"}}
ARM = {"os": "linux", "architecture": "arm64"}
AMD = {"os": "linux", "architecture": "amd64"}
DIGEST = "sha256:" + "a" * 64


@pytest.fixture
def registry(monkeypatch):
    """The registry's address, what it holds by path, and the paths that were asked for."""
    monkeypatch.setenv(outbound.ALLOW_PRIVATE, "1")
    held, asked = {}, []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            found = held.get(self.path.removeprefix("/v2/team/image/"), 404)
            body = b"" if isinstance(found, int) else json.dumps(found).encode()
            self.send_response(found if isinstance(found, int) else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"127.0.0.1:{server.server_port}", held, asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("reference", "first"),
    [(":1.0", "1.0"), ("", "latest"), (f"@{DIGEST}", DIGEST), (f":1.0@{DIGEST}", DIGEST)],
)
@pytest.mark.parametrize("platforms", [(), (AMD,), (ARM, AMD | {"variant": "v2"}, ARM)])
def test_the_configuration_of_the_image_for_linux_on_amd64(registry, reference, first, platforms):
    host, held, asked = registry
    entries = [{"digest": f"{number}", "platform": each} for number, each in enumerate(platforms)]
    manifest = {"config": {"digest": "config"}}
    held |= {f"manifests/{first}": {"manifests": entries} if platforms else manifest}
    held |= {f"manifests/{len(platforms) // 2}": manifest} if platforms else {}
    held["blobs/config"] = {"config": CONFIG}
    assert read_image(f"{host}/team/image{reference}") == CONFIG
    assert len(asked) == (3 if platforms else 2)
    held["blobs/config"] = {"config": None}
    assert read_image(f"{host}/team/image{reference}") == {}


def test_an_image_for_other_machines_alone_is_refused(registry):
    host, held, _ = registry
    held["manifests/1.0"] = {"manifests": [{"digest": "1", "platform": ARM}]}
    with pytest.raises(UsageError) as caught:
        read_image(f"{host}/team/image:1.0")
    assert caught.value.found == "it has no image for Linux on amd64"
    assert caught.value.where == f"{host}/team/image:1.0"


@pytest.mark.parametrize(("status", "code"), [(404, 404), (401, 403), (403, 403), (201, 201)])
def test_a_registry_that_refuses_is_reported_with_its_status(registry, status, code):
    host, held, _ = registry
    held["manifests/1.0"] = status
    with pytest.raises(RefusedError) as caught:
        read_image(f"{host}/team/image:1.0")
    assert caught.value.found == f"its description cannot be fetched: {status}"
    assert (caught.value.code, caught.value.where) == (code, f"{host}/team/image:1.0")
    assert caught.value.fix == (
        "check the image's name, and that you may read it; or name it by digest: NAME@sha256:…"
    )


@pytest.mark.parametrize(("tag", "asked_for"), [(":1.0", "1.0"), ("", "latest")])
def test_a_tag_means_the_digest_that_it_has_now(registry, tag, asked_for):
    host, held, asked = registry
    held[f"manifests/{asked_for}"] = {"manifests": []}
    digest = hashlib.sha256(b'{"manifests": []}').hexdigest()
    assert by_digest(f"{host}/team/image{tag}") == f"{host}/team/image@sha256:{digest}"
    assert asked == [f"/v2/team/image/manifests/{asked_for}"]
    assert by_digest(f"team/image:1.0@{DIGEST}") == f"team/image:1.0@{DIGEST}"
    assert len(asked) == 1


@pytest.mark.parametrize("read", [read_image, by_digest])
@pytest.mark.parametrize(
    "image", ["tunepipe", "tunepipe:1.0", "gcr.io", "team/tunepipe:1.0", "localhost/tunepipe"]
)
def test_a_name_without_a_registry_is_refused(image, read):
    with pytest.raises(UsageError, match="names no registry") as caught:
        read(image)
    assert caught.value.where == image
