"""The options of a managed tuning job of Gemini or of an open model, checked before it is paid.

What differs from model to model is in models.toml, and what a service takes as rows in
services.toml.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from tunepipe.catalog.catalog import Catalog, load_catalog
from tunepipe.catalog.models import check_region, tuned_in
from tunepipe.catalog.schema import Model, Service
from tunepipe.catalog.tables import load
from tunepipe.decoding import decode
from tunepipe.errors import DataError, LimitError, UsageError

SUPERVISED, PREFERENCE = "supervised", "preference"
_NOT_OFFERED = ("reinforcement", "distillation")
_TUNED = re.compile(r"projects/[^/]+/locations/[^/]+/models/[^/]+\Z")

_Endpoint = Annotated[
    str,
    Meta(
        pattern="^(projects/[^/]+/locations/[^/]+/endpoints/[^/]+)?$",
        description="projects/P/locations/R/endpoints/E",
    ),
]
_Folder = Annotated[str, Meta(pattern="^(gs://.+)?$", description="a gs:// URI")]
_AboveZero = Annotated[float, Meta(gt=0, le=1e9)]


class JobOptions(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of a tuning job of either service.

    Args:
        location: Where the job runs, if not in the run's region.
        fallback_locations: Where the job is tried in turn if a location has no capacity; all in
            the same part of the world as `location`.
        adapter_size: The adapter's rank; 0 leaves it to the service.
        encryption_spec_key_name: The customer-managed key.
        service_account: The account that the job acts as.
        description: A human-readable text.
        dropped_fraction_max: The share of examples that may be dropped, 0..1; None takes the
            table's.
        base_endpoint: The endpoint or the model that answers for the base model.
    """

    location: str = ""
    fallback_locations: tuple[str, ...] = ()
    adapter_size: Annotated[int, Meta(ge=0)] = 0
    encryption_spec_key_name: str = ""
    service_account: str = ""
    description: str = ""
    dropped_fraction_max: Annotated[float, Meta(ge=0, le=1)] | None = None
    base_endpoint: Annotated[
        str,
        Meta(
            pattern="^(projects/[^/]+/locations/[^/]+/(endpoints|publishers/[^/]+/models)/[^/]+)?$",
            description="projects/P/locations/R/endpoints/E",
        ),
    ] = ""


class GeminiOptions(JobOptions, frozen=True, kw_only=True):
    """Further options of a Gemini job.

    Args:
        method: "supervised" or "preference"; "" follows from the rows.
        beta: How closely preference tuning stays to the model; None leaves it to the service.
        export_last_checkpoint_only: Whether the checkpoints before the last get no endpoint, which
            would count against the quota; false exports one an epoch.
        select_checkpoint: Whether each checkpoint is exported and asked rows that are set apart
            for the choice; the best is evaluated. See `steps.tuning`.
        checkpoint_id: The checkpoint of a tuned model to go on from; "" for its last.
        base_location: Where the base model is asked: global, us, eu or a region.
    """

    method: Literal["supervised", "preference", ""] = ""
    beta: _AboveZero | None = None
    export_last_checkpoint_only: bool = True
    select_checkpoint: bool = False
    checkpoint_id: str = ""
    base_location: Annotated[
        str,
        Meta(
            pattern="^(global|us|eu|[a-z]+-[a-z]+[0-9]+)?$",
            description="global, us, eu or a region",
        ),
    ] = ""


class OpenModelOptions(JobOptions, frozen=True, kw_only=True):
    """Further options of an open model's job.

    Args:
        tuning_mode: "full" or "peft"; "" takes the model's first.
        learning_rate: The rate itself; None leaves it to the service.
        batch_size: Packed sequences a step; 0 leaves it to the service.
        output_uri: Where the weights go.
        custom_base_model: A folder of weights to start from.
        endpoint: The endpoint that serves the tuned model.
    """

    tuning_mode: Literal["full", "peft", ""] = ""
    learning_rate: _AboveZero | None = None
    batch_size: Annotated[int, Meta(ge=0, le=4096)] = 0
    output_uri: _Folder = ""
    custom_base_model: _Folder = ""
    endpoint: _Endpoint = ""


_OPTIONS: dict[str, type[GeminiOptions | OpenModelOptions]] = {
    "gemini": GeminiOptions,
    "open-model": OpenModelOptions,
}


@dataclass(frozen=True)
class TuningJob:
    """The settings of a tuning job, except rows and names.

    Args:
        base_model: A model's name, or a tuned model's resource name to go on from.
        location: Where the job runs: a region, or global.
        method: "supervised" or "preference".
        epochs: Passes over the rows, >= 1.
        learning_rate_multiplier: Times the recommended rate; 0 leaves it to the service.
        learning_rate: The rate itself, which open models are given; 0 leaves it to the service.
        adapter_size: The adapter's rank; 0 leaves it to the service.
        tuning_mode: "full" or "peft" for open models, else "".
        batch_size: Packed sequences a step for open models; 0 leaves it to the service.
        beta: How closely preference tuning stays to the model; 0 leaves it to the service.
        export_last_checkpoint_only: Whether the checkpoints before the last get no endpoint.
        checkpoint_id: The checkpoint of a tuned model to go on from; "" for its last.
        custom_base_model: A folder of weights on gs:// to start from, or "".
        encryption_key: The customer-managed key, or "".
        service_account: The account that the job acts as, or "".
        description: A human-readable text, or "".
        fallback_locations: Where the job is tried in turn if `location` has no capacity.
    """

    base_model: str
    location: str
    method: str
    epochs: int
    learning_rate_multiplier: float = 0.0
    learning_rate: float = 0.0
    adapter_size: int = 0
    tuning_mode: str = ""
    batch_size: int = 0
    beta: float = 0.0
    export_last_checkpoint_only: bool = False
    checkpoint_id: str = ""
    custom_base_model: str = ""
    encryption_key: str = ""
    service_account: str = ""
    description: str = ""
    fallback_locations: tuple[str, ...] = ()

    def as_config(self) -> dict[str, Any]:
        """Write what google-genai's CreateTuningJobConfig takes; what is not given is left out."""
        table = load("backends/managed/parameters.toml")
        key = {"kms_key_name": self.encryption_key}
        config = {
            "method": "PREFERENCE_TUNING" if self.method == PREFERENCE else None,
            "epoch_count": self.epochs,
            "learning_rate_multiplier": self.learning_rate_multiplier,
            "learning_rate": self.learning_rate,
            "adapter_size": table["adapter_sizes"].get(str(self.adapter_size)),
            "tuning_mode": table["tuning_modes"].get(self.tuning_mode),
            "batch_size": self.batch_size,
            "beta": self.beta,
            "export_last_checkpoint_only": self.export_last_checkpoint_only,
            "pre_tuned_model_checkpoint_id": self.checkpoint_id,
            "custom_base_model": self.custom_base_model,
            "encryption_spec": key if self.encryption_key else None,
            "description": self.description,
        }
        return {name: value for name, value in config.items() if value}


def tuning_job(
    model: Model,
    options: Mapping[str, Any],
    *,
    region: str,
    epochs: int,
    learning_rate_multiplier: float = 1.0,
    row_format: str = "",
    catalog: Catalog | None = None,
) -> TuningJob:
    """Check what a user wants of a tuning job against what its model takes.

    Args:
        model: The base model's row of the table.
        options: The options by name; see JobOptions.
        region: Where the job runs, unless the option `location` says otherwise.
        epochs: Passes over the rows; no option, since the plan has counted what they cost.
        learning_rate_multiplier: Times the recommended rate, > 0.
        row_format: The format of the rows; preference rows are tuned on by preference unless the
            option `method` says otherwise.
        catalog: The dated tables; None for the package's own.

    Raises:
        UsageError: An unknown option, a wrong type or range, or options that exclude each other.
        LimitError: The model does not take a region, an adapter size, a mode or a key.
    """
    chosen = decode_options(options, model.backend)
    gemini = (
        chosen
        if isinstance(chosen, GeminiOptions)
        else GeminiOptions(export_last_checkpoint_only=False)
    )
    open_model = chosen if isinstance(chosen, OpenModelOptions) else OpenModelOptions()
    mode = _mode(model, open_model.tuning_mode)
    job = TuningJob(
        base_model=model.name,
        location=tuned_in(model, region, {"location": chosen.location}),
        method=gemini.method or _method(row_format),
        epochs=epochs,
        adapter_size=chosen.adapter_size,
        tuning_mode=mode,
        batch_size=open_model.batch_size,
        beta=gemini.beta or 0.0,
        export_last_checkpoint_only=(
            gemini.export_last_checkpoint_only and not gemini.select_checkpoint
        ),
        checkpoint_id=gemini.checkpoint_id,
        custom_base_model=open_model.custom_base_model,
        encryption_key=chosen.encryption_spec_key_name,
        service_account=chosen.service_account,
        description=chosen.description,
        fallback_locations=chosen.fallback_locations,
        **_rate(model, mode, open_model.learning_rate or 0.0, learning_rate_multiplier),
    )
    _check_base(job.base_model)
    check_region(model, job.location)
    _check_adapter(model, job)
    _check_method(model, job, catalog or load_catalog())
    _check_key(model, job)
    _check_fallbacks(model, job)
    return job


def decode_options(options: Mapping[str, Any], backend: str) -> GeminiOptions | OpenModelOptions:
    """Check options one by one.

    Args:
        options: By the names of the fields of JobOptions and of the backend's own.
        backend: "gemini" or "open-model".

    Raises:
        UsageError: An unknown name, a wrong type or range.
    """
    if options.get("method") in _NOT_OFFERED:
        raise LimitError(
            f"{options['method']} is a preview that Google does not support in production",
            where="method",
            fix="supervised, or preference where the model takes it",
        )
    kind = _OPTIONS[backend]
    others = {name for each in _OPTIONS.values() for name in each.__struct_fields__}
    for name in options:
        names = kind.__struct_fields__
        if name not in names and name in others:
            raise UsageError(
                f"the backend {backend} does not take this option",
                where=name,
                fix="leave it out; another backend takes it",
            )
    return decode(options, kind)


def whole_epochs(train_steps: int, batch_size: int, rows: int) -> int:
    """Turn a plan's steps back into the whole epochs that they were made of.

    Args:
        train_steps: Optimizer steps, >= 1.
        batch_size: Examples a step, as the plan took it.
        rows: Training rows, >= 1.
    """
    per_epoch = -(-rows // max(batch_size, 1))
    return max(1, round(train_steps / per_epoch))


def check_sizes(
    service: Service,
    *,
    train_rows: int,
    train_bytes: int,
    eval_rows: int,
    eval_bytes: int,
) -> None:
    """Check the files that are about to be sent against the service's limits.

    Args:
        service: The limits of the service that tunes.
        train_rows: Rows to learn from.
        train_bytes: The bytes of their file.
        eval_rows: Rows held out.
        eval_bytes: The bytes of their file.

    Raises:
        DataError: A file or a side is too large.
    """
    held_out = service.evaluation
    most_bytes = int(held_out.fraction_max * train_bytes)
    _check_at_most("training rows", train_rows, service.rows_max)
    _check_at_most("bytes of training rows", train_bytes, service.file_bytes)
    _check_at_most("held-out rows", eval_rows, held_out.rows_max, "--eval-max")
    if not held_out.fraction_from_rows:
        _check_at_most("bytes of held-out rows", eval_bytes, most_bytes, "--eval-fraction")
    elif eval_rows >= held_out.fraction_from_rows:
        most = int(held_out.fraction_max * train_rows)
        _check_at_most("held-out rows", eval_rows, most, "--eval-fraction")


def thinking(model: str) -> list[dict[str, Any]]:
    """Say how little a model may think before it answers: thinking_budget or thinking_level.

    Args:
        model: The base model's name. What an endpoint serves, a champion's or that of a tuned
            model which was tuned further, is not in its name.

    Returns:
        The model's own least first, then what the other families take for little, newest first.
    """
    rows = load("backends/managed/parameters.toml")["thinking"]
    own = next(
        (row for row in rows if any(fnmatchcase(model, each) for each in row["models"])), None
    )
    others = [row for row in reversed(rows) if row is not own]
    return [
        {f"thinking_{name}": row[name] for name in ("budget", "level") if name in row}
        for row in ([own] if own else []) + others
    ]


def preference_models(catalog: Catalog) -> str:
    """Describe the models for preference tuning, and the day from which new projects cannot."""
    models = [
        f"{model.name} (new projects until {model.new_projects_until})"
        if model.new_projects_until
        else model.name
        for model in catalog.model_table.models.values()
        if model.backend == "gemini" and "preference" in model.formats
    ]
    return f"models tuned by preference: {', '.join(models) or 'none'}"


def _method(row_format: str) -> str:
    return PREFERENCE if row_format == "preference" else SUPERVISED


def _mode(model: Model, given: str) -> str:
    modes = model.tuning_modes
    if given and given not in modes:
        raise LimitError(
            f"{model.name} is not tuned in the mode {given}",
            where="tuning_mode",
            fix=f"one of {', '.join(modes)}" if modes else "leave it out",
        )
    return given or (modes[0] if modes else "")


def _rate(model: Model, mode: str, rate: float, multiplier: float) -> dict[str, float]:
    if model.backend != "open-model":
        return {"learning_rate_multiplier": multiplier}
    if rate and multiplier != 1.0:
        raise UsageError(
            "learning_rate is the rate itself, and leaves learning_rate_multiplier nothing to do",
            where="learning_rate, learning_rate_multiplier",
            fix="give one of them",
        )
    if rate or multiplier == 1.0:
        return {"learning_rate": rate}
    advised = model.learning_rate.get(mode)
    if advised is None:
        raise UsageError(
            f"no recommended learning rate of {model.name} is known, so nothing can be multiplied",
            where="learning_rate_multiplier",
            fix="leave it at 1, or give the option learning_rate",
        )
    return {"learning_rate": advised * multiplier}


def _check_base(base_model: str) -> None:
    """Refuse an endpoint's name, which is what a run and the registry tell, or half a name."""
    if base_model.startswith("projects/") and not _TUNED.match(base_model):
        raise UsageError(
            "this is no tuned model's name",
            where=f"base_model {base_model}",
            fix="projects/P/locations/R/models/M@VERSION, as the tuning job and the report tell it",
        )


def _check_adapter(model: Model, job: TuningJob) -> None:
    size, sizes = job.adapter_size, model.adapter_sizes
    known = [int(each) for each in load("backends/managed/parameters.toml")["adapter_sizes"]]
    if size and size not in (sizes or known):
        raise LimitError(
            f"{model.name} takes no adapter of size {size}",
            where="adapter_size",
            fix=f"one of {', '.join(map(str, sizes or known))}",
        )
    if size and job.tuning_mode == "full":
        raise UsageError(
            "full tuning has no adapter", where="adapter_size", fix="leave it out, or tune by peft"
        )


def _check_method(model: Model, job: TuningJob, catalog: Catalog) -> None:
    if job.method == PREFERENCE and "preference" not in model.formats:
        raise LimitError(
            f"{model.name} is not tuned by preference",
            where="method",
            fix=f"{preference_models(catalog)}; or method=supervised",
        )
    if job.beta and job.method != PREFERENCE:
        raise UsageError("belongs to preference tuning", where="beta", fix="leave it out")
    if job.checkpoint_id and not job.base_model.startswith("projects/"):
        raise UsageError(
            "only a tuned model has checkpoints",
            where="checkpoint_id",
            fix="give base_model as projects/P/locations/R/models/M@VERSION",
        )


def _check_key(model: Model, job: TuningJob) -> None:
    if not job.encryption_key:
        return
    if model.cmek is False:
        raise LimitError(
            f"{model.name} is not tuned with a customer-managed key",
            where="encryption_spec_key_name",
            fix="leave the key out, or take a model that is",
        )
    if job.location == "global":
        raise LimitError(
            "the location global takes no customer-managed key",
            where="encryption_spec_key_name",
            fix="tune in a region, or leave the key out",
        )
    if f"/locations/{job.location}/" not in job.encryption_key:
        raise LimitError(
            "the key is in another region",
            where="encryption_spec_key_name",
            fix=f"use a key in {job.location}",
        )


def _check_fallbacks(model: Model, job: TuningJob) -> None:
    """Refuse a location that data may not go to: one of another part of the world."""
    for location in job.fallback_locations:
        check_region(model, location)
        if job.location != "global" and location.split("-")[0] != job.location.split("-")[0]:
            raise LimitError(
                f"{location} is in another part of the world than {job.location}",
                where="fallback_locations",
                fix=f"name locations that begin with {job.location.split('-')[0]}-",
            )
    if job.fallback_locations and job.encryption_key:
        raise LimitError(
            "the customer-managed key is of one location",
            where="fallback_locations",
            fix="leave fallback_locations or the key out",
        )


def _check_at_most(what: str, found: int, most: int, flag: str = "") -> None:
    if most and found > most:
        raise DataError(
            f"{found:,} {what}; the service takes at most {most:,}",
            where=what,
            fix=f"make it less: {flag}" if flag else "leave rows out",
        )
