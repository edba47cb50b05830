"""How steps are shown that run side by side, as they do in the cloud."""

from itertools import count

import pytest

from tunepipe.runs.status import Terminal, View


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
