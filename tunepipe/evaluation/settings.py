"""A run's settings that only the steps after its tuning read: checked before anything is paid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from tunepipe.arguments import SEED_MAX, hint
from tunepipe.catalog.backends import BACKENDS, PACING_OPTIONS
from tunepipe.catalog.catalog import Catalog, load_catalog
from tunepipe.decoding import Share, decode
from tunepipe.errors import UsageError
from tunepipe.evaluation.custom_metrics import load as load_metric
from tunepipe.evaluation.judge_prompt import check_template
from tunepipe.evaluation.tasks import check_metric, check_task


class Scoring(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of the comparison besides the pipeline's own parameters."""

    normalize: Literal["strict", "content"] = "strict"
    missing: Literal["wrong", "excluded"] = "wrong"
    slice_by: list[str] = []
    metric_code: str = ""
    max_latency_ms: Annotated[float, Meta(ge=0)] = 0.0
    max_cost_per_answer: Annotated[float, Meta(ge=0)] = 0.0


class StepSettings(Struct, frozen=True, kw_only=True):
    """Parameters of the pipeline that only the steps after the tuning read."""

    margin: Share = 0.0
    guard_margin: Share = 0.0
    eval_fraction: Annotated[
        float, Meta(gt=0, lt=1, description="a number above 0 and below 1")
    ] = 0.1
    eval_min: Annotated[int, Meta(ge=0)] = 0
    eval_max: Annotated[int, Meta(ge=0)] = 0
    max_output_tokens: Annotated[int, Meta(ge=1)] = 1
    answers: Annotated[int, Meta(ge=1, le=100)] = 1
    seed: Annotated[int, Meta(ge=0, le=SEED_MAX)] = 0
    metric: str = ""
    scoring: Scoring = Scoring()
    judge_model: str = ""
    judge_prompt: str = ""


class Asking(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings for asking models; each backend takes a part of them (`catalog.backends`)."""

    workers: Annotated[int, Meta(ge=0, le=1024)] = 0
    requests_per_minute: Annotated[float, Meta(ge=0, le=1e9)] = 0.0
    attempts: Annotated[int, Meta(ge=1, le=1000)] = 1
    temperature: Annotated[float, Meta(ge=0, le=2)] = 0.0
    top_p: Annotated[float, Meta(ge=0, le=1)] = 1.0
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    thinking_budget: Annotated[int, Meta(ge=-1, le=1_000_000)] = 0
    thinking_level: Literal["minimal", "low", "medium", "high"] = "minimal"
    request_format: Literal["chat", "prompt"] = "chat"
    batch_size: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    threads: Annotated[int, Meta(ge=1, le=1024)] = 1
    engine: Literal["transformers", "vllm"] = "transformers"
    precision: Literal["float32", "bfloat16"] = "float32"
    device: str = ""
    chat: bool = False
    four_bit: bool = False


def check_settings(
    settings: Mapping[str, Any], backend: str, catalog: Catalog | None = None
) -> None:
    """Refuse values that a step after the tuning would refuse, or that switch the gate off.

    The settings are the fields of `StepSettings`, `task` and `asking`; others are skipped.
    """
    chosen = decode(settings, StepSettings)
    task = settings.get("task", "auto")
    check_task(task)
    check_metric(chosen.metric, "" if task == "auto" else task, None, chosen.scoring.normalize)
    load_metric(chosen.metric, chosen.scoring.metric_code)
    _check_asking(settings.get("asking", {}), backend)
    if chosen.judge_prompt:
        check_template(chosen.judge_prompt)
    _check_judge(chosen.judge_model, catalog or load_catalog())


def _check_asking(asking: Any, backend: str) -> None:
    if not isinstance(asking, Mapping):
        raise UsageError("must be a mapping", where="asking", fix='such as {"workers": 8}')
    known = (*PACING_OPTIONS, *BACKENDS[backend].asking)
    for name in asking:
        if name not in known:
            raise UsageError("unknown setting", where=f"asking.{name}", fix=hint(name, known))
    # What this table does not know belongs to the backend, which checks it.
    ours = {
        name: value.lower() if isinstance(value, str) else value
        for name, value in asking.items()
        if name in Asking.__struct_fields__
    }
    decode(ours, Asking, "asking")


def _check_judge(model: str, catalog: Catalog) -> None:
    if not model or "/" in model:
        return  # no model, or a full resource name, which only the service knows
    models = catalog.model_table.models.values()
    gemini = [each.name for each in models if each.backend == "gemini"]
    known = list(dict.fromkeys((*catalog.prices.answers, *gemini)))
    if model not in known:
        raise UsageError(
            f"{model} is not a known Gemini model",
            where="judge_model",
            fix=f"{hint(model, known)}; a new one needs a row in tables.prices.answers",
        )
