"""The one stand-in of a test session; tests/conftest.py hands its fixtures to all tests."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from .process import StandIn

PROJECT, REGION, BUCKET = "demo-project", "europe-west4", "demo-bucket"


@cache
def running() -> StandIn:
    """Start the stand-in, once a process."""
    folder = tempfile.TemporaryDirectory(prefix="standin-")
    started = StandIn(Path(folder.name))

    def stop() -> None:
        started.stop()
        folder.cleanup()

    atexit.register(stop)
    return started


@pytest.fixture(scope="session")
def standin() -> StandIn:
    """The stand-in, shared by the whole session."""
    return running()


@pytest.fixture
def cloud(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """The stand-in, empty but for one bucket; the clients of this process reach it."""
    for name, value in standin.environment.items():
        monkeypatch.setenv(name, value)
    standin.reset()
    # A champion that an earlier test left would have its endpoint no more.
    for bucket in standin.buckets.iterdir():
        shutil.rmtree(bucket, ignore_errors=True)  # a step just killed may still write
    (standin.buckets / BUCKET).mkdir(exist_ok=True)
    yield standin
    assert standin.ask("refused") == []  # only Google was asked
    mismatches = standin.ask("mismatches")  # with Google's discovery documents
    assert not mismatches, "\n".join(sorted(set(mismatches)))
