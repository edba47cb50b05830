"""Supplies the package to a run's steps: on an image, from a wheel in the bucket, or by name."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote

from packaging.markers import Marker
from packaging.utils import parse_wheel_filename

from tunepipe.data.fingerprint import digest_of
from tunepipe.distribution import build_wheel, content_hash
from tunepipe.errors import CloudError, UsageError
from tunepipe.packaging.installed import INSTALLED
from tunepipe.packaging.requirements import locked
from tunepipe.packaging.step import requirements_of
from tunepipe.runs.pipeline_spec import thin_steps

# The interpreter and the platform of packaging.requirements.BASE_IMAGE.
_TARGET = (
    *("--only-binary=:all:", "--implementation=cp", "--python-version=3.11", "--abi=cp311"),
    *("--abi=abi3", "--abi=none", "--platform=any"),
    *(f"--platform=manylinux_2_{minor}_x86_64" for minor in (28, 27, 26, 24, 17, 12, 5)),
    *("--platform=manylinux2014_x86_64", "--platform=linux_x86_64"),
)
_MARKERS = {"sys_platform": "linux", "platform_machine": "x86_64", "python_full_version": "3.11.0"}


class Code(NamedTuple):
    """The pipeline's parameter `code`; none for a pipeline that takes none.

    `uploads` are the local files that the steps need, each with its URI, which holds its hash; the
    `wheel` is that of this package, with its SHA-256, where one was built.
    """

    parameters: Mapping[str, str]
    uploads: Mapping[str, str] = MappingProxyType({})
    wheel: tuple[Path, str] | None = None


def find_code(
    spec: Mapping[str, Any], root: str, *, image: str = "", code: str = "", wheelhouse: str = ""
) -> Code:
    """Say how a run on Vertex AI gets its code; nothing is uploaded.

    An `image` must hold the same code as is here: the steps install nothing. `code` is a wheel's
    URL with its hash, or a requirement. `wheelhouse` is a local folder for the wheels of all that
    the steps need, which then ask no index; what is not there is downloaded. `root` is the gs://
    folder of tunepipe in the run's bucket.

    Raises:
        UsageError: More than one way is named, or a requirement names no version and no hash.
        CloudError: pip could not download a package.
    """
    if sum(map(bool, (image, code, wheelhouse))) > 1:
        raise UsageError(
            "the steps get their code in one way",
            where="image, code, wheelhouse",
            fix="name one of them; without any, a wheel is uploaded to the bucket",
        )
    steps = thin_steps(spec)
    if not steps:  # a pipeline of another version, or a user's own
        return Code({})
    if image:
        return Code({"code": f"{INSTALLED}{content_hash()}"})
    if code:
        return Code({"code": check_code_parameter(code)})
    wheel, sha256 = cached_wheel()
    if wheelhouse:
        return _wheelhouse(Path(wheelhouse), steps, root, (wheel, sha256))
    uri = wheel_uri(root, wheel, sha256)
    # The steps on Vertex AI find an object on the mount of Cloud Storage.
    mounted = f"file:///gcs/{quote(uri.removeprefix('gs://'))}"
    return Code({"code": f"{mounted}#sha256={sha256}"}, {str(wheel): uri}, (wheel, sha256))


def check_code_parameter(code: str) -> str:
    """Refuse a bare name: its owner on a public index could run any code."""
    words = [word for word in code.split() if not word.startswith("--")]
    own_index = any(word.startswith("--index-url=") for word in code.split())
    if len(words) == 1 and (
        code.startswith(INSTALLED)
        or code.endswith("/")
        or ("#sha256=" in words[0] and "://" in words[0])
        or (words[0].startswith("tunepipe==") and own_index)
    ):
        return code
    raise UsageError(
        f"{code!r} does not say exactly which code to run, and from where",
        where="code",
        fix="write https://…/tunepipe-….whl#sha256=…, or 'tunepipe==X --index-url=URL' with an "
        "index of your own",
    )


def wheel_uri(root: str, wheel: Path, sha256: str) -> str:
    """Name the object that holds a wheel: equal code is uploaded once."""
    return f"{root}/code/{sha256[:16]}/{wheel.name}"


def cached_wheel() -> tuple[Path, str]:
    """Write the wheel of this package into the user's cache; return it and its SHA-256."""
    return build_wheel(_cache())


def _cache() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "tunepipe")
    folder = folder / content_hash()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _wheelhouse(folder: Path, modules: Mapping[str, str], root: str, own: tuple[Path, str]) -> Code:
    """Write, for each step, a file of all wheels that it installs, with their hashes."""
    folder.mkdir(parents=True, exist_ok=True)
    steps = {name: _locked(requirements_of(module, name)) for name, module in modules.items()}
    wheels = _download(folder, {name: pin for pins in steps.values() for name, pin in pins.items()})
    uploads: dict[str, str] = {}
    texts = {}
    for name, pins in steps.items():
        lines = []
        for path in sorted([own[0], *map(wheels.__getitem__, pins)], key=lambda path: path.name):
            sha256 = _sha256(path)
            place = f"{sha256[:16]}/{path.name}"
            uploads.setdefault(str(path), f"{root}/wheels/{place}")
            # The step sets WHEELS to where the bucket's folder is mounted.
            project = path.name.partition("-")[0]
            lines.append(f"{project} @ file://${{WHEELS}}/{place} --hash=sha256:{sha256}\n")
        texts[name] = "".join(lines)
    key = digest_of(texts, 16)
    lists = _cache() / key
    lists.mkdir(exist_ok=True)
    for name, text in texts.items():
        (lists / f"{name}.txt").write_text(text, encoding="utf-8")
        uploads[str(lists / f"{name}.txt")] = f"{root}/code/{key}/{name}.txt"
    return Code({"code": f"/gcs/{root.removeprefix('gs://')}/code/{key}/"}, uploads, own)


def _locked(requirements: list[str]) -> dict[str, str]:
    """Return the lock's entries for a step's requirements and for what those need, by name."""
    lock = locked(requirement.partition("==")[0] for requirement in requirements)
    pins = {}
    for entry in re.split("^(?=[a-z])", lock, flags=re.MULTILINE)[1:]:
        head, end, hashes = entry.partition(" \\\n")
        pin, _, marker = head.partition(" ; ")
        if not marker or Marker(marker).evaluate(_MARKERS):
            pins[pin.partition("==")[0]] = pin + end + hashes
    return pins


def _download(folder: Path, pins: Mapping[str, str]) -> dict[str, Path]:
    """Put the wheels that pins name by their hashes into a folder; return each by its name."""
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        lock = f"{fresh}/requirements.txt"
        Path(lock).write_text("".join(pins.values()), encoding="utf-8")
        pip = "-m pip --quiet --disable-pip-version-check download --no-deps --require-hashes"
        files = ("--dest", fresh, "--find-links", str(folder), "--requirement", lock)
        # A folder that holds all of them needs no index, which may be out of reach.
        for index in (["--no-index"], []):
            command = [sys.executable, *pip.split(), *_TARGET, *files, *index]
            done = subprocess.run(command, capture_output=True, text=True)
            if not done.returncode:
                wheels = {
                    parse_wheel_filename(each.name)[0]: each for each in Path(fresh).glob("*.whl")
                }
                return {name: wheel.replace(folder / wheel.name) for name, wheel in wheels.items()}
    reason = done.stderr.rpartition("ERROR: ")[2].partition("Expected sha256")[0]
    raise CloudError(
        f"pip download failed: {' '.join(reason.split())}",
        where="wheelhouse",
        fix="reach an index once to fill the folder, or copy one that is filled",
    )


@cache
def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
