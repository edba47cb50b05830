"""How steps are shown that run side by side, as they do in the cloud."""

from itertools import count

import pytest

from tests.runs.recorder import Recorder
from tunepipe.errors import CloudError, LimitError
from tunepipe.runs.status import RunStatus, StepStatus, Terminal, View, follow
from tunepipe.stores.failures import Failure


@pytest.mark.parametrize(
    ("view", "said"),
    [(View, ["one FAILED (2.0 s)", "two done (2.0 s)"]), (Terminal, ["one failed", "✓ two"])],
)
def test_each_step_ends_as_itself(monkeypatch, capsys, view, said):
    ticks = count()
    monkeypatch.setattr("time.monotonic", lambda: float(next(ticks)))
    shown = view()
    for step in ("one", "two"):
        shown.began(step)
    shown.ended("one", False)
    shown.ended("two", True)
    shown.close()
    told = capsys.readouterr().err
    assert all(words in told for words in said), told


def test_progress_is_a_line_every_five_seconds(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    shown = View()
    for clock[0] in (4.9, 5.0, 9.9, 10.0):
        shown.progress({"stage": "tune", "done": clock[0], "total": 10})
    assert capsys.readouterr().err == "  tune 5.0/10\n  tune 10.0/10\n"


def looks(state="succeeded", **ending):
    """A run of three looks; each state of its steps by their first letters."""
    states = {"p": "pending", "n": "not wanted", "r": "running", "c": "cached", "f": "failed",
              "s": "succeeded"}  # fmt: skip
    for letters, now in (("pprn", "running"), ("rscn", "running"), ("fscn", state)):
        tasks = tuple(StepStatus(str(n), states[each]) for n, each in enumerate(letters))
        yield RunStatus("run", now, "page", tasks, **(ending if now == state else {}))


def test_each_step_is_shown_as_it_begins_and_ends(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    shown, seen = Recorder(), looks()
    assert follow(lambda: next(seen), shown).state == "succeeded"
    assert shown.events == [
        "2", "0", "1", ("1", True), ("2", True), ("0", False), "closed",
    ]  # fmt: skip


def test_the_pause_between_two_looks_is_a_tenth_of_the_time_so_far(monkeypatch):
    clock, pauses = [100.0], []

    def sleep(seconds):
        pauses.append(seconds)
        clock[0] += 20.0

    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("time.sleep", sleep)
    states = iter([*["running"] * 8, "succeeded"])
    follow(lambda: RunStatus("run", next(states), "page", ()), Recorder())
    assert pauses == [0.5, 2.0, 4.0, 6.0, 8.0, 10.0, 10.0, 10.0]


@pytest.mark.parametrize(
    ("state", "ending", "kind", "found"),
    [
        ("failed", {"failure": Failure("LimitError", "too dear"), "error": "x"}, LimitError,
         "too dear"),
        ("failed", {"error": "no GPU"}, CloudError, "no GPU"),
        ("failed", {}, CloudError, "the run was failed"),
        ("cancelled", {}, CloudError, "the run was cancelled"),
    ],
)  # fmt: skip
def test_a_run_that_did_not_succeed_is_an_error(monkeypatch, state, ending, kind, found):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    shown, seen = Recorder(), looks(state, **ending)
    with pytest.raises(kind) as caught:
        follow(lambda: next(seen), shown)
    assert (caught.value.found, caught.value.where) == (found, "run")
    assert shown.events[-1] == "closed"


@pytest.mark.parametrize(
    ("names", "backend"),
    [(("split-dataset", "tune-gemini", "tune-x"), "gemini"), (("split-dataset",), ""), ((), "")],
)
def test_the_backend_of_a_run_shows_in_its_steps(names, backend):
    tasks = tuple(StepStatus(name, "running") for name in names)
    assert RunStatus("run", "running", "page", tasks).tuned_by == backend
