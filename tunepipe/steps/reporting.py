"""The pages of a run: a report, a summary and a model card from what the steps found."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

from tunepipe.data.predictions import read
from tunepipe.errors import TunepipeError
from tunepipe.files import read_json, replacing
from tunepipe.registry.records import RunOutcome, record_outcome
from tunepipe.reporting.answers import side_by_side
from tunepipe.reporting.facts import read_facts
from tunepipe.reporting.model_card import model_card
from tunepipe.reporting.report import report_page
from tunepipe.reporting.summary import summary
from tunepipe.steps.artifacts import Artifact, paths_of
from tunepipe.stores import storage

_TYPES = frozenset(("image/png", "image/jpeg", "image/webp", "image/gif"))
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
# A report holds this many bytes of pictures in all, and of one picture, and reads this many files.
PAGE_BYTES, PICTURE_BYTES, FILES = 6 << 20, 256 << 10, 100


def report_step(
    ports: Mapping[str, Any], judge: Artifact | None, facts: Mapping[str, Any] | None = None
) -> None:
    """Write the pages of a run, with further facts by name, such as data_changes.

    The ports are those of `components.families.reporting`; the `title` in `run` heads the page.
    """
    compared, run = read_json(ports["comparison"].path), ports["run"]
    steps = {name: ports[name] for name in ("split", "plan", "tuning")}
    steps |= {"dataset": ports["problems"], "judge": judge}
    predictions = {name: ports[name] for name in ("tuned", "base", "champion")}
    answers = {name: read(path) for name, path in paths_of(predictions).items()}
    page_facts = {
        "title": run.get("title", "Tuning report"),
        "run": run,
        **{name: read_json(path) for name, path in paths_of(steps).items()},
        **(facts or {}),
        **compared,
        "rows": side_by_side(answers, compared["flips"], Thumbnails().shown),
    }
    decoded = read_facts(page_facts)
    pages = {"report": report_page, "summary": summary, "model_card": model_card}
    for name, page in pages.items():
        with replacing(ports[name].path) as file:
            file.write(page(decoded))


def record_step(ports: Mapping[str, Any], model: str = "") -> None:
    """Record a run's verdict and where its report and its model are, if there is a registry."""
    compared, run = read_json(ports["comparison"].path), ports["run_id"] or ports["job"]
    outcome = RunOutcome(compared["verdict"], compared["reason"], ports["report"].uri, model)
    record_outcome(ports["registry"], run, outcome)


class Thumbnails:
    """Reads pictures until the page holds enough of them."""

    def __init__(self) -> None:
        self._bytes_left, self._files_left = PAGE_BYTES, FILES

    def shown(self, media: Any) -> list[dict[str, str]]:
        """List the files of a prediction, each of a MIME type with a URI or data in base64.

        `image` is a data: URI, or "" if it is no picture, cannot be read or is too large.
        """
        shown = []
        for file in media if isinstance(media, list) else ():
            if isinstance(file, dict):
                kind, uri = str(file.get("mime_type", "")), str(file.get("uri", ""))
                data = str(file.get("data", "")) or self._read(uri) if kind in _TYPES else ""
                fits = len(data) <= min(PICTURE_BYTES, self._bytes_left)
                image = ""
                if fits and _BASE64.fullmatch(data):
                    self._bytes_left -= len(data)
                    image = f"data:{kind};base64,{data}"
                shown.append({"mime_type": kind, "uri": uri, "image": image})
        return shown

    def _read(self, uri: str) -> str:
        """Read an object in base64; "" if it is too large or cannot be read."""
        if not storage.is_object(uri) or not self._files_left:
            return ""
        self._files_left -= 1
        try:
            small = storage.stat(uri).bytes * 4 // 3 <= min(PICTURE_BYTES, self._bytes_left)
            return base64.b64encode(storage.read_bytes(uri)).decode() if small else ""
        except TunepipeError:
            return ""  # the report names the file, and a picture less fails no run
