"""The options of the custom backend: the machines, and what the trainer on them takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta

from tunepipe.backends.local.options import CountOrAuto, LocalOptions, disk_gib_of
from tunepipe.catalog.accelerators import parameters_billion
from tunepipe.decoding import decode
from tunepipe.errors import UsageError
from tunepipe.gcp.launcher import StepOptions
from tunepipe.gcp.secrets import is_secret

Provisioning = Literal["standard", "spot", "flex-start"]
# The job's own machine decides these, and its bucket.
_NOT_HERE = ("device", "processes", "checkpoint_dir", "threads", "train_job")
_DISK_GIB_FOR_SOFTWARE, _DISK_GIB_MIN, _DISK_GIB_MAX = 100, 200, 64_000


class CustomOptions(
    LocalOptions, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """Options of the custom job on Vertex AI, besides those of the trainer that runs in it.

    Args:
        accelerator: TYPE:COUNT of one machine, such as NVIDIA_L4:1; the machine type follows.
        machines: How many such machines train together.
        provisioning: "standard"; "spot" is cheaper and may be preempted; "flex-start" waits for
            accelerators.
        max_wait_hours: How long flex-start waits; 0 without limit.
        reservation: projects/P/zones/Z/reservations/R to run in; "" for none.
        image: The container of training; the packages of `tunepipe[local]` are installed in it.
        prediction_image: The container of evaluation, with vLLM.
        code: gs:// URI of the package's code, which `tunepipe run` uploads; "image" if the
            images hold it.
        install: Whether packages are installed at the start; false if the images have them.
        service_account: The account that the job acts as; "" for the project's default.
        hub_token: projects/P/secrets/NAME with a token for gated models of the hub.
        disk_gib: Each machine's disk; None takes what the model needs, and at least 200.
        batch_size: Rows a step; 0 takes the plan's.
        network: The VPC network that the job is peered with.
        usd_per_hour: The price of one machine, if the table has none for the region.
        parameters_billion: The base model's size, where its name does not say it.
        encryption_spec_key_name: A customer-managed key (CMEK) for what the job stores.
    """

    accelerator: str = "NVIDIA_L4:1"
    machines: Annotated[int, Meta(ge=1, le=64)] = 1
    provisioning: Provisioning = "standard"
    max_wait_hours: Annotated[float, Meta(ge=0)] = 24.0
    reservation: str = ""
    image: str = ""
    prediction_image: str = ""
    code: str = ""
    install: bool = True
    service_account: str = ""
    hub_token: str = ""
    disk_gib: Annotated[int, Meta(ge=100, le=_DISK_GIB_MAX)] | None = None
    batch_size: CountOrAuto = 0
    network: str = ""
    usd_per_hour: Annotated[float, Meta(ge=0)] = 0.0
    parameters_billion: Annotated[float, Meta(ge=0)] = 0.0
    encryption_spec_key_name: str = ""


def read_options(options: Mapping[str, Any]) -> CustomOptions:
    """Check options."""
    for name in _NOT_HERE:
        if name in options:
            raise UsageError(
                "the accelerators of the job decide this",
                where=name,
                fix="leave it out; accelerator and machines say where it runs",
            )
    decoded = decode(StepOptions.split(options)[1], CustomOptions)
    if decoded.hub_token and not is_secret(decoded.hub_token):
        raise UsageError(
            "a token is a secret; name where it is stored",
            where="hub_token",
            fix="projects/P/secrets/NAME of Secret Manager",
        )
    if decoded.reservation and decoded.provisioning == "flex-start":
        raise UsageError(
            "flex-start waits for accelerators that are not reserved",
            where="reservation",
            fix="leave it out, or take provisioning standard",
        )
    return decoded


def disk_gib_for(options: CustomOptions, base_model: str) -> int:
    """Return the size of a machine's disk, which holds the image, the packages and the model."""
    billions = options.parameters_billion or parameters_billion(base_model)
    needed = _DISK_GIB_FOR_SOFTWARE + disk_gib_of(options, billions)
    return options.disk_gib or min(max(_DISK_GIB_MIN, needed), _DISK_GIB_MAX)
