"""`tunepipe tables`: what is old, and newer tables by their hash."""

import hashlib
import json
from pathlib import Path

import pytest

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
