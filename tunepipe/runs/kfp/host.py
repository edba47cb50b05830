"""A host of open-source Kubeflow Pipelines: where it is, and how a caller identifies itself."""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec

from tunepipe.errors import CloudError, UsageError

EXPERIMENT = "tunepipe"
# Where Kubernetes mounts the token for the host in a pod, as kfp.Client has it.
_POD_TOKEN = "/var/run/secrets/kubeflow/pipelines/token"  # noqa: S105 - a path


class Mount(msgspec.Struct, forbid_unknown_fields=True):
    """A persistent volume claim, and the folder of a step where it is mounted."""

    claim: str
    folder: str = "/work"


class KfpSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The address of a KFP host, and the steps' settings on its cluster.

    Args:
        namespace: The profile's namespace on a host for several users.
        token_file: A file with a bearer token, read again when it changes; "" takes the token that
            Kubernetes mounts in a pod (KF_PIPELINES_SA_TOKEN_PATH), if there is one.
        cookies_file: A file with the cookie of a Dex or OIDC login, such as
            `oauth2_proxy_kubeflow=…`.
        ca_cert: The file of the certificate authority of the host.
        experiment: Where the runs are listed; created if it does not exist.
        pipeline_root: Where the steps' artifacts go; "" for the host's own.
        service_account: The Kubernetes account of the steps; "" for the host's own.
        node_selector: Labels of the nodes for the steps that tune and ask models.
        tolerations: Tolerations of those steps, as Kubernetes has them.
        secrets: Secret -> environment variable -> key of the secret; for every step.
        disk_gib: The size of a new volume for each of those steps; 0 for none, and None for one if
            the model takes more than 40 GiB.
        storage_class: The kind of that volume; "" for the cluster's default.
        volume: A persistent volume claim, mounted in every step; work_dir is there unless set.
    """

    namespace: str = ""
    token_file: str = ""
    cookies_file: str = ""
    ca_cert: str = ""
    experiment: str = EXPERIMENT
    pipeline_root: str = ""
    service_account: str = ""
    node_selector: dict[str, str] = {}
    tolerations: list[dict[str, Any]] = []
    secrets: dict[str, dict[str, str]] = {}
    disk_gib: Annotated[int, msgspec.Meta(ge=0)] | None = None
    storage_class: str = ""
    volume: Mount | None = None


@dataclass(frozen=True)
class KfpHost:
    """A host, by its address as kfp.Client takes it, and the settings for it."""

    url: str
    settings: KfpSettings = field(default_factory=KfpSettings)

    @contextmanager
    def client(self) -> Iterator[Any]:
        """Give kfp's client; what it raises becomes a CloudError that says what to do."""
        import kfp_server_api
        from urllib3.exceptions import HTTPError

        try:
            # kfp's client prints links to standard output, which is for the one JSON object.
            with redirect_stdout(sys.stderr), warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                yield self._client()
        except kfp_server_api.ApiException as error:
            raise self._explanation(error) from error
        except (HTTPError, OSError, TimeoutError) as error:
            raise CloudError(
                f"the KFP host cannot be reached: {type(error).__name__}",
                where=self.url,
                fix="check --kfp-host, and the port-forward or the proxy on the way",
            ) from error

    def page(self, run_id: str) -> str:
        """Return the page of a run."""
        return f"{self.url.rstrip('/')}/#/runs/details/{run_id}"

    @property
    def options(self) -> str:
        """The options of a command that reach this host, to be copied."""
        ways = ("namespace", "token_file", "cookies_file", "ca_cert")
        settings = [f"{name}={value}" for name in ways if (value := getattr(self.settings, name))]
        words = ["--kfp-host", self.url, *(f"--kfp={setting}" for setting in settings)]
        return " ".join(map(shlex.quote, words))

    @property
    def namespace(self) -> str | None:
        """The namespace for calls that take one; None on a host for one user."""
        return self.settings.namespace or None

    def id_of(self, answer: Any, field: str) -> str:
        """Return an id that the host has given; what answers without one is no KFP host."""
        value = getattr(answer, field, None)
        if not (isinstance(value, str) and value):
            raise CloudError(
                f"the answer of the KFP host has no {field}",
                where=self.url,
                fix="check --kfp-host, and what answers in its place; its API is at /apis/v2beta1",
            )
        return value

    def settings_of_run(self, client: Any) -> dict[str, Any]:
        """Return where a run is listed and what it gets, as kfp's client names that."""
        settings = self.settings
        experiment = client.create_experiment(settings.experiment, namespace=self.namespace)
        return {
            "experiment_id": experiment.experiment_id,
            "pipeline_root": settings.pipeline_root or None,
            "service_account": settings.service_account or None,
        }

    def _client(self) -> Any:
        """Return kfp's client, after the host has answered it once."""
        from kfp import Client

        class HostClient(Client):  # type: ignore[misc]
            # kfp's own asks five times within 25 seconds, logs a traceback each time, and hides
            # what the host said.
            def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
                api = self._healthz_api
                answer, _, headers = api.healthz_service_get_healthz_with_http_info()
                # A login page comes with status 200.
                if "text/html" in str(headers.get("Content-Type", "")):
                    raise login
                return answer

        login = CloudError(
            "the KFP host asks to log in",
            where=self.url,
            fix="--kfp cookies_file=FILE or --kfp token_file=FILE",
        )
        settings = self.settings
        arguments: dict[str, Any] = {"host": self.url, "credentials": self._credentials()}
        if settings.namespace:
            arguments["namespace"] = settings.namespace
        if settings.cookies_file:
            arguments["cookies"] = _read(settings.cookies_file, "cookies_file")
        if settings.ca_cert:
            _read(settings.ca_cert, "ca_cert")
            arguments["ssl_ca_cert"] = settings.ca_cert
        client = HostClient(**arguments)
        client.get_kfp_healthz()
        return client

    def _credentials(self) -> Any:
        """Return what reads the token of a file whenever it is sent; None without a file."""
        from kfp.client import set_volume_credentials

        path = self.settings.token_file
        mounted = os.environ.get("KF_PIPELINES_SA_TOKEN_PATH") or _POD_TOKEN
        if path:
            _read(path, "token_file")
        elif Path(mounted).is_file():
            path = mounted
        else:
            return None
        return set_volume_credentials.ServiceAccountTokenVolumeCredentials(path=path)

    def _explanation(self, error: Any) -> CloudError:
        status = int(error.status or 0)
        fix = {
            401: "name a token_file or a cookies_file: --kfp token_file=FILE",
            403: "check the account's rights in the namespace: --kfp namespace=NAME",
            404: "check --kfp-host; its API is at /apis/v2beta1",
        }.get(status, "check --kfp-host and its log")
        words = _words(error)
        return CloudError(
            f"the KFP host answered {status}: {words}" if words else f"the KFP host: {status}",
            where=self.url,
            fix=fix,
        )


def pages(call: Any, field: str, **arguments: Any) -> Iterator[Any]:
    """Yield what a method of kfp's client lists, page by page, from that field of its answers."""
    token = ""
    while True:
        page = call(page_token=token, page_size=100, **arguments)
        yield from getattr(page, field) or ()
        token = page.next_page_token or ""
        if not token:
            return


@contextmanager
def pipeline_file(text: str) -> Iterator[str]:
    """Write a pipeline to a temporary file: kfp's client does not take text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        path.write_text(text, encoding="utf-8")
        yield str(path)


def pipeline_name(item: Any) -> str:
    """Return the pipeline's name of a run or recurring run; "" if tunepipe has not made it."""
    spec = item.pipeline_spec or {}
    name = str(spec.get("pipeline_spec", spec).get("pipelineInfo", {}).get("name", ""))
    return name if name.startswith("tunepipe-") else ""


def _words(error: Any) -> str:
    try:
        answer = json.loads(error.body)
    except (TypeError, ValueError):
        return str(error.reason or "")
    if not isinstance(answer, dict):
        return str(answer or error.reason or "")[:2000]
    message = answer.get("message") or answer.get("error") or answer.get("error_message")
    return str(message or error.reason or "")[:2000]


def _read(path: str, setting: str) -> str:
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "the file cannot be read", where=f"--kfp {setting}={path}", fix="check the path"
        ) from error
    if not text:
        raise UsageError("the file is empty", where=f"--kfp {setting}={path}", fix="log in again")
    return text
