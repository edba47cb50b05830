"""The parameters of Google's template that tunes PaLM models, checked before anything is sent.

What the template would refuse an hour after it was paid for is refused here at once. Sources,
regions and limits are in parameters.toml.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, structs

from tunepipe.arguments import hint
from tunepipe.catalog.tables import load
from tunepipe.decoding import decode
from tunepipe.errors import LimitError, UsageError

Parameters = dict[str, Any]

_Uri = Annotated[str, Meta(pattern="^(gs://.+)?$", description="a gs:// URI")]
_Count = Annotated[int, Meta(ge=1)]


class TemplateParameters(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The template's parameters by its own names, with its own defaults."""

    project: Annotated[str, Meta(min_length=1, description="a project, which is required")]
    model_display_name: Annotated[
        str, Meta(min_length=1, max_length=128, description="a text of 1 to 128 characters")
    ]
    location: str = ""
    large_model_reference: str = "text-bison@001"
    dataset_uri: _Uri = ""
    dataset_name: str = ""
    train_steps: _Count = 300
    tuning_method: Literal["tune_v2", "tune"] = "tune_v2"
    learning_rate: Annotated[float, Meta(ge=-1, le=1e9)] = -1.0
    learning_rate_multiplier: Annotated[float, Meta(gt=0, le=1e9)] = 1.0
    accelerator_type: Literal["", "GPU", "TPU"] = ""
    default_context: str = ""
    evaluation_data_uri: _Uri = ""
    evaluation_interval: _Count = 20
    enable_early_stopping: bool = True
    enable_checkpoint_selection: Literal["true", "false", "default"] = "default"
    tensorboard_resource_id: str = ""
    encryption_spec_key_name: str = ""
    tpu_training_skip_cmek: bool = False
    api_endpoint: str = "aiplatform.googleapis.com/ui"
    # Declared by copies of the template from 2024-03 on; earlier ones under the same tag refuse it.
    max_context_length: Literal["", "8k", "32k"] = ""


_KEY = "encryption_spec_key_name"
_IGNORED = "evaluation_output_root_dir"  # declared by the template, and read by nothing
_ALWAYS_SENT = frozenset(("location", "accelerator_type"))
_CHAT_ONLY = ("default_context",)
_NOT_CHAT = (
    *("evaluation_data_uri", "evaluation_interval"),
    *("enable_early_stopping", "enable_checkpoint_selection"),
)


def template_parameters(values: Mapping[str, Any], *, region: str) -> Parameters:
    """Check a template's parameters and reduce them to what has to be sent.

    Args:
        values: Parameters by the template's names. `location` is `region` unless set, and
            `accelerator_type` what trains in `region`; left to the template, the two fail.

    Returns:
        What differs from the template's defaults, and location and accelerator_type always.
        Whole numbers come back as int, also where they came as 20.0.

    Raises:
        UsageError: An unknown name, a wrong type or range, or parameters that exclude each other.
        LimitError: Anything would run outside the region given.
    """
    if _IGNORED in values:
        raise UsageError(
            "the template declares this parameter and reads it nowhere",
            where=_IGNORED,
            fix="leave it out",
        )
    words = dict(values)
    selection = words.get("enable_checkpoint_selection")
    if isinstance(selection, bool):
        words["enable_checkpoint_selection"] = str(selection).lower()  # the template's own words
    decoded = decode(words, TemplateParameters)
    parameters = structs.replace(
        decoded,
        location=decoded.location or region,
        accelerator_type=decoded.accelerator_type or _accelerator(region),
    )
    defaults = template_defaults()
    changed = {
        name: value
        for name, value in structs.asdict(parameters).items()
        if name in _ALWAYS_SENT or value != defaults.get(name)
    }
    model = parameters.large_model_reference
    for name in _NOT_CHAT if family(model) == "chat" else _CHAT_ONLY:
        if name in changed:
            raise UsageError(
                f"{model} does not take this parameter", where=name, fix="leave it out"
            )
    _check_places(parameters, region)
    return changed


def template_defaults() -> Parameters:
    """Return the template's own value of every parameter that has one."""
    fields = structs.fields(TemplateParameters)
    return {field.name: field.default for field in fields if not field.required} | {_IGNORED: ""}


def template_uri(model: str, version: str = "") -> str:
    """Return the template of a model; a version is a tag, sha256:… or a whole https:// URI."""
    if version.startswith("https://"):
        return version
    templates = load("backends/palm/parameters.toml")["templates"]
    name = templates[family(model)]
    return f"{templates['registry']}/{name}/{version or templates['version']}"


def family(model: str) -> str:
    """Return a model's family: "text", "code" or "chat"; a UsageError for any other model."""
    families: dict[str, list[str]] = load("backends/palm/parameters.toml")["families"]
    stem = model.partition("@")[0]
    for name, models in families.items():
        if stem in models:
            return name
    known = [each for models in families.values() for each in models]
    raise UsageError("the template does not tune this model", where=model, fix=hint(stem, known))


def _check_places(parameters: TemplateParameters, region: str) -> None:
    """Refuse what would run or lie outside the region, and a key that the hardware refuses."""
    location, hardware = parameters.location, parameters.accelerator_type
    board, key = parameters.tensorboard_resource_id, parameters.encryption_spec_key_name
    if bool(parameters.dataset_uri) == bool(parameters.dataset_name):
        found = "exactly one of dataset_uri and dataset_name must be given"
        raise UsageError(found, where="dataset_uri", fix="give one of the two")
    regions = load("backends/palm/parameters.toml")["regions"]
    allowed = regions["pipeline"]
    if region not in allowed:
        raise LimitError(
            f"the template does not run in {region}",
            where="region",
            fix=f"use one of {', '.join(allowed)}",
        )
    trains = regions["training"][hardware]  # the hardware decides, not the pipeline's region
    if trains != region:
        raise LimitError(
            f"{hardware} tuning would run in {trains}, outside the region given",
            where="region",
            fix=f"run in {trains}; location may name where the model is served",
        )
    if location not in allowed:
        found = f"no tuned model can be served in {location}"
        raise LimitError(found, where="location", fix=f"use one of {', '.join(allowed)}")
    if board and f"/locations/{region}/" not in board:
        raise LimitError(
            "the TensorBoard is in another region",
            where="tensorboard_resource_id",
            fix=f"name one in {region}",
        )
    if not key:
        return
    if f"/locations/{region}/" not in key:
        raise LimitError("the key is in another region", where=_KEY, fix=f"use a key in {region}")
    if hardware == "TPU" and not parameters.tpu_training_skip_cmek:
        fix = "set tpu_training_skip_cmek, which trains without the key, or tune on GPU"
        raise LimitError("TPU tuning does not take a key", where=_KEY, fix=fix)
    if hardware != "TPU" and {location, region} != {"us-central1"}:
        raise LimitError(
            "GPU tuning takes a key only where pipeline and model are in us-central1",
            where=_KEY,
            fix="set region and location to us-central1",
        )


def _accelerator(region: str) -> Literal["", "GPU", "TPU"]:
    """Return what trains in a region; "" leaves a region without pipelines to be refused."""
    regions = load("backends/palm/parameters.toml")["regions"]
    for accelerator, place in regions["training"].items():
        if place == region:
            return accelerator  # type: ignore[no-any-return]
    if region not in regions["pipeline"]:
        return ""
    raise LimitError(
        f"nothing tunes in {region}: GPU tuning runs in us-central1, TPU tuning in europe-west4",
        where="region",
        fix="run in us-central1 or europe-west4; location may name where the model is served",
    )
