"""The options that several verbs share, each defined once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunepipe.catalog.catalog import Catalog, load_catalog
from tunepipe.catalog.tables import Table
from tunepipe.cli.config import overrides
from tunepipe.errors import UsageError
from tunepipe.extras import require

if TYPE_CHECKING:
    from tunepipe.runs.kfp.host import KfpHost as Host

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output, nothing else.")
]
Model = Annotated[str, typer.Option(metavar="NAME", help="The base model, such as text-bison@001.")]
Backend = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="large-model, gemini, open-model, custom or local. Default: the model's.",
    ),
]
Accelerator = Annotated[
    str,
    typer.Option(
        metavar="TYPE:N",
        help="A machine's accelerators: NVIDIA_L4:1; on KFP nvidia.com/gpu:1.",
    ),
]
Region = Annotated[str, typer.Option(metavar="NAME", help="Where to tune, such as us-central1.")]
Project = Annotated[str, typer.Option(metavar="ID", help="The Google Cloud project that pays.")]
Run = Annotated[
    str,
    typer.Argument(metavar="RUN", help="A run's name, its id or a prefix of it, or latest."),
]
KfpHost = Annotated[
    str, typer.Option(metavar="URL", help="A host of open-source Kubeflow Pipelines.")
]
Kfp = Annotated[
    list[str] | None,
    typer.Option(
        metavar="K=V",
        help="How to reach that host and what steps get there: namespace, token_file, "
        "cookies_file, ca_cert, experiment, pipeline_root, service_account, node_selector, "
        "tolerations, secrets, volume; repeatable.",
    ),
]
Runs = Annotated[Path, typer.Option(metavar="FOLDER", help="Where runs on this machine are kept.")]
Format = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="palm, palm-chat, gemini, messages, prompt-completion or preference.",
    ),
]
Epochs = Annotated[
    float | None,
    typer.Option(metavar="E", help="Passes over the rows, above 0; may be a fraction."),
]
TrainSteps = Annotated[
    int | None,
    typer.Option(metavar="S", min=1, help="Training steps, in place of --epochs."),
]
MaxCostUsd = Annotated[
    float | None, typer.Option(metavar="USD", help="Refuse an estimate above this.")
]
MaxHours = Annotated[
    float | None,
    typer.Option(metavar="H", help="Cancel a tuning job that has not ended within H hours."),
]
Tokenizer = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Correct the estimate by counting the tokens of 200 rows: a folder, a tokenizer.json "
        "or a hub id; `service` sends the rows to Gemini's own count, which is free.",
    ),
]
LearningRateMultiplier = Annotated[
    float, typer.Option(metavar="X", help="Factor on the recommended learning rate.")
]
Seed = Annotated[int, typer.Option(metavar="N", help="Random seed.")]
Image = Annotated[
    str,
    typer.Option(
        metavar="IMAGE",
        help="Image with the package, by digest: the steps run on it and install nothing.",
    ),
]
Code = Annotated[
    str,
    typer.Option(
        metavar="CODE",
        help="Where the steps install the package from: a wheel's URL with #sha256=…, or "
        "'tunepipe==X --index-url=URL'. Default: a wheel in the bucket.",
    ),
]
Wheelhouse = Annotated[
    str,
    typer.Option(
        metavar="FOLDER",
        help="Upload the wheels of all that the steps need, so that no step asks an index; "
        "what the folder lacks is downloaded into it.",
    ),
]
PersistentResource = Annotated[
    str,
    typer.Option(
        metavar="ID",
        help="Persistent resource of Vertex AI that the steps run on: they start in seconds.",
    ),
]
Tables = Annotated[
    str,
    typer.Option(
        metavar="FILE",
        help="TOML whose values replace those of the dated tables.",
    ),
]
Task = Annotated[
    str, typer.Option(metavar="NAME", help="Scored as auto, text, classification, json or calls.")
]
Metric = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="The metric that decides. Default: the task's. Your own: module:function, "
        "regex:PATTERN, schema:FILE, number:TOLERANCE.",
    ),
]
Normalize = Annotated[
    str,
    typer.Option(
        metavar="HOW", help="strict: answers as they are; content: without fences, quotes, case."
    ),
]
Missing = Annotated[
    str, typer.Option(metavar="HOW", help="A missing answer counts as wrong, or is excluded.")
]
SliceBy = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FIELD",
        help="Compare each slice too; a loss in one stops a promotion. Repeatable; class, "
        "language, or a field of the rows.",
    ),
]
Answers = Annotated[
    int, typer.Option(metavar="K", min=1, help="Answers to ask for to each held-out row.")
]
MaxLatencyMs = Annotated[
    float | None,
    typer.Option(metavar="MS", help="Promote only if 95 % of the answers take at most this."),
]
MaxCostPerAnswer = Annotated[
    float | None,
    typer.Option(metavar="USD", help="Promote only if an answer costs at most this, on average."),
]
EvalFraction = Annotated[
    float, typer.Option(metavar="F", help="The share of rows to hold out, above 0 and below 1.")
]
EvalMin = Annotated[
    int, typer.Option(metavar="N", min=0, help="Minimum number of evaluation rows.")
]
EvalMax = Annotated[
    int,
    typer.Option(
        metavar="N", min=0, help="Maximum number of evaluation rows; 0 = the service's limit."
    ),
]
GroupBy = Annotated[
    str,
    typer.Option(
        metavar="KEY", help="Keep rows together by a field, or by /PATTERN/ in the input."
    ),
]
StratifyBy = Annotated[
    str, typer.Option(metavar="KEY", help="Stratify exactly by this key: output, or a field.")
]
Margin = Annotated[
    float, typer.Option(metavar="D", help="The largest acceptable loss, 0 to 1: 0.02 is 2 points.")
]


def kfp_place(url: str, settings: list[str] | None) -> Host | None:
    """Return the KFP host that the options name, or None.

    Raises:
        UsageError: A setting is unknown or has a wrong value, or there is no host for it.
    """
    if not url:
        if settings:
            raise UsageError(
                "these are settings of a KFP host", where="--kfp", fix="name it: --kfp-host URL"
            )
        return None
    require("kfp")
    from tunepipe.runs.kfp.host import KfpHost as Host
    from tunepipe.runs.kfp.host import read_settings

    return Host(url, read_settings(pairs(settings, "--kfp")))


def tables(context: typer.Context, file: str) -> Table:
    """Merge the tables of tunepipe.toml and of --tables."""
    return overrides(context.obj or {}, file)


def catalog(context: typer.Context, file: str = "") -> Catalog:
    """Return the dated tables with those of tunepipe.toml and of --tables merged over them."""
    return load_catalog(tables(context, file))


def positive(value: float | None, option: str) -> float:
    """Return an option's value, 0 if it was not given.

    Raises:
        UsageError: It was given, and is not above 0.
    """
    if value is not None and not value > 0:
        raise UsageError(f"{value:g} is out of range", where=option, fix="above 0")
    return float(value or 0)


def pairs(given: Sequence[str] | Mapping[str, Any] | None, option: str) -> dict[str, Any]:
    """Read K=V arguments; a value that is JSON is read as JSON, any other as text.

    Args:
        given: The arguments, or a mapping of values as a program gives it.
        option: The option's name, for messages.

    Raises:
        UsageError: An argument without a name or without "=", or a number that JSON lacks.
    """
    if isinstance(given, Mapping):
        values = dict(given)
    else:
        values = {name: _value(text) for name, text in (pair(one, option) for one in given or ())}
    for name, value in values.items():
        try:
            json.dumps(value, allow_nan=False)
        except (ValueError, TypeError):
            raise UsageError(
                "the value must be a finite number, a text, or other JSON",
                where=f"{option} {name}={value}",
                fix='such as name=0.5 or name="text"',
            ) from None
    return values


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def pair(text: str, option: str) -> tuple[str, str]:
    """Split a K=V argument; `option` names it in messages."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise UsageError("not of the form K=V", where=f"{option} {text}")
    return name.strip(), value
