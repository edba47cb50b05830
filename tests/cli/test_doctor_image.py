"""What the doctor reads of an image in its registry, without pulling or running it."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tunepipe.distribution import content_hash
from tunepipe.gcp import outbound
from tunepipe.packaging.installed import CODE_LABEL

DIGEST = "sha256:" + "a" * 64
INDEX, MANIFEST, CONFIG = "sha256:" + "b" * 64, DIGEST, "sha256:" + "c" * 64
OTHER = {"os": "linux", "architecture": "arm64"}
AMD64 = {"os": "linux", "architecture": "amd64"}


@pytest.fixture
def registry(monkeypatch):
    """A registry on this machine: paths below /v2/ and what they hold."""
    monkeypatch.setenv(outbound.ALLOW_PRIVATE, "1")
    held = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            found = held.get(self.path)
            body = json.dumps(found or {}).encode()
            self.send_response(200 if found else held.get("refusal", 404))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments): ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    held["host"] = f"127.0.0.1:{server.server_port}"
    yield held
    server.shutdown()


def fill(registry, config, platforms=(AMD64,)):
    entries = [{"digest": MANIFEST, "platform": platform} for platform in platforms]
    registry |= {
        f"/v2/team/tunepipe/manifests/{INDEX}": {"manifests": entries},
        "/v2/team/tunepipe/manifests/1.0": {"manifests": entries},
        f"/v2/team/tunepipe/manifests/{MANIFEST}": {"config": {"digest": CONFIG}},
        f"/v2/team/tunepipe/blobs/{CONFIG}": {"config": config},
    }


def doctor(said, registry, reference=f"@{INDEX}"):
    image = f"{registry['host']}/team/tunepipe{reference}"
    code, found, _ = said("doctor", "--backend", "local", "--image", image, "--json")
    place = f"{registry['host']}/team/tunepipe"
    return code, [
        (one["state"], one["found"].replace(place, "IMAGE"))
        for one in found["findings"]
        if one["check"] == "image"
    ]


OURS = {"Env": ["PATH=/bin", "PYTHON_VERSION=3.11.9"], "Labels": {CODE_LABEL: content_hash()}}


def test_an_image_of_this_code_passes(said, registry):
    fill(registry, OURS, (OTHER, AMD64))
    assert doctor(said, registry) == (
        0, [("ok", "it has Python 3.11"), ("ok", "it was built from the code of this command")]
    )  # fmt: skip
    _, tagged = doctor(said, registry, ":1.0")
    assert tagged[0][0] == "unknown"
    assert "tag" in tagged[0][1]


@pytest.mark.parametrize(
    ("config", "platform", "code", "finding"),
    [
        ({**OURS, "Env": ["PYTHON_VERSION=3.9.1"]}, AMD64, 2, ("problem", "it has Python 3.9")),
        ({**OURS, "Labels": {CODE_LABEL: "0" * 64}}, AMD64, 2,
         ("problem", "it was built from other code: 0000000000000000, and here is "
                     f"{content_hash()[:16]}")),
        ({"Env": [], "Labels": None}, AMD64, 0,
         ("unknown", f"it has no label {CODE_LABEL}: ask it what it lacks")),
        (OURS, OTHER, 2, ("problem", f"IMAGE@{INDEX}: it has no image for Linux on amd64")),
    ],
)  # fmt: skip
def test_an_image_that_would_fail_a_run(said, registry, config, platform, code, finding):
    fill(registry, config, (platform,))
    ended, findings = doctor(said, registry)
    assert ended == code
    assert finding in findings


@pytest.mark.parametrize(("refusal", "state"), [(404, "problem"), (401, "unknown")])
def test_an_image_that_is_not_there_or_may_not_be_seen(said, registry, refusal, state):
    registry["refusal"] = refusal
    _, ((found, text),) = doctor(said, registry)
    assert (found, str(refusal) in text) == (state, True)


def test_a_registry_that_cannot_be_reached_is_one_finding(said, registry):
    registry["host"] = "127.0.0.1:9"  # discard: nothing listens
    code, (seen,) = doctor(said, registry)
    assert (code, seen[0]) == (4, "problem")
    assert "cannot be fetched: ConnectionError" in seen[1]
