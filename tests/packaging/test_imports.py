"""What a step carries and installs, found by reading: imports, docstrings, ports and the lock."""

import inspect
import re
import signal

import pytest

from tunepipe.packaging import requirements
from tunepipe.packaging.archive import without_comments, without_docstrings
from tunepipe.packaging.families import with_ports
from tunepipe.packaging.imports import file_of, modules_of, third_party_of
from tunepipe.packaging.installed import is_installed
from tunepipe.packaging.requirements import KFP, PINS, locked, locked_for_image
from tunepipe.packaging.step import _time_limit

BODY = '''
    def other():
        from tunepipe.data import rows

    def body(a: "tunepipe.cli" = 1):
        """See tunepipe.cli."""
        if a:
            from tunepipe.data.fingerprint import combined
        if TYPE_CHECKING:
            from tunepipe.api import run
        else:
            import json, tunepipe.files
        return combined
'''


def test_the_modules_that_a_body_imports():
    assert list(modules_of(BODY, "body")) == [
        "tunepipe", "tunepipe.data", "tunepipe.data.fingerprint",
    ]  # fmt: skip
    assert "tunepipe.data.source" in modules_of(BODY, "other")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("tunepipe", "tunepipe/__init__.py"), ("tunepipe.data", "tunepipe/data/__init__.py"),
        ("tunepipe.data.rows", "tunepipe/data/rows.py"), ("tunepipe.data.rows.parse", None),
        ("tunepipe.nothing", None), ("json", None), ("tunepipes", None),
    ],
)  # fmt: skip
def test_the_file_of_a_module(name, file):
    found = file_of(name)
    assert (found and "/".join(found.parts[-len(file.split("/")) :])) == file


def test_what_comes_from_elsewhere(tmp_path):
    source = tmp_path / "m.py"
    source.write_text("import os, xxhash\nfrom tunepipe import api\ndef f():\n import a.b\n")
    assert third_party_of({"m": source}) == {"xxhash", "a.b"}


def test_docstrings_and_comments_go_and_nothing_else():
    source = (
        'x = "# no"  # yes\n\n\ndef f():\n    """A.\n\n    B.\n    """\n    # c\n    return "d"\n'
    )
    lean = 'x = "# no"\n\n\ndef f():\n    ""\n\n\n\n\n    return "d"\n'
    assert without_docstrings(source) == lean
    assert without_comments('# a\n\n[t]  # b\n  # c\nx = "# d"\ny = 1 # e\n') == (
        '[t]\nx = "# d"\ny = 1\n'
    )


def test_the_ports_of_families_come_first_and_have_their_defaults():
    def family(a: str, b: int = 2): ...

    def body(c: float = 0.5, **ports: object) -> str:
        return f"{ports} {c}"

    made = with_ports(family)(body)
    assert str(inspect.signature(made)) == "(*, a: str, b: int = 2, c: float = 0.5) -> str"
    assert made.__annotations__ == {"a": str, "b": int, "c": float}
    assert made(a="x") == "{'a': 'x', 'b': 2} 0.5"
    with pytest.raises(TypeError):
        made()


@pytest.mark.parametrize(
    ("variant", "training"), [("tools", False), ("cpu", False), ("cuda", True)]
)
def test_what_an_image_holds(variant, training):
    names = set(re.findall(r"^([a-z0-9-]+)==", locked_for_image(variant), re.MULTILINE))
    assert ("torch" in names) == training
    assert "setuptools" in names
    assert ("msgspec" in names) == (variant != "tools")


def test_what_kfp_needs_is_installed_in_an_image_alone():
    assert re.findall(r"^([a-z0-9-]+)==", locked(["kfp"]), re.MULTILINE) == ["kfp"]
    assert locked(["kfp"], alone="").count("==") > 5
    assert locked(["Google_Genai"]) == locked(["google-genai"])


@pytest.mark.parametrize(
    ("requirement", "installed"),
    [(KFP, True), (PINS["numpy"], True), ("numpy==0", False), ("no-such-package==1", False)],
)
def test_a_package_is_installed_in_its_version(requirement, installed):
    assert is_installed(requirement) is installed


@pytest.mark.timeout(0)  # which would be counted by the same alarm
@pytest.mark.parametrize(
    ("function", "hours"),
    [("prepare_run", 2), ("compute_train_steps", 1), ("ask_model", 48), ("tune_gemini", 0)],
)
def test_a_step_has_its_time(function, hours):
    before = signal.getsignal(signal.SIGALRM)
    try:
        with _time_limit(function):
            seconds = signal.getitimer(signal.ITIMER_REAL)[0]
        left = signal.getitimer(signal.ITIMER_REAL)[0]
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert hours * 3600 - 60 < seconds <= hours * 3600 or seconds == hours == 0
    assert left == 0
    assert requirements.BASE_IMAGE
