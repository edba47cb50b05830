"""An archive whose bytes depend on nothing but what is in it."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping


def archive(contents: Mapping[str, bytes]) -> bytes:
    """Pack files into a tar.gz that depends on their names and bytes alone.

    Args:
        contents: Paths inside the archive and the bytes of each file.
    """
    tar_bytes, gz_bytes = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=tar_bytes, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(contents):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(contents[path]), 0o644
            tar.addfile(entry, io.BytesIO(contents[path]))
    # GzipFile, not gzip.compress: the latter writes another OS byte on Python 3.11 than on 3.13.
    with gzip.GzipFile(fileobj=gz_bytes, mode="wb", filename="", mtime=0) as zipped:
        zipped.write(tar_bytes.getvalue())
    return gz_bytes.getvalue()
