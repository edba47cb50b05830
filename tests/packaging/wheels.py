"""Wheels of what is installed here, so that a wheelhouse can be filled without a network."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path


def repacked(names: Iterable[str], folder: Path, *, whole: bool = False) -> None:
    """Pack installed packages into wheels: their metadata alone, or whole."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        found = metadata.distribution(name)
        project = found.metadata["Name"].replace("-", "_")
        info = f"{project}-{found.version}.dist-info"
        wheel = folder / f"{project}-{found.version}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"{info}/METADATA", found.read_text("METADATA") or "")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
            for file in (found.files or ()) if whole else ():
                if not {"..", "__pycache__", info} & set(file.parts):
                    archive.write(file.locate(), str(file))
