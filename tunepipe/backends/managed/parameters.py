"""A managed tuning job of Gemini or of an open model: its parameters, checked before it is paid.

The rules stand in tuning_job.toml, what differs from model to model in models.toml, and what a
service takes as rows in services.toml.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from tunepipe.arguments import hint, nearest
from tunepipe.catalog.models import check_region, tuned_in
from tunepipe.catalog.schema import Model, Service
from tunepipe.catalog.tables import Table, load
from tunepipe.errors import DataError, LimitError, UsageError

SUPERVISED, PREFERENCE = "supervised", "preference"
_TUNED = re.compile(r"projects/[^/]+/locations/[^/]+/models/[^/]+\Z")


@dataclass(frozen=True)
class TuningJob:
    """What a tuning job is asked to do; rows and names apart.

    Args:
        base_model: A model's name, or a tuned model's resource name to go on from.
        location: Where the job runs: a region, or global.
        method: "supervised" or "preference".
        epochs: Passes over the rows, >= 1.
        learning_rate_multiplier: Times the recommended rate; 0 leaves it to the service.
        learning_rate: The rate itself, which open models are given; 0 leaves it to the service.
        adapter_size: The adapter's rank; 0 leaves it to the service.
        tuning_mode: "full" or "peft" for open models, else "".
        beta: How closely preference tuning stays to the model; 0 leaves it to the service.
        export_last_checkpoint_only: Whether the checkpoints before the last get no endpoint.
        checkpoint_id: The checkpoint of a tuned model to go on from; "" for its last.
        custom_base_model: A folder of weights on gs:// to start from, or "".
        encryption_key: The customer-managed key, or "".
        service_account: The account that the job acts as, or "".
        description: A text for people, or "".
    """

    base_model: str
    location: str
    method: str
    epochs: int
    learning_rate_multiplier: float = 0.0
    learning_rate: float = 0.0
    adapter_size: int = 0
    tuning_mode: str = ""
    beta: float = 0.0
    export_last_checkpoint_only: bool = False
    checkpoint_id: str = ""
    custom_base_model: str = ""
    encryption_key: str = ""
    service_account: str = ""
    description: str = ""

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
) -> TuningJob:
    """Check what a user wants of a tuning job against what its model takes.

    Args:
        model: The base model's row of the table.
        options: The options by the names of tuning_job.toml.
        region: Where the job runs, unless the option `location` says otherwise.
        epochs: Passes over the rows; no option, since the plan has counted what they cost.
        learning_rate_multiplier: Times the recommended rate, > 0.
        row_format: The format of the rows; preference rows are tuned on by preference unless the
            option `method` says otherwise.

    Raises:
        UsageError: An unknown option, a wrong type or range, or options that exclude each other.
        LimitError: The model does not take a region, an adapter size, a mode or a key.
    """
    given = checked_options(options, model.backend)
    job = TuningJob(
        base_model=model.name,
        location=tuned_in(model, region, given),
        method=given.get("method") or _method(row_format),
        epochs=epochs,
        adapter_size=given.get("adapter_size", 0),
        tuning_mode=_mode(model, given.get("tuning_mode", "")),
        beta=given.get("beta", 0.0),
        export_last_checkpoint_only=given.get("export_last_checkpoint_only", False),
        checkpoint_id=given.get("checkpoint_id", ""),
        custom_base_model=given.get("custom_base_model", ""),
        encryption_key=given.get("encryption_spec_key_name", ""),
        service_account=given.get("service_account", ""),
        description=given.get("description", ""),
        **_rate(model, given, learning_rate_multiplier),
    )
    _check_base(job.base_model)
    check_region(model, job.location)
    _check_adapter(model, job)
    _check_method(model, job)
    _check_key(model, job)
    return job


def checked_options(options: Mapping[str, Any], backend: str) -> dict[str, Any]:
    """Check options one by one; whole numbers come back as int, also where they came as 8.0.

    Args:
        options: By the names of tuning_job.toml.
        backend: "gemini" or "open-model".

    Raises:
        UsageError: An unknown name, a wrong type or range.
    """
    rules = load("backends/managed/parameters.toml")["options"]
    taken = {name for name, rule in rules.items() if backend in rule.get("backends", (backend,))}
    return {name: _checked(name, value, rules, taken, backend) for name, value in options.items()}


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
    own = next((row for row in rows if fnmatchcase(model, row["models"])), None)
    others = [row for row in reversed(rows) if row is not own]
    return [
        {f"thinking_{name}": row[name] for name in ("budget", "level") if name in row}
        for row in ([own] if own else []) + others
    ]


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


def _rate(model: Model, given: Mapping[str, Any], multiplier: float) -> dict[str, float]:
    if model.backend != "open-model":
        return {"learning_rate_multiplier": multiplier}
    rate = given.get("learning_rate", 0.0)
    if rate and multiplier != 1.0:
        raise UsageError(
            "learning_rate is the rate itself, and leaves learning_rate_multiplier nothing to do",
            where="learning_rate, learning_rate_multiplier",
            fix="give one of them",
        )
    if rate or multiplier == 1.0:
        return {"learning_rate": rate}
    advised = model.learning_rate.get(_mode(model, given.get("tuning_mode", "")))
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


def _check_method(model: Model, job: TuningJob) -> None:
    if job.method == PREFERENCE and "preference" not in model.formats:
        raise LimitError(
            f"{model.name} is not tuned by preference",
            where="method",
            fix="use gemini-2.5-flash or gemini-2.5-flash-lite, or method=supervised",
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
    if f"/locations/{job.location}/" not in job.encryption_key:
        raise LimitError(
            "the key is in another region",
            where="encryption_spec_key_name",
            fix=f"use a key in {job.location}",
        )


def _check_at_most(what: str, found: int, most: int, flag: str = "") -> None:
    if most and found > most:
        raise DataError(
            f"{found:,} {what}; the service takes at most {most:,}",
            where=what,
            fix=f"make it less: {flag}" if flag else "leave rows out",
        )


def _checked(name: str, value: Any, rules: Table, taken: set[str], backend: str) -> Any:
    if name not in taken:
        elsewhere = name in rules and not nearest(name, taken)
        raise UsageError(
            f"the backend {backend} has no such option",
            where=name,
            fix="another backend takes it" if elsewhere else hint(name, taken),
        )
    rule = rules[name]
    typed = _typed(name, value, rule["type"])
    problem = _problem(typed, rule)
    if problem:
        raise UsageError(problem, where=name, fix="change the value, or leave it out")
    return typed


_KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "text": "a text",
    "gs-uri": "a gs:// URI",
}


def _typed(name: str, value: Any, kind: str) -> Any:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == "integer" and number and float(value).is_integer():
        return int(value)
    if kind == "number" and number:
        return float(value)
    text = kind in ("text", "gs-uri") and isinstance(value, str)
    if text or (kind == "boolean" and isinstance(value, bool)):
        return value
    raise UsageError(
        f"must be {_KINDS[kind]}, is {type(value).__name__}",
        where=name,
        fix="pass a value of this type",
    )


def _problem(value: Any, rule: Table) -> str:
    if "values" in rule and value not in rule["values"]:
        return f"must be one of {', '.join(rule['values'])}"
    if "like" in rule and not re.fullmatch(rule["like"], value):
        return f"must be {rule['such_as']}"
    if "min" in rule and value < rule["min"]:
        return f"must be at least {rule['min']}, is {value}"
    if "max" in rule and value > rule["max"]:
        return f"must be at most {rule['max']}, is {value}"
    if "above" in rule and value <= rule["above"]:
        return f"must be above {rule['above']}, is {value}"
    if rule["type"] == "gs-uri" and not value.startswith("gs://"):
        return "must be a gs:// URI"
    return ""
