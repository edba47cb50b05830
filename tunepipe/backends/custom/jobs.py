"""CustomJobs of Vertex AI: their body, and how they are found, read and cancelled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tunepipe.backends.custom.options import CustomOptions
from tunepipe.backends.local.options import DEVICE
from tunepipe.backends.remote.exchange import ANSWERS, RESULT, read_error, read_progress
from tunepipe.catalog.tables import load
from tunepipe.decoding import decode
from tunepipe.errors import TunepipeError
from tunepipe.gcp import clients
from tunepipe.gcp.clients import CALL_SECONDS, state_of
from tunepipe.gcp.labels import KEY_LABEL
from tunepipe.gcp.launcher import StepOptions
from tunepipe.gcp.remote_jobs import RemoteJobs
from tunepipe.stores import storage
from tunepipe.stores.claims import Claim, ClaimedJobs, claim_uri

_STRATEGIES = {"standard": "STANDARD", "spot": "SPOT", "flex-start": "FLEX_START"}
_RESERVATION_KEY = "compute.googleapis.com/reservation-name"
# Runs what follows it, in the code of this package; each container begins with this.
_UNPACK = 'python3 -m zipfile -e "$TUNEPIPE_CODE" /tmp/tunepipe && '
_INSTALLED = "python3 -m tunepipe.packaging.installed"
_PIP = "python3 -m pip install --quiet --root-user-action ignore"
_BOOT = 'exec "$0" "$@"'
_IN_IMAGE = "image"  # the code of this package


class NamedCustomJobs(RemoteJobs):
    """Custom jobs that are known by their names."""

    kind = "CustomJob"

    def get(self, name: str) -> Any:
        """Fetch a job."""
        client = clients.jobs(clients.region_of(name))
        return client.get_custom_job(name=name, timeout=CALL_SECONDS)

    def request_cancel(self, name: str) -> None:
        """Ask for the end of a job."""
        clients.jobs(clients.region_of(name)).cancel_custom_job(name=name, timeout=CALL_SECONDS)

    def detail(self, job: Any) -> str:
        """Return what the job itself says of its progress, while it runs."""
        state = state_of(job)
        if state != "RUNNING":
            return state.lower()
        return read_progress(folder_of(job))

    def own_error(self, job: Any) -> TunepipeError | None:
        """Return the error that the program in a job ended with; Google says its number."""
        return read_error(job.name, job.create_time, folder_of(job))


CUSTOM_JOBS = NamedCustomJobs()


@dataclass(kw_only=True)
class CustomJobs(NamedCustomJobs, ClaimedJobs):
    """The jobs of one request, whose `body` CreateCustomJob takes; found by claim and label.

    A job that has succeeded has left the file `result` in its folder.
    """

    parent: str
    body: Mapping[str, Any]
    result: str

    @property
    def place(self) -> str:
        """Where a job is created."""
        return self.parent

    @property
    def _client(self) -> Any:
        return clients.jobs(self.parent.rpartition("/")[2])

    def jobs(self) -> Iterator[tuple[str, Mapping[str, str], Any]]:
        """Yield the jobs with the key's label, the newest first."""
        request = {"parent": self.parent, "filter": f'labels.{KEY_LABEL}="{self.key}"'}
        listed = list(self._client.list_custom_jobs(request=request, timeout=CALL_SECONDS))
        for job in sorted(listed, key=lambda job: job.create_time, reverse=True):
            yield str(job.name), job.labels, job

    def result_exists(self, job: Any) -> bool:
        """Return True unless what a job has made was deleted since."""
        return storage.exists(f"{folder_of(job)}/{self.result}")

    def request(self) -> str:
        """Ask for a job once, and name it."""
        request = {"parent": self.parent, "custom_job": self.body}
        created = self._client.create_custom_job(request=request, timeout=3 * CALL_SECONDS)
        return str(created.name)


def custom_jobs(
    job: Mapping[str, Any], task: str, key: str, *, predicts: bool = False, **named: Any
) -> CustomJobs:
    """Return the jobs of a key: one is created, by one run alone.

    `job` is that of the task of a tuning; `named` are the labels, the display_name and four_bit.
    """
    body = job_body(
        decode(job["options"], CustomOptions),
        job["machine"],
        task=task,
        disk_gib=job["disk_gib"],
        predicts=predicts,
        **named,
    )
    claim = Claim(claim_uri(task, key), decode(job["step"], StepOptions))
    result = ANSWERS if predicts else RESULT
    return CustomJobs(parent=job["parent"], body=body, result=result, claim=claim, key=key)


def folder_of(job: Any) -> str:
    """Return the folder of a job's task and results; an equal job may have had another bucket."""
    return str(job.job_spec.base_output_directory.output_uri_prefix).rstrip("/")


def job_body(
    options: CustomOptions,
    machine: Mapping[str, Any],
    *,
    task: str,
    disk_gib: int,
    labels: Mapping[str, str],
    display_name: str,
    predicts: bool,
    four_bit: bool = False,
) -> dict[str, Any]:
    """Compose what CreateCustomJob takes, to train on all machines, or to answer prompts on one.

    What the job makes goes into the folder of its `task`, a gs:// URI. It answers with weights in 4
    bits where `four_bit` says so.
    """
    table = load("backends/custom/parameters.toml")
    packages = table["prediction_requirements" if predicts else "requirements"]
    if four_bit or (options.tuning_mode == "qlora" and not predicts):
        packages = [*packages, *table["qlora_requirements"]]
    verb = "complete" if predicts else "install"  # vLLM's image has versions of its own
    install = f"{_INSTALLED} {verb} '{_PIP}' {' '.join(packages)} && " if options.install else ""
    image = (
        options.prediction_image or table["prediction_image"]
        if predicts
        else options.image or table["image"]
    )
    unpack = "" if options.code == _IN_IMAGE else _UNPACK
    environment = {
        "TUNEPIPE_CODE": unpack and f"/gcs/{options.code.removeprefix('gs://')}",
        "PYTHONPATH": unpack and "/tmp/tunepipe",  # noqa: S108  (of the container)
        "TUNEPIPE_HUB_TOKEN": options.hub_token,  # the secret's name, not its value
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PIP_BREAK_SYSTEM_PACKAGES": "1",  # an image's Python may be its distribution's
        "VLLM_NO_USAGE_STATS": "1",
        DEVICE: "cuda",  # every machine has GPUs
    }
    program = ("python3", "-m", "tunepipe.backends.remote.worker", task)
    affinity = {
        "reservation_affinity_type": "SPECIFIC_RESERVATION",
        "key": _RESERVATION_KEY,
        "values": [options.reservation],
    }
    pool = {
        "machine_spec": {
            **machine,
            **({"reservation_affinity": affinity} if options.reservation else {}),
        },
        "container_spec": {
            "image_uri": image,
            "command": ["sh", "-ec", f"{unpack}{install}{_BOOT}", *program],
            "env": [{"name": name, "value": value} for name, value in environment.items() if value],
        },
        "disk_spec": {"boot_disk_size_gb": disk_gib},  # of the type that fits the machine
        "replica_count": 1,
    }
    machines = 1 if predicts else options.machines
    more = [{**pool, "replica_count": machines - 1}] if machines > 1 else []
    # All machines begin again together, from the last checkpoint.
    scheduling: dict[str, Any] = {
        "strategy": _STRATEGIES[options.provisioning],
        "restart_job_on_worker_restart": options.machines > 1,
    }
    if options.provisioning == "flex-start":
        scheduling["max_wait_duration"] = {"seconds": round(options.max_wait_hours * 3600)}
    spec = {
        "worker_pool_specs": [pool, *more],
        "scheduling": scheduling,
        "base_output_directory": {"output_uri_prefix": task.rpartition("/")[0]},
        "service_account": options.service_account,
        "network": options.network,
    }
    key = options.encryption_spec_key_name
    return {
        "display_name": display_name[: int(table["display_name_characters"])],
        "labels": dict(labels),
        "job_spec": {name: value for name, value in spec.items() if value},
        **({"encryption_spec": {"kms_key_name": key}} if key else {}),
    }
