"""Google's token goes to Google alone, and nothing goes to a private network unasked."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.receiver import receiver
from tests.standin.process import StandIn
from tunepipe.backends.palm.template import read_template
from tunepipe.errors import CloudError, LimitError, UsageError
from tunepipe.gcp import clients, genai, outbound, rest, secrets
from tunepipe.gcp.images import read_image
from tunepipe.notifications import webhook

TEMPLATE = "https://us-kfp.pkg.dev/ml-pipeline/large-language-model-pipelines/tune-large-model/"
ADDRESSES = {
    "https://storage.googleapis.com/b/o": True,
    "https://us-kfp.pkg.dev/a/b": True,
    "http://us-kfp.pkg.dev/a/b": False,
    "https://us-kfp.pkg.dev:8443/a": False,
    "https://pkg.dev.example.com/a": False,
    "https://example.com/us-kfp.pkg.dev": False,
    "https://us-kfp.pkg.dev@example.com/a": False,
    "https://evilgoogleapis.com/a": False,
    "https://googleapis.com.example.com/": False,
    "https://storage.googleapis.com.example.com/": False,
    # requests sends these to example.com, urllib reads the other host.
    r"https://example.com\@storage.googleapis.com/": False,
    "https://example.com\n@us-kfp.pkg.dev/": False,
    "https://us-kfp.pkg.dev:https/": False,
    "https://[us-kfp.pkg.dev/": False,
}
NOT_HTTPS = [
    "http://example.com/x", "ftp://example.com", "file:///etc/passwd", r"https://example.com\x",
    "https://[example.com", "https://example.com:99999", "https://example.com\t/a",
]  # fmt: skip
LOCATIONS = ["example.com:443?", "example.com#", "x@example.com/", "..", "", "US", "a\n"]
PRIVATE = [
    "https://127.0.0.1/x", "https://[::1]/x", "https://10.1.2.3/x", "https://192.168.0.1/x",
    "https://169.254.169.254/computeMetadata/v1/", "https://[fe80::1]/x", "https://[fd00::1]/x",
    "https://[::ffff:10.0.0.1]/x", "https://0.0.0.0/x", "https://localhost/x",
    "https://metadata.google.internal/x", "https://printer.local/x", "https://224.0.0.1/x",
    "https://2130706433/x",  # 127.0.0.1 as a number: a name until it is resolved
]  # fmt: skip


@pytest.mark.parametrize("url", ADDRESSES)
def test_which_hosts_are_googles(url):
    assert outbound.is_google(url) == ADDRESSES[url]


@pytest.mark.parametrize("location", LOCATIONS)
def test_a_location_names_no_other_host(location):
    """Google's clients make their host of it, and send it the token."""
    with pytest.raises(UsageError, match="not a location"):
        clients.pipelines(location)
    with pytest.raises(UsageError, match="not a location"):
        genai.client("p", location)
    secret = f"projects/p/locations/{location}/secrets/s"
    assert not secrets.is_secret(secret)
    with pytest.raises(UsageError, match="not a secret's name"):
        secrets.read_secret(secret)


@pytest.mark.parametrize("url", PRIVATE)
def test_a_private_address_is_refused(url, monkeypatch, tmp_path):
    monkeypatch.delenv(outbound.ALLOW_PRIVATE, raising=False)
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(LimitError, match="private network"):
        outbound.request("GET", url, seconds=5)
    with pytest.raises(LimitError, match="private network") as caught:
        webhook.post(f"{url}/S3CR3T", {"text": "x"})
    assert "S3CR3T" not in str(caught.value)
    with pytest.raises(LimitError, match="private network"):
        read_template(url)
    if "2130706433" not in url:  # also where a proxy would make the connection
        with pytest.raises(LimitError, match="private network"):
            outbound.check_address(url)


def test_a_name_that_is_resolved_to_another_address_the_second_time_is_refused(monkeypatch):
    monkeypatch.delenv(outbound.ALLOW_PRIVATE, raising=False)
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        here = (socket.AF_INET, socket.SOCK_STREAM, 6, "", server.getsockname())
        answers = [[(*here[:4], ("8.8.8.8", 443))], [here]]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *names, **kinds: answers.pop(0))
        with pytest.raises(LimitError, match="private network") as caught:
            outbound.request("GET", "https://changing.example.com/x", seconds=5)
    assert (caught.value.where, answers) == ("127.0.0.1", [])


@pytest.mark.parametrize("url", NOT_HTTPS)
def test_only_https_is_asked(url, monkeypatch):
    monkeypatch.delenv(outbound.ALLOW_PRIVATE, raising=False)
    with pytest.raises(UsageError, match="https"):
        outbound.request("GET", url, seconds=5)


def test_a_private_address_may_be_allowed():
    with receiver() as hook:
        webhook.post(hook.url, {"text": "x"})
        assert hook.messages == [{"text": "x"}]


@pytest.fixture
def redirecting(monkeypatch):
    """A server that redirects so often, and the credentials and bodies that it has seen."""
    monkeypatch.setenv(outbound.ALLOW_PRIVATE, "1")
    seen, times = [], [99]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.headers.get("Authorization"), self.headers.get("Accept")))
            self.send_response(302 if len(seen) <= times[0] else 200)
            self.send_header("Location", "/again")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/", times, seen
    server.shutdown()
    server.server_close()


def test_another_host_gets_no_token(redirecting):
    url, times, seen = redirecting
    times[0] = 1
    answer = outbound.request("GET", url, seconds=5, token="S3CR3T", redirects=5, accept="a/b")
    assert (answer.status_code, seen) == (200, [(None, "a/b")] * 2)


@pytest.mark.parametrize(("redirects", "requests"), [(0, 1), (1, 2), (5, 6), (9, 6)])
def test_so_many_redirects_are_followed_and_five_at_most(redirecting, redirects, requests):
    url, _, seen = redirecting
    answer = outbound.request("GET", url, seconds=5, redirects=redirects)
    assert (answer.status_code, len(seen)) == (302, requests)


@pytest.mark.parametrize(
    ("read", "name"),
    [(read_image, "us-docker.pkg.dev/p/r/tunepipe:1.0"), (read_template, TEMPLATE)],
)
def test_a_registry_of_googles_without_credentials_says_how_to_log_in(
    read, name, monkeypatch, tmp_path
):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    rest.session.cache_clear()
    with pytest.raises(CloudError, match="no usable Google credentials") as caught:
        read(name)
    rest.session.cache_clear()
    assert caught.value.where == name
    assert "gcloud auth application-default login" in caught.value.fix


def test_the_registry_gets_the_token_and_a_redirect_does_not(cloud: StandIn) -> None:
    there = TEMPLATE.replace("us-kfp", "elsewhere") + "v3.0.0"
    cloud.ask("facts", {"template_redirect": there})
    first = read_template(TEMPLATE + "v3.0.0")
    assert json.loads(json.dumps(cloud.ask("tokens"))) == [
        ["us-kfp.pkg.dev", True],
        ["elsewhere.pkg.dev", False],
    ]
    cloud.reset()
    assert read_template(TEMPLATE + "v3.0.0").sha256 == first.sha256
    assert cloud.ask("tokens") == [["us-kfp.pkg.dev", True]]
