"""The code that a custom job's container runs: this package as a zip, named by its content."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import tempfile
import zipfile
from functools import cache
from pathlib import Path

from tunepipe.errors import UsageError
from tunepipe.files import replacing
from tunepipe.gcp.labels import KEY_CHARACTERS
from tunepipe.stores import storage

IN_IMAGE = "image"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the zip's least date: the same code, the same bytes


def code_file(bucket: str) -> tuple[str, str]:
    """Write the zip into a file of this machine, and name the object that is to hold it.

    Args:
        bucket: Any gs:// URI of the bucket.

    Raises:
        UsageError: Not the whole package is here, as in a component's step.
    """
    data = _zipped()
    name = f"{hashlib.sha256(data).hexdigest()[:KEY_CHARACTERS]}.zip"
    file = Path(tempfile.gettempdir()) / f"tunepipe-{name}"
    # A file that is there already may be somebody else's: the folder is shared.
    with replacing(file, "wb") as target:
        target.write(data)
    return str(file), f"gs://{storage.parse(bucket).bucket}/tunepipe/code/{name}"


def upload_code(bucket: str) -> str:
    """Bring this package's code into a bucket, and return its URI."""
    file, uri = code_file(bucket)
    if not storage.exists(uri):
        storage.write_file(file, uri)
    return uri


@cache
def _zipped() -> bytes:
    if not importlib.util.find_spec("tunepipe.backends.custom.worker"):
        raise UsageError(
            "this step carries a part of tunepipe, and a custom job runs more of it",
            where="option code",
            fix="submit it by tunepipe run, which uploads the code; or take an image that holds "
            'tunepipe[local], with code="image"',
        )
    root = Path(__file__).parents[2]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(root.rglob("*")):
            if file.suffix in (".py", ".toml", ".lock") and "__pycache__" not in file.parts:
                name = str(file.relative_to(root.parent))
                archive.writestr(zipfile.ZipInfo(name, _EPOCH), file.read_bytes())
    return buffer.getvalue()
