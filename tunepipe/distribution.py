"""The package itself: its files, its content's hash, and the wheel of it that others install."""

from __future__ import annotations

import base64
import hashlib
import os
import zipfile
from functools import cache
from pathlib import Path

from tunepipe.files import replacing

ROOT = Path(__file__).parent
_SUFFIXES = (".py", ".toml", ".j2", ".css", ".js", ".sh", ".typed", ".lock")
_TAGS = "Wheel-Version: 1.0\nGenerator: tunepipe\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def package_files() -> dict[str, Path]:
    """Return every file of the package by its path in a wheel, sorted; without compiled/."""
    files = {}
    for folder, folders, names in os.walk(ROOT, followlinks=True):
        folders[:] = [name for name in folders if name not in ("__pycache__", "compiled")]
        for name in names:
            path = Path(folder, name)
            if path.suffix in _SUFFIXES:
                files[f"tunepipe/{path.relative_to(ROOT).as_posix()}"] = path
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
    from tunepipe import __version__

    return f"tunepipe {__version__}, sha256 {content_hash()[:16]}"


def build_wheel(folder: Path) -> tuple[Path, str]:
    """Write the wheel of the installed package into a folder; return it, and its SHA-256 in hex.

    Its bytes depend on nothing but the package's files, in a checkout as in site-packages: nothing
    is compressed, as compressed bytes depend on which zlib a Python was built with. It requires
    nothing: steps install what they need.
    """
    from tunepipe import __version__

    info = f"tunepipe-{__version__}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: tunepipe\nVersion: {__version__}\n"
    contents = {name: path.read_bytes() for name, path in package_files().items()}
    contents |= {f"{info}/METADATA": metadata.encode(), f"{info}/WHEEL": _TAGS.encode()}
    record = "".join(f"{name},{_digest(data)},{len(data)}\n" for name, data in contents.items())
    contents[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    path = folder / f"tunepipe-{__version__}-py3-none-any.whl"
    # Another process may write, or read, the same at once.
    with replacing(path, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as wheel:
        for name, data in contents.items():
            entry = zipfile.ZipInfo(name)  # dated 1980-01-01
            entry.external_attr = 0o644 << 16
            wheel.writestr(entry, data)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
    return f"sha256={digest.decode()}"
