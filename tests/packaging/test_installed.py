"""What an image is asked before a run is started on it, and what a step installs by its hash."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.linked import environment
from tunepipe import components
from tunepipe.packaging.installed import install_missing, locked
from tunepipe.packaging.requirements import BASE_IMAGE, KFP, PINS
from tunepipe.packaging.step import requirements_of

ROOT = Path(__file__).parents[2]


def asked(python):
    return subprocess.run(
        [python, "-P", "-m", "tunepipe.packaging.installed"], capture_output=True,
        text=True, env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}, cwd="/",
    )  # fmt: skip


def test_this_environment_could_be_an_image():
    done = asked(sys.executable)
    assert done.returncode == 0, done.stderr
    assert f"{len(PINS) + 1} pinned packages are installed" in done.stdout


def test_an_image_without_what_the_steps_need_says_what_is_missing(tmp_path):
    done = asked(environment(tmp_path / "venv", [KFP, PINS["numpy"]]))
    assert done.returncode
    assert "the steps need " in done.stderr
    assert PINS["msgspec"] in done.stderr
    assert PINS["numpy"] not in done.stderr
    assert PINS["torch"] in done.stdout, "the other steps go without"
    assert PINS["torch"] not in done.stderr


PIP = """
import sys
print(*sys.argv[1:])
print(open(sys.argv[-1]).read())
"""


def installed(folder, capfd, code, *requirements, completes=False):
    """Return the arguments that pip gets, and the packages with hashes that its file lists."""
    (folder / "pip.py").write_text(PIP)
    pip = f"{sys.executable} {folder / 'pip.py'} install"
    install_missing(pip, requirements, code=code, completes=completes)
    call, _, file = capfd.readouterr().out.partition("\n")
    names = re.findall(r"^([\w.-]+)==", file, re.MULTILINE)
    assert file.count("--hash=sha256:") >= len(names)
    return call.split(), names


def test_a_step_installs_what_is_missing_and_its_needs_by_their_hashes(tmp_path, capfd):
    call, names = installed(tmp_path, capfd, "x==1 --index-url=https://i", "requests==2.0.0")
    options = ["--no-deps", "--require-hashes", "-r"]
    assert call[:-1] == ["install", "--index-url=https://i", *options]
    assert names == ["certifi", "charset-normalizer", "idna", "requests", "urllib3"]
    # kfp alone: a step needs its types, and not what it requires.
    assert installed(tmp_path, capfd, "", "kfp==0.0.1", "Jinja2==3.0.0")[1] == [
        "jinja2", "kfp", "markupsafe",
    ]  # fmt: skip


def test_an_image_is_completed_without_another_version_of_what_it_has(tmp_path, capfd):
    """All that requests needs is here, in whatever version: only what was asked for comes."""
    _, names = installed(tmp_path, capfd, "", "requests==2.0.0", completes=True)
    assert names == ["requests"]
    # peft 0.0.1 needs torch, transformers and more, which are here.
    _, names = installed(tmp_path, capfd, "", "peft==0.0.1", "xxhash==0.0.1", completes=True)
    assert names == ["peft", "xxhash"]
    assert "torch" in installed(tmp_path, capfd, "", "peft==0.0.1")[1]


def test_a_broken_installation_in_an_image_is_passed_over(tmp_path, capfd, monkeypatch):
    (tmp_path / "left-1.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    _, names = installed(tmp_path, capfd, "", "requests==2.0.0", completes=True)
    assert names == ["requests"]


def test_what_is_installed_in_its_version_is_not_installed_again(tmp_path, capfd):
    install_missing("false", [KFP, *PINS.values()])
    assert capfd.readouterr().out == ""


def test_one_base_image_by_its_digest():
    assert re.search(r"@sha256:[0-9a-f]{64}\Z", BASE_IMAGE)
    assert f"\nARG PYTHON={BASE_IMAGE}\n" in (ROOT / "Dockerfile").read_text()
    custom = tomllib.loads((ROOT / "tunepipe/backends/custom/parameters.toml").read_text())
    assert custom["image"] == BASE_IMAGE


@pytest.mark.parametrize(
    ("verb", "options", "more"),
    [
        ("tune_local", {"tuning_mode": "qlora"}, {PINS["bitsandbytes"]}),
        ("tune_local", {"tuning_mode": "lora"}, set()),
        ("evaluate_model", {"four_bit": True}, {PINS["bitsandbytes"]}),
        ("evaluate_model", {"four_bit": False}, set()),
        ("tune_custom", {"tuning_mode": "qlora"}, set()),  # the job installs it
    ],
)
def test_weights_in_4_bits_need_their_package(verb, options, more):
    alone = set(requirements_of(module_of(verb), verb))
    assert set(requirements_of(module_of(verb), verb, options)) - alone == more


def test_only_steps_that_compute_with_a_model_install_what_computes():
    """Torch brings 3 GB of CUDA: a step that waits for a job elsewhere goes without."""
    heavy = {
        verb
        for verb in components.__all__
        if PINS["torch"] in requirements_of(module_of(verb), verb)
    }
    assert heavy == {"evaluate_model", "tune_local"}


def module_of(verb):
    return getattr(components, verb).python_func.__module__.rpartition(".")[2]


def test_a_step_that_creates_a_trainjob_installs_the_client_of_kubernetes():
    alone = requirements_of("local", "tune_local")
    job = requirements_of("local", "tune_local", {"train_job": {"image": "team/image"}})
    assert set(job) - set(alone) == {PINS["kubernetes"]}
    assert "\nwebsocket-client==" in locked(["kubernetes"])
