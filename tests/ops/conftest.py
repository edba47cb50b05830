"""What the tests of the command share."""

import json
import os

import pytest

from tests.standin.session import cloud, standin  # noqa: F401
from tunepipe.ops import main


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Work in an empty folder, without the caller's TUNEPIPE_ variables."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("TUNEPIPE_"):
            monkeypatch.delenv(name)


@pytest.fixture
def said(capfd):
    """Run the command; give its exit code, its JSON if there is any, and what people read."""

    def run(*arguments):
        capfd.readouterr()
        code = main.run(list(map(str, arguments)))
        found = capfd.readouterr()
        return code, json.loads(found.out) if found.out else None, found.err

    return run
