"""Fixtures that all tests share."""

import json
import os

import pytest

from tests.standin.s3 import s3, s3_server  # noqa: F401
from tests.standin.session import cloud, standin  # noqa: F401

# No test asks the network whether this machine is Google's: the question may take a minute.
os.environ.setdefault("NO_GCE_CHECK", "true")


@pytest.fixture
def said(capfd):
    """Run the command; return its exit code, its JSON if there is any, and what people read."""
    from tunepipe.cli import main

    def run(*arguments):
        capfd.readouterr()
        code = main.run(list(map(str, arguments)))
        found = capfd.readouterr()
        return code, json.loads(found.out) if found.out else None, found.err

    return run


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    """Work in an empty folder, without the caller's TUNEPIPE_ variables."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("TUNEPIPE_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def no_variable_left():
    """Refuse what a test leaves in the environment: the command reads it as a setting."""
    before = {name: value for name, value in os.environ.items() if name.startswith("TUNEPIPE_")}
    yield
    after = {name: value for name, value in os.environ.items() if name.startswith("TUNEPIPE_")}
    assert after == before
