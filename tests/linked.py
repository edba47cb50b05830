"""Environments that hold chosen packages and nothing else, made from links to what is installed.

They show what an environment without tunepipe does, offline and in a second: a venv without pip,
whose site-packages link to the files of the packages asked for and of what those require.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement


def environment(folder: Path, requirements: Iterable[str]) -> Path:
    """Make an environment and return its Python.

    Args:
        folder: Where the environment goes.
        requirements: The packages; versions must be those that are installed here.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    for name in closure(requirements):
        for file in metadata.files(name) or ():
            _link(file, site)
    return folder / "bin" / "python"


def closure(requirements: Iterable[str]) -> set[str]:
    """Return the installed packages that requirements mean, with what those require."""
    found: set[str] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        one = waiting.pop()
        assert one.specifier.contains(metadata.version(one.name), prereleases=True), str(one)
        if one.name.lower() in found:
            continue
        found.add(one.name.lower())
        below = [Requirement(text) for text in metadata.requires(one.name) or ()]
        extras = one.extras or {""}
        waiting += [
            each
            for each in below
            if not each.marker or any(each.marker.evaluate({"extra": extra}) for extra in extras)
        ]
    return found


def _link(file: metadata.PackagePath, site: Path) -> None:
    """Link a file, or the package that it is in, with what is compiled of it."""
    source = Path(file.locate())
    if ".." in file.parts or "__pycache__" in file.parts or not source.exists():
        return
    package = source.parents[len(file.parts) - 2] if len(file.parts) > 1 else source
    if (package / "__init__.py").exists():
        source, target = package, site / file.parts[0]
    else:  # a module, or a part of a namespace
        target = site / file
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source.resolve())
