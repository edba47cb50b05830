"""The code that a custom job's container runs: the wheel of this package, in the job's bucket."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

from tunepipe.distribution import build_wheel
from tunepipe.errors import UsageError
from tunepipe.stores import storage

IN_IMAGE = "image"


def code_uri(bucket: str, name: str, sha256: str) -> str:
    """Name the object that holds a wheel: equal code is uploaded once.

    Args:
        bucket: Any gs:// URI of the bucket.
        name: The wheel's name.
        sha256: The wheel's hash.
    """
    return f"gs://{storage.parse(bucket).bucket}/tunepipe/code/{sha256[:16]}/{name}"


def upload_code(bucket: str) -> str:
    """Bring this package's code into a bucket, and return its URI.

    Args:
        bucket: Any gs:// URI of the bucket.

    Raises:
        UsageError: Not the whole package is here, as in a component's step.
    """
    if not importlib.util.find_spec("tunepipe.backends.remote.worker"):
        raise UsageError(
            "this step carries a part of tunepipe, and a custom job runs more of it",
            where="option code",
            fix="submit it by tunepipe run, which uploads the code; or take an image that holds "
            'tunepipe[local], with code="image"',
        )
    with tempfile.TemporaryDirectory() as folder:
        wheel, sha256 = build_wheel(Path(folder))
        uri = code_uri(bucket, wheel.name, sha256)
        if not storage.exists(uri):
            storage.write_file(str(wheel), uri)
    return uri
