"""The package as it is installed here: its content's hash, and what a step still has to install.

A step of a pipeline runs this module before anything else (see thin_step.sh):

    python -m tunepipe.packaging.installed add PIP CODE REQUIREMENT...  # what is missing
    python -m tunepipe.packaging.installed check CODE                   # the components' folder
    python -m tunepipe.packaging.installed steps                        # what an image lacks
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from pathlib import Path

from tunepipe import __version__
from tunepipe.errors import UsageError

# Before the hash of the code that must be installed already.
INSTALLED = "installed:"
_ROOT = Path(__file__).parents[1]
_SUFFIXES = (".py", ".toml", ".j2", ".css", ".js", ".sh", ".typed", ".lock")


def package_files() -> dict[str, Path]:
    """Return every file of the package by its path in a wheel, sorted; without compiled/."""
    files = {}
    for folder, folders, names in os.walk(_ROOT, followlinks=True):
        folders[:] = [name for name in folders if name not in ("__pycache__", "compiled")]
        for name in names:
            path = Path(folder, name)
            if path.suffix in _SUFFIXES:
                files[f"tunepipe/{path.relative_to(_ROOT).as_posix()}"] = path
    return dict(sorted(files.items()))


@cache
def content_hash() -> str:
    """Return the SHA-256 of the package's files, the same in a checkout, a wheel and an image."""
    digest = hashlib.sha256()
    for name, path in package_files().items():
        digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def describe_code() -> str:
    """Return the code that runs here: its version and the start of its hash."""
    return f"tunepipe {__version__}, sha256 {content_hash()[:16]}"


def install_missing(pip: str, code: str, requirements: Sequence[str]) -> None:
    """Install the pinned requirements that are not installed in exactly that version.

    What is installed, and what that requires, has the hashes of requirements.lock.

    Args:
        pip: The command up to its arguments.
        code: The pipeline's parameter; its options, such as --index-url=URL, apply here too.
        requirements: Such as numpy==2.4.6. kfp comes without what it requires: a step needs only
            its types.
    """
    command = [*pip.split(), *(word for word in code.split() if word.startswith("--"))]
    missing = [each.partition("==")[0] for each in requirements if not _is_installed(each)]
    if not missing:
        return
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(locked(missing))
        file.flush()
        subprocess.run([*command, "--no-deps", "--require-hashes", "-r", file.name], check=True)


def locked(names: Sequence[str]) -> str:
    """Return the part of requirements.lock that holds packages and, but for kfp, their own needs.

    Args:
        names: Names of packages that the lock holds.
    """
    text = Path(__file__).with_name("requirements.lock").read_text(encoding="utf-8")
    entries: dict[str, str] = {}
    needs: dict[str, set[str]] = {}
    for entry in re.split(r"^(?=[a-z])", text, flags=re.MULTILINE)[1:]:
        name = entry.partition("==")[0]
        entries[name] = entry
        for parent in re.findall(r"^ +#(?: via)? +([\w.-]+)", entry, re.MULTILINE):
            needs.setdefault(parent, set()).add(name)
    chosen: set[str] = set()
    waiting = {re.sub(r"[-_.]+", "-", name.lower()) for name in names}
    while waiting:
        name = waiting.pop()
        chosen.add(name)
        if name != "kfp":
            waiting |= needs.get(name, set()) - chosen
    return "".join(entries[name] for name in sorted(chosen))


def check_code(code: str) -> None:
    """Refuse code that is another than the run's.

    Args:
        code: The pipeline's parameter; only `installed:SHA256` names a hash that is checked here.
            pip has checked the hash of a wheel.

    Raises:
        UsageError: The installed package has another hash.
    """
    expected = code.removeprefix(INSTALLED)
    if code.startswith(INSTALLED) and expected != content_hash():
        raise UsageError(
            f"this step has {describe_code()}, and the run was started with {expected[:16]}",
            where="code",
            fix="build the image again from the same code, or start the run with its version",
        )


def check_image() -> None:
    """Check that an image can run the steps of the pipelines without installing anything.

    Raises:
        UsageError: Names the requirements that are not installed in the pinned version. Those of
            the local backend are printed alone: an image for the other steps goes without.
    """
    from tunepipe.packaging.requirements import KFP, PINS, TRAINING

    lacking = [each for each in (KFP, *PINS.values()) if not _is_installed(each)]
    needed = [each for each in lacking if each.partition("==")[0] not in TRAINING]
    print(f"{describe_code()}; {len(PINS) + 1 - len(lacking)} pinned packages are installed")
    if training := sorted({*lacking} - {*needed}):
        print(f"the local backend cannot train here: it needs {', '.join(training)}")
    if needed:
        raise UsageError(
            f"the steps need {', '.join(needed)}",
            where="image",
            fix="install requirements.lock with --require-hashes",
        )


def _is_installed(requirement: str) -> bool:
    name, _, version = requirement.partition("==")
    try:
        return metadata.version(name).partition("+")[0] == version
    except metadata.PackageNotFoundError:
        return False


def main(arguments: Sequence[str]) -> None:
    """Do what a step asks for."""
    verb, *rest = arguments
    if verb == "steps":
        check_image()
        return
    if verb == "add":
        pip, code, *requirements = rest
        install_missing(pip, code, requirements)
        return
    check_code(rest[0])
    print(_ROOT / "components")


if __name__ == "__main__":
    main(sys.argv[1:])
