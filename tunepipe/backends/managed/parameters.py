"""The options of a managed tuning job of Gemini or of an open model, checked before it is paid.

What differs from model to model is in models.toml, and what a service takes as rows in
services.toml.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from tunepipe.catalog.catalog import Catalog, load_catalog
from tunepipe.catalog.models import check_region, is_retired, tuned_in
from tunepipe.catalog.schema import Model
from tunepipe.catalog.tables import load
from tunepipe.decoding import decode
from tunepipe.errors import LimitError, UsageError
from tunepipe.gcp.clients import kind_of

SUPERVISED, PREFERENCE = "supervised", "preference"
_NOT_OFFERED = ("reinforcement", "distillation")
_PLACE = "projects/[^/]+/locations/[^/]+"
_ENDPOINT = "projects/P/locations/R/endpoints/E"
_KEY = "encryption_spec_key_name"
_NAME_ADVICE = "give base_model as projects/P/locations/R/models/M@VERSION, which the report shows"

_Folder = Annotated[str, Meta(pattern="^(gs://.+)?$", description="a gs:// URI")]
_AboveZero = Annotated[float, Meta(gt=0, le=1e9)]
_Fraction = Annotated[float, Meta(ge=0, le=1)]


class ManagedOptions(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of a tuning job; those of `_ONLY` belong to one backend.

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
        method: "supervised" or "preference"; "" follows from the rows.
        beta: How closely preference tuning stays to the model; None leaves it to the service.
        export_last_checkpoint_only: Whether the checkpoints before the last get no endpoint, which
            would count against the quota; false exports one an epoch.
        select_checkpoint: Whether each checkpoint is exported and asked rows that are set apart
            for the choice; the best is evaluated. See `steps.tuning`.
        checkpoint_id: The checkpoint of a tuned model to go on from; "" for its last.
        base_location: Where the base model is asked: global, us, eu or a region.
        tuning_mode: "full" or "peft"; "" takes the model's first.
        learning_rate: The rate itself; None leaves it to the service.
        batch_size: Packed sequences a step; 0 leaves it to the service.
        output_uri: Where the weights go.
        custom_base_model: A folder of weights to start from.
        endpoint: The endpoint that serves the tuned model.
    """

    location: str = ""
    fallback_locations: tuple[str, ...] = ()
    adapter_size: Annotated[int, Meta(ge=0)] = 0
    encryption_spec_key_name: str = ""
    service_account: str = ""
    description: str = ""
    dropped_fraction_max: _Fraction | None = None
    base_endpoint: Annotated[
        str,
        Meta(
            pattern=f"^({_PLACE}/(endpoints|publishers/[^/]+/models)/[^/]+)?$",
            description=_ENDPOINT,
        ),
    ] = ""

    # Gemini's.
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

    # The open models'.
    tuning_mode: Literal["full", "peft", ""] = ""
    learning_rate: _AboveZero | None = None
    batch_size: Annotated[int, Meta(ge=0, le=4096)] = 0
    output_uri: _Folder = ""
    custom_base_model: _Folder = ""
    endpoint: Annotated[
        str, Meta(pattern=f"^({_PLACE}/endpoints/[^/]+)?$", description=_ENDPOINT)
    ] = ""


_ONLY = {
    "gemini": {
        *("method", "beta", "export_last_checkpoint_only", "select_checkpoint"),
        *("checkpoint_id", "base_location"),
    },
    "open-model": {
        *("tuning_mode", "learning_rate", "batch_size", "output_uri", "custom_base_model"),
        "endpoint",
    },
}


class TuningJob(Struct, frozen=True, kw_only=True):
    """The settings of a tuning job, except rows and names.

    Args:
        base_model: A model's name, or a tuned model's resource name to go on from.
        location: Where the job runs: a region, or global.
        method: "supervised" or "preference".
        epochs: Passes over the rows, >= 1.
        tuning_mode: "full" or "peft" for open models, else "".
        learning_rate_multiplier: Times the recommended rate; 0 leaves it to the service.
        learning_rate: The rate itself, which open models are given; 0 leaves it to the service.
    """

    base_model: str
    location: str
    method: str
    epochs: int
    tuning_mode: str
    learning_rate_multiplier: float
    learning_rate: float
    options: ManagedOptions

    def as_config(self) -> dict[str, Any]:
        """Write what google-genai's CreateTuningJobConfig takes; what is not set is left out."""
        table, options = load("backends/managed/parameters.toml"), self.options
        key = options.encryption_spec_key_name
        last_only = options.export_last_checkpoint_only and not options.select_checkpoint
        config = {
            "method": "PREFERENCE_TUNING" if self.method == PREFERENCE else None,
            "epoch_count": self.epochs,
            "learning_rate_multiplier": self.learning_rate_multiplier,
            "learning_rate": self.learning_rate,
            "adapter_size": table["adapter_sizes"].get(str(options.adapter_size)),
            "tuning_mode": table["tuning_modes"].get(self.tuning_mode),
            "batch_size": options.batch_size,
            "beta": options.beta,
            "export_last_checkpoint_only": last_only and not self.tuning_mode,
            "pre_tuned_model_checkpoint_id": options.checkpoint_id,
            "custom_base_model": options.custom_base_model,
            "encryption_spec": {"kms_key_name": key} if key else None,
            "description": options.description,
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
        region: Where the job runs, unless the option `location` says otherwise.
        epochs: Passes over the rows; no option, since the plan has counted what they cost.
        learning_rate_multiplier: Times the recommended rate, > 0.
        row_format: The format of the rows; preference rows are tuned on by preference unless the
            option `method` says otherwise.

    Raises:
        UsageError: An unknown option, a wrong type or range, or options that exclude each other.
        LimitError: The model does not take a region, an adapter size, a mode or a key.
    """
    chosen = decode_options(options, model.backend)
    by_format = PREFERENCE if row_format == "preference" else SUPERVISED
    mode: str = chosen.tuning_mode or next(iter(model.tuning_modes), "")
    if mode and mode not in model.tuning_modes:
        raise LimitError(
            f"{model.name} is not tuned in the mode {mode}",
            where="tuning_mode",
            fix=f"one of {', '.join(model.tuning_modes)}",
        )
    rate = _learning_rate(model, mode, chosen.learning_rate or 0.0, learning_rate_multiplier)
    job = TuningJob(
        base_model=model.name,
        location=tuned_in(model, region, {"location": chosen.location}),
        method=chosen.method or by_format,
        epochs=epochs,
        tuning_mode=mode,
        learning_rate_multiplier=0.0 if model.backend == "open-model" else learning_rate_multiplier,
        learning_rate=rate,
        options=chosen,
    )
    for location in (job.location, *chosen.fallback_locations):
        check_region(model, location)
    _check(model, job, catalog or load_catalog())
    return job


def decode_options(options: Mapping[str, Any], backend: str) -> ManagedOptions:
    """Check options of "gemini" or "open-model"; a LimitError for a method that is not offered."""
    if options.get("method") in _NOT_OFFERED:
        raise LimitError(
            f"{options['method']} is a preview that Google does not support in production",
            where="method",
            fix="supervised, or preference where the model takes it",
        )
    for other, names in _ONLY.items():
        if other != backend and (foreign := names & options.keys()):
            raise UsageError(
                f"the backend {backend} does not take this option",
                where=min(foreign),
                fix="leave it out; another backend takes it",
            )
    return decode(options, ManagedOptions)


def whole_epochs(train_steps: int, batch_size: int, rows: int) -> int:
    """Turn a plan's steps of `batch_size` rows back into the whole epochs they were made of."""
    per_epoch = -(-rows // max(batch_size, 1))
    return max(1, round(train_steps / per_epoch))


def thinking(model: str) -> list[dict[str, Any]]:
    """List how little a model may think before it answers: thinking_budget or thinking_level.

    The model's own least is first, then what the other families take for little, newest first: what
    an endpoint serves, a champion's or that of a model tuned further, is not in its name.
    """
    rows = load("backends/managed/parameters.toml")["thinking"]
    own = [row for row in rows if any(fnmatchcase(model, each) for each in row["models"])][:1]
    others = [row for row in reversed(rows) if row not in own]
    return [
        {f"thinking_{name}": row[name] for name in ("budget", "level") if name in row}
        for row in own + others
    ]


def preference_models(catalog: Catalog) -> str:
    """Describe the models for preference tuning, and which of them are open today."""
    models = [
        model
        for model in catalog.model_table.models.values()
        if model.backend == "gemini" and "preference" in model.formats
    ]
    described = [
        f"{model.name} (closed to new tuning since {model.tunable_until})"
        if is_retired(model, catalog.as_of)
        else model.name
        for model in models
    ]
    is_open = any(not is_retired(model, catalog.as_of) for model in models)
    today = "" if is_open else f"; as of {catalog.as_of} no model is open to new projects"
    return f"models tuned by preference: {', '.join(described) or 'none'}{today}"


def _learning_rate(model: Model, mode: str, rate: float, multiplier: float) -> float:
    """Return the rate that an open model is given; 0 leaves it to the service."""
    if rate and multiplier != 1.0:
        raise UsageError(
            "learning_rate is the rate itself, and leaves learning_rate_multiplier nothing to do",
            where="learning_rate, learning_rate_multiplier",
            fix="give one of them",
        )
    if rate or multiplier == 1.0 or model.backend != "open-model":
        return rate
    if mode not in model.learning_rate:
        raise UsageError(
            f"no recommended learning rate of {model.name} is known, so nothing can be multiplied",
            where="learning_rate_multiplier",
            fix="leave it at 1, or give the option learning_rate",
        )
    return model.learning_rate[mode] * multiplier


def _check(model: Model, job: TuningJob, catalog: Catalog) -> None:
    """Refuse what the model's service would refuse, and what data may not do."""
    options = job.options
    is_tuned_model = model.name.startswith("projects/")
    # An endpoint's name is what a run and the registry show.
    if is_tuned_model and kind_of(model.name) != "models":
        where = f"base_model {model.name}"
        raise UsageError("not the name of a tuned model", where=where, fix=_NAME_ADVICE)
    if options.checkpoint_id and not is_tuned_model:
        found = "only a tuned model has checkpoints"
        raise UsageError(found, where="checkpoint_id", fix=_NAME_ADVICE)
    if options.adapter_size:
        known = map(int, load("backends/managed/parameters.toml")["adapter_sizes"])
        sizes = model.adapter_sizes or tuple(known)
        if options.adapter_size not in sizes:
            raise LimitError(
                f"{model.name} takes no adapter of size {options.adapter_size}",
                where="adapter_size",
                fix=f"one of {', '.join(map(str, sizes))}",
            )
        if job.tuning_mode == "full":
            fix = "leave it out, or use peft"
            raise UsageError("full tuning has no adapter", where="adapter_size", fix=fix)
    if job.method == PREFERENCE:
        _check_preference(model, catalog)
    elif options.beta is not None:
        raise UsageError("belongs to preference tuning", where="beta", fix="leave it out")
    if options.encryption_spec_key_name:
        _check_key(model, job)
    part = job.location.split("-")[0]
    others = options.fallback_locations
    away = [each for each in others if part not in ("global", each.split("-")[0])]
    if away:
        raise LimitError(
            f"{', '.join(away)} is in another part of the world than {job.location}",
            where="fallback_locations",
            fix=f"name locations that begin with {part}-",
        )


def _check_preference(model: Model, catalog: Catalog) -> None:
    if "preference" not in model.formats:
        raise LimitError(
            f"{model.name} is not tuned by preference",
            where="method",
            fix=f"{preference_models(catalog)}; or method=supervised",
        )
    if model.preference_base == "tuned":
        raise LimitError(
            f"preference tuning begins from a model that was tuned by supervision, and "
            f"{model.name} was not",
            where="base_model",
            fix="tune first with method=supervised, then with base_model="
            "projects/P/locations/R/models/M@VERSION of that job",
        )


def _check_key(model: Model, job: TuningJob) -> None:
    location, key = job.location, job.options.encryption_spec_key_name
    if model.cmek is False:
        found = f"{model.name} is not tuned with a customer-managed key"
        fix = "leave the key out, or take a model that is"
        raise LimitError(found, where=_KEY, fix=fix)
    if location == "global":
        found = "the location global takes no customer-managed key"
        raise LimitError(found, where=_KEY, fix="tune in a region, or leave the key out")
    if f"/locations/{location}/" not in key:
        fix = f"use a key in {location}"
        raise LimitError("the key is in another region", where=_KEY, fix=fix)
    if job.options.fallback_locations:
        raise LimitError(
            "the customer-managed key is of one location",
            where="fallback_locations",
            fix="leave fallback_locations or the key out",
        )
