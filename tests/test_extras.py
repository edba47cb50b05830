"""How an extra is added, by where tunepipe was installed from."""

import json
import sys

import pytest

from tunepipe import extras
from tunepipe.extras import install_command, missing

AGAIN = "install tunepipe again with the extra [score], from where you have it"


@pytest.mark.parametrize(
    ("origin", "requirement"),
    [
        ({"url": "https://x/t.git", "vcs_info": {"vcs": "git"}}, "'tunepipe[score] @ git+https://x/t.git'"),
        ({"url": "https://x/t.git", "vcs_info": {}}, "'tunepipe[score] @ git+https://x/t.git'"),
        ({"url": "file:///src", "dir_info": {"editable": True}}, "-e '/src[score]'"),
        ({"url": "file:///src", "dir_info": {}}, "'/src[score]'"),
        ({"url": "file:///t.whl", "archive_info": {}}, ""),
        ({"url": "https://x", "dir_info": {}}, ""),
        (None, ""),
    ],
)  # fmt: skip
def test_an_extra_comes_from_where_the_package_did(tmp_path, monkeypatch, origin, requirement):
    info = tmp_path / "tunepipe-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tunepipe\nVersion: 0\n")
    if origin:
        (info / "direct_url.json").write_text(json.dumps(origin))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    (tmp_path / "pipx_metadata.json").touch()
    expected = f"pipx install --force {requirement}" if requirement else AGAIN
    assert install_command("score") == expected


@pytest.mark.parametrize("has_pip", [True, False])
def test_pip_is_named_where_it_installs_into_this_environment(tmp_path, monkeypatch, has_pip):
    here = tmp_path / "bin"
    here.mkdir()
    pip = (here if has_pip else tmp_path) / "pip"
    pip.touch(mode=0o755)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(here / "python"))
    monkeypatch.setenv("PATH", str(pip.parent))
    assert extras._installer() == ("pip install" if has_pip else f"{here}/python -m pip install")


@pytest.mark.parametrize(
    ("module", "extra"),
    [("google.genai", "vertex"), ("google.cloud.storage.blob", "vertex"), ("torch", "local"),
     ("boto3", "s3"), ("nowhere", "all")],
)  # fmt: skip
def test_a_package_that_is_missing_names_its_extra(module, extra):
    error = missing(module)
    assert error.found == f"the package {module} is not installed"
    assert f"[{extra}]" in error.fix


def test_what_is_installed_is_seen():
    names = ("json", "google.auth", "nowhere", "nowhere.below")
    assert [extras._is_installed(name) for name in names] == [True, True, False, False]
    extras.require("score")
