"""Progress goes to the file that is named, else now and then to standard error."""

from __future__ import annotations

import io
import json

import pytest

from tunepipe import progress


def test_events_are_lines_of_the_file(tmp_path, monkeypatch, capsys):
    path = tmp_path / "progress.jsonl"
    monkeypatch.setenv(progress.VARIABLE, str(path))
    events = [{"stage": "tune", "done": n, "total": 3, "loss": 0.5} for n in (1, 2, 3)]
    for event in events:
        progress.report(**event)
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == events
    assert capsys.readouterr() == ("", "")


def test_without_a_file_a_line_comes_now_and_then_and_at_the_end(monkeypatch, capsys):
    monkeypatch.delenv(progress.VARIABLE, raising=False)
    monkeypatch.setattr(progress, "_last_line", float("-inf"))
    for done in range(1, 101):
        progress.report(stage="predict", done=done, total=100)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0] == "predict 1/100"
    assert err.splitlines()[-1] == "predict 100/100"
    assert len(err.splitlines()) < 20


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\nc", "a\tb\n    c"),
        ("\x1b[0m\x9f", "\\x1b[0m\\x9f"),
        ("\u202eevil\u2069", "\\u202eevil\\u2069"),
        ("", ""),
    ],
)
def test_a_terminal_shows_a_text_and_does_not_obey_it(text, shown):
    assert progress.printable(text) == shown


class Stream(io.StringIO):
    def __init__(self, tty):
        super().__init__()
        self.tty = tty

    def isatty(self):
        return self.tty


@pytest.mark.parametrize(
    ("tty", "term", "shows"),
    [(True, "xterm", True), (True, "dumb", False), (False, "xterm", False)],
)
def test_what_is_a_terminal(monkeypatch, tty, term, shows):
    monkeypatch.setenv("TERM", term)
    assert progress.is_terminal(Stream(tty)) is shows


@pytest.mark.parametrize(
    ("event", "wanted"),
    [
        ({"stage": "tune", "done": 40, "total": 466, "loss": 1.23456}, "tune 40/466 loss=1.235"),
        ({"stage": "split"}, "split"),
        ({"stage": "ask", "done": 0, "total": 3, "found": 12345}, "ask 0/3 found=12345"),
        ({"note": "x"}, "note=x"),
    ],
)
def test_a_line_for_people(event, wanted):
    assert progress.line(event) == wanted
