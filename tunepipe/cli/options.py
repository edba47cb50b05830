"""How a function becomes a command, and the options that several commands share.

A group of options is a frozen dataclass whose fields are options. A command takes it as one
parameter; its command line has an option for each field. The help of an option is in the docstring
of its function or group, or here for those that several commands have:

Options:
    json: Print one JSON object on standard output, nothing else.
    model (NAME): The base model, such as gemini-3.5-flash.
    base_model (NAME): The model to tune; for local a folder or a hub id.
    backend (NAME): large-model, gemini, open-model, custom or local. Default: the model's.
    accelerator (TYPE:N): A machine's accelerators: NVIDIA_L4:1; on KFP nvidia.com/gpu:1.
    region (NAME): Where to tune, such as us-central1.
    project (ID): The Google Cloud project that pays.
    user_project (ID): The project that pays for reading a bucket whose requesters pay.
    run (RUN): A run's name, its id or a prefix of it, or latest.
    kfp_host (URL): A host of open-source Kubeflow Pipelines.
    kfp (K=V): How to reach that host and what steps get there: namespace, token_file,
        cookies_file, ca_cert, experiment, pipeline_root, service_account, node_selector,
        tolerations, secrets, disk_gib, storage_class, volume; repeatable.
    runs (FOLDER): Where runs on this machine are kept.
    registry (PLACE): The champion's folder or gs:// prefix; by default the runs' own.
    reason (TEXT): Why, for the record.
    format (NAME): palm, palm-chat, gemini, messages, prompt-completion or preference.
    epochs (E): Passes over the rows, above 0; may be a fraction.
    train_steps (S): Training steps, in place of --epochs.
    max_cost_usd (USD): Refuse an estimate above this.
    tokenizer (NAME): Correct the estimate by counting the tokens of 200 rows: a folder, a
        tokenizer.json or a hub id; `service` sends the rows to Gemini's own count, which is
        free.
    learning_rate_multiplier (X): Factor on the recommended learning rate.
    seed (N): Random seed.
    tables (FILE): TOML whose values replace those of the dated tables.
    task (NAME): Scored as auto, text, classification, json or calls.
    metric (NAME): The metric that decides. Default: the task's. Your own: module:function,
        regex:PATTERN, schema:FILE, number:TOLERANCE.
    answers (K): Answers to ask for to each held-out row.
    yes: Do not ask first.
    wait: Follow the run to its end.
"""

from __future__ import annotations

import copy
import functools
import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

import typer

from tunepipe.catalog.catalog import Catalog, load_catalog
from tunepipe.catalog.tables import Table
from tunepipe.cli.config import overrides
from tunepipe.cli.help import Command
from tunepipe.cli.output import Output
from tunepipe.decoding import decode
from tunepipe.errors import UsageError
from tunepipe.extras import require
from tunepipe.gcp.clients import parent
from tunepipe.runs.kfp.host import KfpHost, KfpSettings
from tunepipe.stores.cloud_storage import USER_PROJECT

if TYPE_CHECKING:
    from tunepipe.runs.listing import Places

# An entry of "Options:": a name, (METAVAR), and the help, whose further lines are indented deeper.
_HELP = re.compile(r"^    (\w+)(?: \((.+?)\))?: (.+(?:\n {5,}.+)*)", re.MULTILINE)


def as_command(function: Callable[..., int | None]) -> Callable[..., int | None]:
    """Return a function as the command line takes it.

    What it takes by position is an argument, what it takes by name an option, each field of an
    option group an option of its own, and an Output the option --json. The help of each is in the
    docstring of the function or the group, as `name (METAVAR): help` under "Options:".
    """
    parameters = inspect.signature(function, eval_str=True).parameters
    groups = {name: p.annotation for name, p in parameters.items() if is_dataclass(p.annotation)}

    @functools.wraps(function)
    def command(**values: Any) -> int | None:
        for name, group in groups.items():
            own = {each.name: values.pop(each.name) for each in fields(group)}
            values[name] = group(**own)  # type: ignore[operator]
        return function(out=Output(values.pop("json")), **values)

    described: list[inspect.Parameter] = []
    for parameter in parameters.values():
        if parameter.name in groups:
            group: Any = parameter.annotation
            help_texts = _help_texts(*reversed(group.__mro__[:-1]))
            hints = get_type_hints(group, include_extras=True)
            described += [
                _describe(field.replace(annotation=hints[field.name]), help_texts)
                for field in inspect.signature(group).parameters.values()
            ]
        elif parameter.annotation is Output:
            described.append(
                _describe(parameter.replace(name="json", annotation=bool, default=False), {})
            )
        else:
            described.append(_describe(parameter, _help_texts(function)))
    command.__signature__ = inspect.Signature(described)  # type: ignore[attr-defined]
    command.__doc__ = (inspect.getdoc(function) or "").partition("\nOptions:")[0]
    return command


def add_command(
    app: typer.Typer, name: str, function: Callable[..., int | None], group: str = "Commands"
) -> None:
    """Make a function a command, in a group of the help."""
    app.command(name, cls=Command, rich_help_panel=group)(as_command(function))


def _help_texts(*documented: Any) -> dict[str, tuple[str, str]]:
    """Read the metavar and the help of each parameter from docstrings."""
    sections = [(inspect.getdoc(each) or "").partition("\nOptions:\n")[2] for each in documented]
    entries = _HELP.findall("\n".join(sections))
    return {name: (metavar, " ".join(text.split())) for name, metavar, text in entries}


def _describe(parameter: inspect.Parameter, help_texts: Mapping[str, Any]) -> inspect.Parameter:
    """Add the help to a parameter's annotation: its own, or that of a shared option."""
    annotation, name = parameter.annotation, parameter.name
    help_text = help_texts.get(name) or _shared().get(name)
    if help_text:
        kind, *infos = get_args(annotation) if get_origin(annotation) is Annotated else [annotation]
        flags = [f"--{name.replace('_', '-')}"] if kind is bool else []
        if parameter.kind is parameter.KEYWORD_ONLY:
            info = copy.copy(infos[0]) if infos else typer.Option(*flags)
        else:
            info = typer.Argument()
        metavar, info.help = help_text
        info.metavar = metavar or None
        annotation = Annotated[kind, info]
    return parameter.replace(annotation=annotation, kind=parameter.KEYWORD_ONLY)


@functools.cache
def _shared() -> dict[str, tuple[str, str]]:
    """Read the help of the options that several commands have, from this module's docstring."""
    return _help_texts(sys.modules[__name__])


# Bounds of an option's value.
Whole = Annotated[int, typer.Option(min=0)]
Count = Annotated[int, typer.Option(min=1)]
Amount = Annotated[float, typer.Option(min=0)]
TrainSteps = Annotated[int | None, typer.Option(min=1)]

# Options with other names than their parameter's.
BaseModel = Annotated[str, typer.Option("--base-model", "--model")]
Yes = Annotated[bool, typer.Option("--yes", "-y")]


def _pay(context: typer.Context, project: str) -> str:
    """Have the requests of this command, and of its steps, name the project that pays."""
    if project:
        before = os.environ.get(USER_PROJECT)
        os.environ[USER_PROJECT] = project

        def restore() -> None:
            del os.environ[USER_PROJECT]
            if before is not None:
                os.environ[USER_PROJECT] = before

        context.call_on_close(restore)
    return project


UserProject = Annotated[str, typer.Option(callback=_pay)]


@dataclass(frozen=True, kw_only=True)
class HostOptions:
    """A host of open-source Kubeflow Pipelines, if one is named."""

    kfp_host: str = ""
    kfp: list[str] | None = None

    def host(self) -> KfpHost | None:
        """Return the host, or None."""
        if not self.kfp_host:
            if self.kfp:
                fix = "name it: --kfp-host URL"
                raise UsageError("these are settings of a KFP host", where="--kfp", fix=fix)
            return None
        require("kfp")

        return KfpHost(self.kfp_host, decode(pairs(self.kfp, "--kfp"), KfpSettings, "--kfp"))


@dataclass(frozen=True, kw_only=True)
class CloudPlace(HostOptions):
    """A place that runs and schedules are in: a project and a region, or a KFP host."""

    project: str = ""
    region: str = ""

    def schedules(self) -> tuple[Any, KfpHost | str]:
        """Return the module for the place's schedules, and the place as its functions take it."""
        if host := self.host():
            from tunepipe.runs.kfp import schedules

            return schedules, host
        from tunepipe.runs import vertex_schedules

        require_values(project=self.project, region=self.region)
        return vertex_schedules, parent(self.project, self.region)


@dataclass(frozen=True, kw_only=True)
class RunPlaces(CloudPlace):
    """Where a command looks for runs: in the cloud, on a KFP host and on this machine."""

    runs: Path = Path("runs")

    def places(self) -> Places:
        """Return the places to look through."""
        from tunepipe.runs.listing import Places

        return Places(self.runs, self.project, self.region, self.host())


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """Which rows are held out.

    Options:
        eval_fraction (F): The share of rows to hold out, above 0 and below 1.
        eval_min (N): Minimum number of evaluation rows.
        eval_max (N): Maximum number of evaluation rows; 0 = the service's limit.
        group_by (KEY): Keep rows together by a field, or by /PATTERN/ in the input.
        stratify_by (KEY): Stratify exactly by this key: output, or a field.
    """

    eval_fraction: float = 0.1
    eval_min: Whole = 10
    eval_max: Whole = 0
    group_by: str = ""
    stratify_by: str = ""


@dataclass(frozen=True, kw_only=True)
class ScoringOptions:
    """How answers are scored and compared.

    Options:
        normalize (HOW): strict: answers as they are; content: without fences, quotes, case.
        missing (HOW): A missing answer counts as wrong, or is excluded.
        slice_by (FIELD): Compare each slice too; a loss in one stops a promotion. Repeatable;
            class, language, or a field of the rows.
        margin (D): The largest acceptable loss, 0 to 1: 0.02 is 2 points.
    """

    task: str = "auto"
    metric: str = ""
    normalize: str = "strict"
    missing: str = "wrong"
    slice_by: list[str] | None = None
    margin: float = 0.0


_REQUIRED = {
    "project": "the project that pays",
    "region": "the region, such as us-central1",
    "bucket": "the bucket of the runs, which says who is champion",
}


def require_values(**values: str) -> None:
    """Refuse a call without options that it needs, and name the first that has no value."""
    for name, value in values.items():
        if not value:
            raise UsageError(
                "is required",
                where=f"--{name}",
                fix=f"give {_REQUIRED[name]}, here or in tunepipe.toml",
            )


def tables(context: typer.Context, file: str) -> Table:
    """Merge the tables of tunepipe.toml and of --tables."""
    return overrides(context.obj or {}, file)


def catalog(context: typer.Context, file: str = "") -> Catalog:
    """Return the dated tables with those of tunepipe.toml and of --tables merged over them."""
    return load_catalog(tables(context, file))


def positive(value: float | None, name: str) -> float:
    """Return an option's value, 0 if it was not given; refuse one that is not above 0."""
    if value is not None and not value > 0:
        raise UsageError(f"{value:g} is out of range", where=name, fix="above 0")
    return float(value or 0)


def pairs(arguments: Sequence[str] | Mapping[str, Any] | None, option: str) -> dict[str, Any]:
    """Read K=V arguments, or a mapping as a program gives it; a value that is JSON is read as JSON.

    Raises:
        UsageError: An argument without a name or without "=", or a number that JSON lacks.
    """
    if isinstance(arguments, Mapping):
        values = dict(arguments)
    else:
        values = dict(pair(argument, option) for argument in arguments or ())
        for name, text in values.items():
            with suppress(ValueError):
                values[name] = json.loads(text)
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


def pair(text: str, option: str) -> tuple[str, str]:
    """Split a K=V argument; `option` names it in messages."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise UsageError("not of the form K=V", where=f"{option} {text}", fix="write NAME=VALUE")
    return name.strip(), value
