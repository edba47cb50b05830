"""Wheels of what is installed here, so that a wheelhouse can be filled without a network."""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
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


@contextmanager
def index_of(wheel: Path, sha256: str, folder: Path) -> Iterator[str]:
    """Serve an index of one's own, with the one package, on this machine; give its address."""
    (folder / "simple" / "tunepipe").mkdir(parents=True)
    (folder / wheel.name).write_bytes(wheel.read_bytes())
    link = f'<a href="../../{wheel.name}#sha256={sha256}">{wheel.name}</a>'
    (folder / "simple" / "tunepipe" / "index.html").write_text(link)
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
