"""`tunepipe tables`: what is old, and newer tables by their hash."""

import hashlib
import json
import ssl
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.standin.certificates import write_certificates
from tunepipe.cli import main

NEWER = """
[models]
read = "2099-01-01"
[prices.training_tokens."gemini-3.5-flash"]
usd_per_million = 20.0
read = "2099-01-01"
"""
PLAN = ["plan", "--rows", "240", "--tokens", "1000000", "--region", "us-central1", "--json"]


def said(capfd, *arguments):
    code = main.run(list(arguments))
    captured = capfd.readouterr()
    return code, json.loads(captured.out) if captured.out else {}, " ".join(captured.err.split())


def test_what_is_old_is_named_and_fails_a_check(capfd):
    code, found, _ = said(capfd, "tables", "--check", "--days", "1", "--json")
    assert code == 1
    assert found["old"]
    assert all(fact["days"] > 1 and fact["place"] and fact["read"] for fact in found["old"])
    code, found, _ = said(capfd, "tables", "--check", "--days", "100000", "--json")
    assert (code, found["old"]) == (0, [])
    assert said(capfd, "tables", "--json")[0] == 0


def test_newer_tables_are_taken_by_every_command(capfd):
    Path("new.toml").write_text(NEWER)
    digest = hashlib.sha256(NEWER.encode()).hexdigest()
    model = ["--model", "gemini-3.5-flash", "--epochs", "1"]
    before = said(capfd, *PLAN, *model)[1]
    code, found, _ = said(capfd, "tables", "--update", "new.toml", "--sha256", digest, "--json")
    assert code == 0
    assert found["version"].startswith("2099-01-01")
    after = said(capfd, *PLAN, *model)[1]
    assert (before["estimated_cost_usd"], after["estimated_cost_usd"]) == (10.0, 20.0)
    assert before["tables_version"] != after["tables_version"] == found["version"]


@pytest.mark.parametrize(
    ("text", "more", "words"),
    [
        (NEWER, ["--sha256", "0" * 64], "expected 0000"),
        ("not toml", [], "not TOML"),
        ("[prices]\nacelerators = {}", [], "unknown name acelerators"),
        ('[models]\nread = "2020-01-01"', [], "older than those in use"),
    ],
)
def test_what_is_not_newer_tables_is_refused_and_changes_nothing(capfd, text, more, words):
    Path("new.toml").write_text(text)
    code, _, err = said(capfd, "tables", "--update", "new.toml", *more)
    assert code == 2
    assert words in err
    assert not Path("tunepipe-tables.toml").exists()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("http://example.com/t.toml", "use https://"),
        ("https://example.com/t.toml", "--sha256 is required"),
        ("nothing.toml", "file not found"),
    ],
)
def test_tables_come_from_where_they_can_be_trusted(capfd, source, words):
    code, _, err = said(capfd, "tables", "--update", source)
    assert code == 2
    assert words in err


@pytest.fixture
def https(tmp_path, monkeypatch):
    """A server with a certificate, whose files are in the folder that comes with its address."""
    paths = write_certificates(tmp_path)
    folder = tmp_path / "web"
    folder.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(paths["certificate"], paths["key"])
    server.socket = context.wrap_socket(server.socket, server_side=True)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(paths["ca"]))
    monkeypatch.setenv("TUNEPIPE_ALLOW_PRIVATE_ADDRESSES", "1")
    yield folder, f"https://localhost:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_tables_come_over_https_by_their_hash(capfd, https):
    folder, address = https
    (folder / "new.toml").write_text(NEWER)
    digest = hashlib.sha256(NEWER.encode()).hexdigest()
    update = ["tables", "--update", f"{address}/new.toml", "--json"]
    code, found, _ = said(capfd, *update, "--sha256", "0" * 64)
    assert (code, Path("tunepipe-tables.toml").exists()) == (2, False)
    code, found, _ = said(capfd, *update, "--sha256", digest)
    assert (code, found["version"][:10]) == (0, "2099-01-01")
    assert Path("tunepipe-tables.toml").read_text() == NEWER


@pytest.mark.parametrize("fault", ["missing", "unknown authority", "private", "too large"])
def test_tables_that_cannot_be_had_over_https_change_nothing(capfd, https, monkeypatch, fault):
    folder, address = https
    size = (4 << 20) + 1 if fault == "too large" else 10
    (folder / "new.toml").write_bytes(b"#" * size)
    if fault == "unknown authority":
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    if fault == "private":
        monkeypatch.delenv("TUNEPIPE_ALLOW_PRIVATE_ADDRESSES")
    name = "old.toml" if fault == "missing" else "new.toml"
    digest = hashlib.sha256(b"#" * size).hexdigest()
    code, _, err = said(capfd, "tables", "--update", f"{address}/{name}", "--sha256", digest)
    assert code == (3 if fault == "private" else 4), err
    assert not Path("tunepipe-tables.toml").exists()


OLD = """
[models]
read = "2020-01-01"
[models.families.gemini3]
read = "2020-01-01"
[services]
read = "2020-01-01"
[prices.training_tokens."gemini-3.5-flash"]
read = "2020-01-01"
"""
ROW = {"contents": [{"role": r, "parts": [{"text": "a"}]} for r in ("user", "model")]}


def test_plan_run_and_doctor_each_warn_of_old_facts(cloud, capfd):
    Path("old.toml").write_text(OLD)
    rows = [json.dumps({**ROW, "labels": {"n": str(n)}}) for n in range(120)]
    Path("rows.jsonl").write_text("\n".join(rows))
    place = ["--region", "us-central1", "--tables", "old.toml", "--json"]
    project = ["--project", "p", "--dataset", "rows.jsonl"]
    words = "price of gemini-3.5-flash: read on 2020-01-01"
    plan = said(capfd, "plan", "rows.jsonl", *place)[1]
    (price,) = [warning for warning in plan["warnings"] if warning.startswith("price")]
    assert price.startswith(words)
    run = said(capfd, "run", *project, *place, "--bucket", "gs://b", "--dry-run", "--yes")[1]
    assert price in run["plan"]["warnings"]
    doctor = said(capfd, "doctor", *project, *place)[1]
    (tables,) = [each for each in doctor["findings"] if each["check"] == "tables"]
    assert words in tables["found"]
    assert tables["fix"] == "tunepipe tables --check"
