"""Whether the code and the packages that are installed here are those of a run.

python -m tunepipe.packaging.installed                      # what an image lacks for the steps
python -m tunepipe.packaging.installed hash                 # of the code
python -m tunepipe.packaging.installed install PIP PIN...   # what is missing, by its hashes
python -m tunepipe.packaging.installed complete PIP PIN...  # too; what a pin needs and finds stays
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata

from tunepipe.distribution import content_hash, describe_code
from tunepipe.errors import UsageError
from tunepipe.packaging.requirements import KFP, PINS, TRAINING, locked

# Before the hash of the code that must be installed already.
INSTALLED = "installed:"
# The label of an image that holds the hash of its code; `make image` sets it.
CODE_LABEL = "tunepipe.code"


def install_missing(
    pip: str, requirements: Sequence[str], *, code: str = "", completes: bool = False
) -> None:
    """Install the pinned requirements that are not installed in exactly that version.

    What is installed, and what that requires, has the hashes of requirements.lock; kfp comes
    without what it requires, for a step needs only its types.

    Args:
        pip: The command up to its arguments.
        requirements: NAME==VERSION, of requirements.lock.
        code: The parameter `code`; its options, such as --index-url=URL, apply here too.
        completes: Whether what they require stays in the version that is there, whichever it is:
            an image built around its own torch has no other put in its place.
    """
    command = [*pip.split(), *(word for word in code.split() if word.startswith("--"))]
    missing = [each.partition("==")[0] for each in requirements if not is_installed(each)]
    if not missing:
        return
    # A broken installation, such as a folder that is left, has no name.
    there = [each.name for each in metadata.distributions() if each.name] if completes else []
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(locked(missing, there=there))
        file.flush()
        subprocess.run([*command, "--no-deps", "--require-hashes", "-r", file.name], check=True)


def check_code(code: str) -> None:
    """Refuse code that is another than the run's.

    Only `installed:SHA256` names a hash that is checked here; pip has checked that of a wheel.
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

    What the local backend lacks is printed alone: an image for the other steps goes without.
    """
    every = (KFP, *PINS.values())
    training = [pin for name, pin in PINS.items() if name in TRAINING]
    lacking = [each for each in every if not is_installed(each)]
    print(f"{describe_code()}; {len(every) - len(lacking)} pinned packages are installed")
    if untrained := [each for each in training if each in lacking]:
        print(f"the local backend cannot train here: it needs {', '.join(untrained)}")
    require_installed([each for each in every if each not in training])


def require_installed(requirements: Sequence[str]) -> None:
    """Refuse an image that lacks pinned packages, and name them."""
    if lacking := [each for each in requirements if not is_installed(each)]:
        raise UsageError(
            f"the steps need {', '.join(lacking)}",
            where="image",
            fix="install requirements.lock with --require-hashes; see docs/deploying.md",
        )


def is_installed(requirement: str) -> bool:
    """Return True if a requirement such as numpy==2.4.6 is installed in that version."""
    name, _, version = requirement.partition("==")
    try:
        return metadata.version(name).partition("+")[0] == version
    except metadata.PackageNotFoundError:
        return False


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["hash"]:
            print(content_hash())
        case [("install" | "complete") as verb, command, *pins]:
            install_missing(command, pins, completes=verb == "complete")
        case _:
            check_image()
