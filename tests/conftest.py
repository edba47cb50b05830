"""Fixtures that all tests share."""

import json
import logging
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import leaks
from tests.standin import warm
from tests.standin.s3 import s3, s3_server  # noqa: F401
from tests.standin.session import cloud, standin  # noqa: F401

# No test asks the network whether this machine is Google's: the question may take a minute.
os.environ.setdefault("NO_GCE_CHECK", "true")
# The same tests on every machine: a GPU gives other bits, and allows what is to be refused.
os.environ["CUDA_VISIBLE_DEVICES"] = ""

# The same examples in every run, however long one takes: a run that fails does so again. For new
# ones: pytest --hypothesis-profile=new
QUIET = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("new", deadline=None, suppress_health_check=QUIET)
settings.register_profile("same", settings.get_profile("new"), derandomize=True, database=None)
settings.load_profile("same")


# Those that take longest, which no worker should begin when the others have nothing left to do.
LONGEST = [
    "runs/test_code.py",
    "runs/test_multimodal_run.py",
    "runs/kfp/test_runs.py",
    "backends/local/test_pretrained.py",
    "runs/test_vertex_run.py",
    "backends/custom/test_custom.py",
    "runs/test_decisions.py",
    "runs/test_local_run.py",
    "backends/managed/test_gemini.py",
    "components/test_foreign.py",
    "runs/test_retraining_page.py",
    "runs/test_managed_run.py",
    "evaluation/test_intervals.py",
    "backends/custom/test_custom_run.py",
    "backends/remote/test_train_job.py",
    "backends/local/test_base_model.py",
    "runs/test_retraining.py",
]


def pytest_configure(config):
    """All workers of a session share one server of warm processes, and keep the order below."""
    if not hasattr(config, "workerinput"):
        warm.share()
    config.option.loadscopereorder = False  # xdist would take files of few tests last


def pytest_collection_modifyitems(items):
    """Begin with the files that take longest."""
    folder = Path(__file__).parent
    places = {folder / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture
def warm_steps(monkeypatch):
    """Steps begin with what they use imported."""
    for name, value in warm.warm_steps().items():
        monkeypatch.setenv(name, value)


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
def nothing_left():
    """Refuse a test that leaves a setting, a process or a thread behind."""
    before, transformers = leaks.state(), logging.getLogger("transformers")
    level = transformers.level or logging.WARNING  # which it sets as it is imported
    yield
    transformers.setLevel(level)  # a training sets its whole process up
    assert leaks.left_since(before) == {}
