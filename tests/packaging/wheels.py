"""Wheels of what is installed here, so that a wheelhouse can be filled without a network."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from tests.linked import closure


def repacked(requirements: Iterable[str], folder: Path) -> None:
    """Pack installed packages, with what they require, into wheels that hold metadata alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in closure(requirements):
        found = metadata.distribution(name)
        project = found.metadata["Name"].replace("-", "_")
        info = f"{project}-{found.version}.dist-info"
        wheel = folder / f"{project}-{found.version}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"{info}/METADATA", found.read_text("METADATA") or "")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
