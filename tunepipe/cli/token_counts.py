"""Counting the tokens of a sample of rows, to correct the estimate that characters give.

A tokenizer counts what training would read, the marks of its chat template included. The service
counts the texts: it is sent the sampled rows, and takes nothing for it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tunepipe.catalog.catalog import Catalog, load_catalog
from tunepipe.catalog.limits import estimated_tokens
from tunepipe.catalog.schema import Calibration, Model
from tunepipe.catalog.tables import Table, merged
from tunepipe.cli.inputs import local_copies
from tunepipe.data.formats import Example, example, input_text
from tunepipe.data.rows import blocks, parse
from tunepipe.data.source import format_of
from tunepipe.errors import DataError, LimitError, TunepipeError, UsageError

SAMPLE = 200
_ROWS_A_REQUEST = 25
_PATIENCE_SECONDS = 60
_SEED = 0


def sample(paths: Sequence[str], format: str) -> list[Example]:
    """Draw rows from a dataset, the same ones each time.

    Args:
        paths: Files on this machine.
        format: The rows' format, or "auto".

    Returns:
        At most SAMPLE rows; those that cannot be read are left out.

    Raises:
        DataError: None can be read.
    """
    chosen = format_of([Path(path) for path in paths]) if format == "auto" else format
    pick = random.Random(_SEED)  # noqa: S311
    drawn: list[bytes] = []
    for number, line in enumerate(_lines(paths)):
        place = number if number < SAMPLE else pick.randrange(number + 1)
        if place < SAMPLE:
            drawn[place : place + 1] = [line]
    found = list(_readable(drawn, chosen))
    if not found:
        raise DataError(
            "no row can be read to count its tokens",
            where=", ".join(paths),
            fix="`tunepipe validate` shows each with its line and its remedy",
        )
    return found


def by_tokenizer(rows: Sequence[Example], name: str) -> Calibration:
    """Count the rows' tokens by a tokenizer.

    Args:
        rows: The sample.
        name: A folder in Hugging Face layout, a tokenizer.json, or a hub id.

    Raises:
        UsageError: The tokenizer is not found, or no package can read it.
    """
    try:
        tokenizer = _tokenizer(name)
    except ImportError as error:
        raise UsageError(
            "a tokenizer needs the package transformers",
            where="--tokenizer",
            fix="pip install transformers",
        ) from error
    from tunepipe.backends.chat_template import completion_ids, prompt_ids

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
    """Let Gemini's service count the rows' tokens; they are sent to it, and nothing is billed.

    Args:
        rows: The sample.
        model: The model to tune.
        project: The project that asks.
        region: Where it is tuned.
        options: base_location, if the user names it; see `gemini.base_model_resource`.
        catalog: The dated tables; None for the package's own.

    Raises:
        CloudError: Google refused, or is out of reach.
    """
    from tunepipe.backends.managed import gemini
    from tunepipe.gcp.genai import client, place_of, translate_errors

    resource = gemini.base_model_resource(model, project, region, options, catalog)
    if not resource:
        raise LimitError("no endpoint of the model is known to count with", where=model)
    counted = 0
    with translate_errors(resource):
        asked = client(*place_of(resource))
        for start in range(0, len(rows), _ROWS_A_REQUEST):
            contents = [_content(row) for row in rows[start : start + _ROWS_A_REQUEST]]
            counted += _counted(asked, resource, contents)
    return _calibration(rows, counted, f"the service's count for {model}")


def _lines(paths: Sequence[str]) -> Iterator[bytes]:
    for path in paths:
        for _, lines in blocks(path):
            yield from (line for line in lines if not line.isspace())


def _readable(lines: Sequence[bytes], format: str) -> Iterator[Example]:
    for line in lines:
        with suppress(TunepipeError, UnicodeEncodeError):
            row = example(parse(line), format)
            _whole_text(row).encode()  # half a surrogate pair is no text to count
            yield row


def _whole_text(row: Example) -> str:
    return input_text(row) + row.reference


def _calibration(rows: Sequence[Example], counted: int, counter: str) -> Calibration:
    texts = [_whole_text(row) for row in rows]
    others = sum(not character.isascii() for text in texts for character in text)
    estimated = estimated_tokens(sum(map(len, texts)) - others, others)
    return Calibration(rows=len(rows), estimated=estimated, counted=counted, counter=counter)


def _tokenizer(name: str) -> Any:
    if not Path(name).is_file():
        from tunepipe.backends.local.base_model import load_tokenizer

        return load_tokenizer(name, "--tokenizer")
    from transformers import PreTrainedTokenizerFast

    try:
        return PreTrainedTokenizerFast(tokenizer_file=name)
    except Exception as error:  # the package raises no narrower one
        raise UsageError(
            "the file holds no tokenizer", where=name, fix="name a tokenizer.json"
        ) from error


def _content(row: Example) -> dict[str, Any]:
    texts = [*(turn["content"] for turn in row.messages), row.reference]
    return {"role": "user", "parts": [{"text": text} for text in texts if text]}


def _counted(asked: Any, model: str, contents: Sequence[Mapping[str, Any]]) -> int:
    """Ask once, and again where trouble may pass."""
    from tunepipe.gcp.genai import as_google_core
    from tunepipe.gcp.retries import retry

    def count() -> int:
        with as_google_core():
            return int(asked.models.count_tokens(model=model, contents=contents).total_tokens)

    return retry(count, seconds=_PATIENCE_SECONDS, longest_pause_seconds=10.0)


SERVICE = "service"


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

    Args:
        tables: The user's tables.
        tokenizer: A folder, a tokenizer.json or a hub id; "service" asks Gemini's; "" counts
            nothing.
        datasets: Paths, gs:// URIs or globs.
        model: The model to tune.
        format: The rows' format.
        project: The project that asks the service.
        region: Where the model is tuned.
        options: Backend-specific options.

    Raises:
        UsageError: The tokenizer is not found, or the model's service does not count.
    """
    from msgspec import structs

    if not tokenizer:
        return dict(tables)

    if tokenizer == SERVICE:
        _check_counts(model, project, region)
    with local_copies(datasets) as files:
        rows = sample(list(files), format)
    if tokenizer == SERVICE:
        found = by_service(rows, model.name, project, region, options or {}, load_catalog(tables))
    else:
        found = by_tokenizer(rows, tokenizer)
    calibration = structs.asdict(found)
    return merged(tables, {"prices": {"tokens": {"calibration": calibration}}})


def _check_counts(model: Model, project: str, region: str) -> None:
    if model.backend != "gemini":
        raise UsageError(
            f"only Gemini's service counts, and {model.name} is tuned by {model.backend}",
            where="--tokenizer service",
            fix="name the model's tokenizer: a folder, a tokenizer.json or a hub id",
        )
    if not (project and region):
        raise UsageError("needs --project and --region", where="--tokenizer service")
