"""The types of the dated tables; `Catalog` decodes the files and a user's values into them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from tunepipe.catalog.backends import BackendName

_DAY = r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
Day = Annotated[
    str, Meta(pattern=f"^({_DAY})?$", description='a day, such as 2026-11-22, or "" for none')
]
DayOrMonth = Annotated[
    str,
    Meta(
        pattern=rf"^({_DAY}|\d{{4}}-(0[1-9]|1[0-2]))$",
        description='a day or a month, such as 2026-11-22 or "2026-11"',
    ),
]
Count = Annotated[int, Meta(ge=1, description="a whole number, 1 or more")]
Whole = Annotated[int, Meta(ge=0, description="a whole number, 0 or more")]
Number = Annotated[float, Meta(ge=0, le=1e15, description="a number, 0 or more")]
Share = Annotated[float, Meta(ge=0, le=1)]
Names = Annotated[tuple[str, ...], Meta(description="a list of texts in quotes")]


class TableRow(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A row of a table: an unknown name in it is refused."""


class Dated(TableRow, frozen=True, kw_only=True):
    """A row with the day or month on which it was read, and where; "" if not known."""

    read: DayOrMonth = ""
    source: str = ""


class Model(TableRow, frozen=True, kw_only=True):
    """One model's row of models.toml, its family's values included; that file explains the dates.

    Args:
        name: The model's exact name; for the local backend also a folder or a hub id.
        regions: Where it can be tuned; ("local",) on this machine.
        takes: What it takes besides text: image, audio, video, document, tools, code.
        batch_size: Examples a step, one number or one for each region.
        batch_size_assumed: Whether the service hides its batch size and this one is a guess.
        sequence_tokens: Tokens of a packed sequence, of which a batch has batch_size; 0 if a
            batch is made of rows.
        served_in: The multi-region that serves the tuned model, for each tuning region.
        tokens_per_ascii_character: Measured for this model's tuning, one number or one for each
            tuning mode; 0 takes the general ratio.
        tuning_modes: "full" and "peft", if the service offers a choice.
        learning_rate: The recommended rate of each tuning mode, if the service wants one.
        preference_base: What preference tuning begins from: "tuned" (the checkpoint of a
            supervised tuning of the model) or "any".
        cmek: Whether customer-managed encryption keys are supported; None is not known.
        concurrent_jobs: Tuning jobs at a time that a project may run by default; 0 is not known.
    """

    name: str
    backend: BackendName
    formats: Names
    regions: Names
    batch_size: Count | dict[str, Count]
    takes: Names = ()
    batch_size_assumed: bool = False
    default_steps: Whole = 0
    default_epochs: Whole = 0
    sequence_tokens: Whole = 0
    recommended_steps_min: Whole = 0
    recommended_steps_max: Whole = 0
    whole_epochs: bool = False
    served_in: dict[str, str] = {}
    tunable: bool = True
    tunable_since: Day = ""
    tunable_until: Day = ""
    new_projects_until: Day = ""
    served_until: Day = ""
    retires_not_before: Day = ""
    successor: str = ""
    note: str = ""
    tokens_per_ascii_character: Number | dict[str, Number] = 0.0
    tuning_modes: Names = ()
    learning_rate: dict[str, Number] = {}
    adapter_sizes: tuple[Count, ...] = ()
    adapter_size_recommended: Whole = 0
    preference_base: Literal["any", "tuned"] = "any"
    cmek: bool | None = None
    concurrent_jobs: Whole = 0
    quota: str = "Concurrent tuning jobs per project"
    read: Day = ""
    source: str = ""


class ModelTable(TableRow, frozen=True, kw_only=True):
    """models.toml: a family's values count for each of its models."""

    read: Day
    defaults: dict[BackendName, str]
    families: dict[str, Model]
    models: dict[str, Model]


class Hardware(TableRow, frozen=True, kw_only=True):
    """The PaLM template's hardware in a region, and the quota that a project needs."""

    accelerator_type: str
    accelerators: Count
    quota: str
    quota_multiple: Count
    machine_type: str = ""
    template_accelerator_type: str = ""


class Accelerator(Dated, frozen=True, kw_only=True):
    """An accelerator of custom training.

    `machines` has the machine type for each number of accelerators, and `usd_per_hour`, by region,
    the price of the machine divided by its accelerators. The quotas are names.
    """

    memory_gib: Count
    bf16_tflops: Number
    quota: str
    spot_quota: str
    machines: dict[str, str]
    usd_per_hour: dict[str, Number] = {}
    read: DayOrMonth
    source: str


class AcceleratorTable(TableRow, frozen=True, kw_only=True):
    """accelerators.toml, by Vertex AI's name of the type.

    A training reaches `compute_share` of an accelerator's computing, and a job takes
    `startup_hours` before and after it.
    """

    read: Day
    compute_share: Share
    startup_hours: Number
    accelerators: dict[str, Accelerator]


class AcceleratorPrice(Dated, frozen=True, kw_only=True):
    """US dollars an hour for one accelerator, by region."""

    usd_per_hour: dict[str, Number]
    read: DayOrMonth


class TrainingPace(Dated, frozen=True, kw_only=True):
    """The time of a training step, and the least time that a job is held."""

    seconds_per_step: Number
    minimum_hours: Number
    source: str


class TrainingPrice(Dated, frozen=True, kw_only=True):
    """US dollars for a million training tokens: the dataset's tokens times the epochs."""

    usd_per_million: Number
    read: DayOrMonth


class AnswerPrice(Dated, frozen=True, kw_only=True):
    """US dollars for a million tokens that a model reads, and that it writes, thoughts included.

    `tuned_factor` is what a tuned model of it charges, as a multiple.
    """

    usd_per_million_read: Number
    usd_per_million_written: Number
    tuned_factor: Number = 1.0


class Calibration(TableRow, frozen=True, kw_only=True):
    """A sample of rows whose tokens were `counted`, to correct those `estimated` by characters."""

    rows: Count
    estimated: Count
    counted: Count
    counter: str


class TokenEstimate(Dated, frozen=True, kw_only=True):
    """How `limits.estimated_tokens` was measured, and a counted sample that corrects it."""

    calibration: Calibration | None = None


class JudgeTokens(Dated, frozen=True, kw_only=True):
    """Tokens that a judge writes for a verdict."""

    tokens_a_reply: Whole


class EndpointPrice(Dated, frozen=True, kw_only=True):
    """US dollars for an hour of an endpoint's deployed model; None if none is known."""

    usd_per_hour: Number | None = None


class Prices(TableRow, frozen=True, kw_only=True):
    """prices.toml."""

    accelerators: dict[str, AcceleratorPrice]
    hours: dict[str, TrainingPace]
    training_tokens: dict[str, TrainingPrice]
    answers: dict[str, AnswerPrice]
    tokens: TokenEstimate
    judge: JudgeTokens
    endpoints: EndpointPrice = EndpointPrice()


class EvaluationLimits(TableRow, frozen=True, kw_only=True):
    """Limits on the rows of a service's evaluation data; 0 means no limit.

    `fraction_max`, a share of the training data, holds from `fraction_from_rows` evaluation rows
    on; with 0 for all, and then in bytes too.
    """

    rows_min: Whole
    rows_max: Whole
    fraction_max: Share
    fraction_from_rows: Whole = 0


class ServiceLimits(TableRow, frozen=True, kw_only=True):
    """Limits on a service's training data; 0 means that no limit is published.

    `native` names the formats that are sent as they are; the others are converted before. Empty
    if the rows are read by this package.
    """

    models: Names
    formats: Names
    input_tokens: Whole
    output_tokens: Whole
    example_tokens: Whole
    rows_min: Whole
    rows_advised: Whole
    rows_max: Whole
    file_bytes: Whole
    evaluation: EvaluationLimits
    native: Names = ()
    extra_roles: Names = ()
    sources: Names = ()


class ServiceTable(TableRow, frozen=True, kw_only=True):
    """services.toml: a model belongs to the first service that lists it."""

    read: Day
    first_model: dict[str, str]
    roles: dict[str, Names]
    services: dict[str, ServiceLimits]


class FileLimits(TableRow, frozen=True, kw_only=True):
    """What a model takes of one kind of file, and what such a file costs; 0 is not known.

    `count` is of files a row, and the others of a file. The endings `_medium` and `_low` name
    media resolutions.
    """

    count: Whole = 0
    bytes: Whole = 0
    seconds: Whole = 0
    seconds_low: Whole = 0
    tokens: Whole = 0
    tokens_medium: Whole = 0
    tokens_low: Whole = 0
    tokens_per_second: Whole = 0


class MediaLimits(TableRow, frozen=True, kw_only=True):
    """The files that some models are tuned on; a kind that is None is refused.

    `rows_max` counts the rows with files, and `schemes` say how an address may begin. Some services
    want one media resolution in all rows, or drop rows without a file, if others have one.
    """

    models: Names
    rows_max: Whole = 0
    schemes: Names = ()
    one_media_resolution: bool = False
    drops_text_rows: bool = False
    image: FileLimits | None = None
    audio: FileLimits | None = None
    video: FileLimits | None = None
    document: FileLimits | None = None
    sources: Names = ()


class MediaKind(TableRow, frozen=True, kw_only=True):
    """The MIME types of a kind of file; others of its family are warned of."""

    types: Names
    family: str


class MediaTable(TableRow, frozen=True, kw_only=True):
    """media.toml: the first entry of `limits` that lists a model holds."""

    read: Day
    kinds: dict[str, MediaKind]
    limits: dict[str, MediaLimits]
