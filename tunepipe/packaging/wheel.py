"""The package as a wheel whose bytes depend on nothing but its files."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

from tunepipe import __version__
from tunepipe.packaging.installed import package_files

WHEEL = f"tunepipe-{__version__}-py3-none-any.whl"
_INFO = f"tunepipe-{__version__}.dist-info"
# Steps install what they need themselves, so the wheel requires nothing.
_METADATA = f"Metadata-Version: 2.1\nName: tunepipe\nVersion: {__version__}\n"
_TAGS = "Wheel-Version: 1.0\nGenerator: tunepipe\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def build_wheel(folder: Path) -> tuple[Path, str]:
    """Write the wheel of the installed package, from a checkout as from site-packages.

    Nothing is compressed: compressed bytes depend on which zlib a Python was built with.

    Args:
        folder: Where the wheel goes.

    Returns:
        The wheel, and its SHA-256 in hex; equal code has an equal hash.
    """
    contents = {name: path.read_bytes() for name, path in package_files().items()}
    contents |= {f"{_INFO}/METADATA": _METADATA.encode(), f"{_INFO}/WHEEL": _TAGS.encode()}
    record = "".join(f"{name},{_digest(data)},{len(data)}\n" for name, data in contents.items())
    contents[f"{_INFO}/RECORD"] = f"{record}{_INFO}/RECORD,,\n".encode()
    path = folder / WHEEL
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as wheel:
        for name, data in contents.items():
            entry = zipfile.ZipInfo(name)  # dated 1980-01-01
            entry.external_attr = 0o644 << 16
            wheel.writestr(entry, data)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
    return f"sha256={digest.decode()}"
