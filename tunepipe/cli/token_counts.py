"""Counting the tokens of a sample of rows, to correct the estimate that characters give.

A tokenizer counts what training would read, the marks of its chat template included. The service
counts the texts: it is sent the sampled rows, and takes nothing for it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from tunepipe.catalog.catalog import Catalog, load_catalog
from tunepipe.catalog.limits import estimated_tokens
from tunepipe.catalog.schema import Calibration, Model
from tunepipe.catalog.tables import Table, merged
from tunepipe.cli.inputs import local_copies
from tunepipe.data.conversations import Example, example
from tunepipe.data.rows import blocks, parse
from tunepipe.data.source import format_of
from tunepipe.errors import DataError, LimitError, TunepipeError, UsageError
from tunepipe.gcp.clients import place_of
from tunepipe.gcp.genai import as_google_core, client, translate_errors

SAMPLE = 200
SERVICE = "service"
_ROWS_A_REQUEST = 25
_PATIENCE_SECONDS = 60
_SEED = 0


def calibrated(
    tables: Mapping[str, Any],
    tokenizer: str,
    datasets: Sequence[str],
    *,
    model: Model,
    format: str,
    project: str,
    region: str,
    options: Mapping[str, Any] | None = None,
) -> Table:
    """Lay a calibration over the user's tables, from where every estimate takes it.

    The tokenizer is a folder, a tokenizer.json or a hub id; "service" asks Gemini's, in the name
    of the project; "" counts nothing.

    Raises:
        UsageError: The tokenizer is not found, or the model's service does not count.
    """
    from msgspec import structs

    if not tokenizer:
        return dict(tables)
    by_google, where = tokenizer == SERVICE, f"--tokenizer {SERVICE}"
    if by_google and model.backend != "gemini":
        raise UsageError(
            f"only Gemini's service counts, and {model.name} is tuned by {model.backend}",
            where=where,
            fix="name the model's tokenizer: a folder, a tokenizer.json or a hub id",
        )
    if by_google and not (project and region):
        raise UsageError(
            "Gemini's own count needs a project and a region",
            where=where,
            fix="--project ID --region NAME",
        )
    with local_copies(datasets) as files:
        rows = sample(list(files), format)
    if by_google:
        catalog = load_catalog(tables)
        calibration = by_service(rows, model.name, project, region, options or {}, catalog)
    else:
        calibration = by_tokenizer(rows, tokenizer)
    return merged(tables, {"prices": {"tokens": {"calibration": structs.asdict(calibration)}}})


def sample(paths: Sequence[str], format: str) -> list[Example]:
    """Draw at most SAMPLE readable rows from local files, the same ones each time."""
    chosen = format_of([Path(path) for path in paths]) if format == "auto" else format
    pick = random.Random(_SEED)  # noqa: S311
    lines = (
        line for path in paths for _, block in blocks(path) for line in block if not line.isspace()
    )
    # Reservoir sampling: each line has the same chance, whatever their number.
    drawn: list[bytes] = []
    for number, line in enumerate(lines):
        place = number if number < SAMPLE else pick.randrange(number + 1)
        if place < SAMPLE:
            drawn[place : place + 1] = [line]
    rows = []
    for line in drawn:
        with suppress(TunepipeError, UnicodeEncodeError):
            row = example(parse(line), chosen)
            _whole_text(row).encode()  # half a surrogate pair is no text to count
            rows.append(row)
    if not rows:
        raise DataError(
            "no row can be read to count its tokens",
            where=", ".join(paths),
            fix="`tunepipe validate` shows each with its line and its remedy",
        )
    return rows


def by_tokenizer(rows: Sequence[Example], name: str) -> Calibration:
    """Count the tokens of rows by a Hugging Face folder, a tokenizer.json, or a hub id."""
    from tunepipe.backends.chat_template import completion_ids, prompt_ids

    if Path(name).is_file():
        from transformers import PreTrainedTokenizerFast

        try:
            tokenizer = PreTrainedTokenizerFast(tokenizer_file=name)
        except Exception as error:  # the package raises no narrower one
            raise UsageError(
                "the file holds no tokenizer", where=name, fix="name a tokenizer.json"
            ) from error
    else:
        from tunepipe.backends.local.base_model import load_tokenizer

        tokenizer = load_tokenizer(name, "--tokenizer")
    counted = sum(
        len(prompt_ids(tokenizer, row.messages))
        + len(completion_ids(tokenizer, row.messages, row.reference))
        for row in rows
    )
    return _calibration(rows, counted, f"the tokenizer of {name}")


def by_service(
    rows: Sequence[Example],
    model: str,
    project: str,
    region: str,
    options: Mapping[str, Any],
    catalog: Catalog | None = None,
) -> Calibration:
    """Let Gemini's service count the tokens of rows; they are sent to it, and nothing is billed.

    Where it is asked, `gemini.base_model_resource` says.
    """
    from tunepipe.backends.managed import gemini
    from tunepipe.gcp.retries import retry

    resource = gemini.base_model_resource(model, project, region, options, catalog)
    if not resource:
        raise LimitError(
            "no endpoint of the model is known to count with",
            where=model,
            fix="name the model's tokenizer",
        )

    def count(start: int) -> int:
        contents = [_content(row) for row in rows[start : start + _ROWS_A_REQUEST]]
        with as_google_core():
            models = client(*place_of(resource)).models
            return int(models.count_tokens(model=resource, contents=contents).total_tokens)

    with translate_errors(resource):
        counted = sum(
            retry(partial(count, start), seconds=_PATIENCE_SECONDS)
            for start in range(0, len(rows), _ROWS_A_REQUEST)
        )
    return _calibration(rows, counted, f"the service's count for {model}")


def _whole_text(row: Example) -> str:
    return row.input + row.reference


def _calibration(rows: Sequence[Example], counted: int, counter: str) -> Calibration:
    texts = [_whole_text(row) for row in rows]
    others = sum(not character.isascii() for text in texts for character in text)
    estimated = estimated_tokens(sum(map(len, texts)) - others, others)
    return Calibration(rows=len(rows), estimated=estimated, counted=counted, counter=counter)


def _content(row: Example) -> dict[str, Any]:
    texts = [*(turn["content"] for turn in row.messages), row.reference]
    return {"role": "user", "parts": [{"text": text} for text in texts if text]}
