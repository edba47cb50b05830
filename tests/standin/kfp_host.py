"""A host of open-source Kubeflow Pipelines over HTTP, as strict as its API server.

A body is decoded by KFP's own types, so a field that it does not know is refused; a pipeline is
parsed by KFP's protobufs, and parameters are compared with it. With `token` or `cookie` a caller
has to identify itself, and with `namespace` to name its own.
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from datetime import UTC, datetime
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kfp_server_api
import yaml
from google.protobuf import json_format
from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig
from kfp.pipeline_spec import pipeline_spec_pb2

from .kfp_run import Execution

_ROOT = "/apis/v2beta1"
_PARAMETER_BYTES = 10_000  # MAX_PARAMETER_BYTES
_PAGE_MAX = 200


def _from_struct(value: Any) -> Any:
    """A value as it comes back: specs are kept as protobuf Struct, whose 0.0 is written 0."""
    if isinstance(value, dict):
        return {name: _from_struct(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_from_struct(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Refused(Exception):
    """What the host says no to: an HTTP status and a message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class KfpHost:
    """What the host keeps; `calls` are the verbs and paths that changed anything."""

    def __init__(
        self, *, token: str = "", cookie: str = "", namespace: str = "", folder: Path | None = None
    ) -> None:
        self.token, self.cookie, self.namespace = token, cookie, namespace
        self.folder = folder  # where runs are executed; without one they stay PENDING
        self.executions: dict[str, Execution] = {}
        self.recurring: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.experiments: dict[str, dict[str, Any]] = {}
        self.pipelines: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, str] = {}
        self.calls: list[str] = []
        self.broken = False
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def stop(self) -> None:
        for execution in self.executions.values():
            execution.stop()
        self.server.shutdown()
        self.server.server_close()

    def answer(
        self, verb: str, path: str, query: dict[str, str], headers: Any, body: bytes
    ) -> tuple[int, Any]:
        if verb != "GET":
            self.calls.append(f"{verb} {path}")
        if self.token and headers.get("authorization") != f"Bearer {self.token}":
            return 401, {"error": "Unauthenticated", "message": "there is no user identity"}
        if self.cookie and self.cookie not in (headers.get("Cookie") or ""):
            return 302, "<html>log in</html>"
        if path.endswith("/healthz"):
            return 200, {"multi_user": bool(self.namespace)}
        if self.broken:
            return 503, {"message": "the database is away"}
        try:
            return 200, self._answer(verb, path, query, headers, body)
        except Refused as error:
            return error.status, {"error": str(error), "message": str(error), "code": 3}

    def _answer(
        self, verb: str, path: str, query: dict[str, str], headers: Any, body: bytes
    ) -> Any:
        if match := re.fullmatch(r"/apis/v1alpha1/runs/([^/]+)/nodes/([^/]+)/log", path):
            if match[1] not in self.runs or match[2] not in self.logs:
                raise Refused(404, f"failed to read the log of {match[2]}")
            return self.logs[match[2]]
        match verb, path.removeprefix(_ROOT).strip("/").split("/"):
            case "POST", ["pipelines", "upload"]:
                return self._upload(query, headers, body)
            case "POST", ["pipelines", "upload_version"]:
                return self._upload_version(query, headers, body)
            case "GET", ["pipelines", one, "versions"] if one in self.pipelines:
                versions = [v for v in self.versions.values() if v["pipeline_id"] == one]
                return self._page("pipeline_versions", versions, query)
            case "GET", ["pipelines"]:
                return self._page("pipelines", self._own(self.pipelines, query), query)
            case "GET", ["experiments"]:
                return self._page("experiments", self._own(self.experiments, query), query)
            case "POST", ["experiments"]:
                return self._kept(self.experiments, "experiment_id", "V2beta1Experiment", body)
            case "GET", ["experiments", one] if one in self.experiments:
                return self.experiments[one]
            case "GET", ["recurringruns"]:
                return self._page("recurringRuns", self._own(self.recurring, query), query)
            case "POST", ["recurringruns"]:
                return self._kept(self.recurring, "recurring_run_id", "V2beta1RecurringRun", body)
            case "POST", ["recurringruns", one] if one.partition(":")[0] in self.recurring:
                name, _, change = one.partition(":")
                self.recurring[name]["status"] = {"disable": "DISABLED", "enable": "ENABLED"}[
                    change
                ]
                return {}
            case "DELETE", ["recurringruns", one] if one in self.recurring:
                del self.recurring[one]
                return {}
            case "GET", ["runs"]:
                newest = list(reversed(self._own(self.runs, query)))
                return self._page("runs", newest, query)
            case "POST", ["runs"]:
                return self._kept(self.runs, "run_id", "V2beta1Run", body)
            case "GET", ["runs", one] if one in self.runs:
                if one in self.executions:
                    self.runs[one] |= self.executions[one].describe()
                return self.runs[one]
            case "POST", ["runs", one] if one.removesuffix(":terminate") in self.runs:
                run = self.runs[one.removesuffix(":terminate")]
                if run["state"] in ("SUCCEEDED", "FAILED", "CANCELED"):
                    raise Refused(400, "the run has ended")
                run["state"] = "CANCELING"
                return {}
        raise Refused(404, f"no {verb} {path}")

    def _own(self, kind: dict[str, dict[str, Any]], query: dict[str, str]) -> list[dict[str, Any]]:
        """What a namespace holds; on a host for several users each list names one."""
        if self.namespace and query.get("namespace") != self.namespace:
            raise Refused(403, f"no access to the namespace {query.get('namespace')!r}")
        return list(kind.values())

    def _page(self, name: str, found: list[Any], query: dict[str, str]) -> dict[str, Any]:
        """One at a time, whatever size is asked for: a host may give fewer."""
        if not 0 <= int(query.get("page_size") or 0) <= _PAGE_MAX:
            raise Refused(400, f"page_size is at most {_PAGE_MAX}")
        if query.get("sort_by", "created_at desc") not in ("created_at desc", "created_at asc", ""):
            raise Refused(400, f"cannot sort by {query['sort_by']}")
        begin = int(query.get("page_token") or 0)
        more = {"next_page_token": str(begin + 1)} if begin + 1 < len(found) else {}
        return {name: found[begin : begin + 1], **more}

    def _kept(self, kind: dict[str, Any], key: str, model: str, body: bytes) -> dict[str, Any]:
        data = json.loads(body)
        check_fields(data, model)
        if key == "experiment_id" and (data.get("namespace") or "") != self.namespace:
            raise Refused(403, f"no access to the namespace {data.get('namespace')!r}")
        if key != "experiment_id":
            if data.get("experiment_id") not in self.experiments:
                raise Refused(400, "the experiment does not exist")
            parameters = (data.get("runtime_config") or {}).get("parameters") or {}
            check_parameters(self._spec(data), parameters)
        if key == "recurring_run_id":
            # KFP's cron has seconds first, and takes weekdays from 0 to 6.
            times = (data.get("trigger") or {}).get("cron_schedule", {}).get("cron", "").split()
            if len(times) != 6 or "7" in times[5]:
                raise Refused(400, "invalid cron schedule")
        name = str(uuid.uuid4())
        # A run that is ENABLE has the status ENABLED.
        state = {"state": "PENDING"} if key == "run_id" else {}
        state |= {"status": f"{data['mode']}D"} if key == "recurring_run_id" else {}
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        kind[name] = {**_from_struct(data), key: name, "created_at": now, **state}
        if key == "run_id" and self.folder:
            parameters = (kind[name].get("runtime_config") or {}).get("parameters") or {}
            spec = self._spec(data)
            self.executions[name] = Execution(self.folder / name, name, spec, parameters)
        return kind[name]

    def _spec(self, data: dict[str, Any]) -> dict[str, Any]:
        """The pipeline of a run or recurring run, by its version or as it is."""
        reference = data.get("pipeline_version_reference")
        if bool(reference) == bool(data.get("pipeline_spec")):
            raise Refused(400, "a run has either a pipeline_spec or a pipeline_version_reference")
        spec = data.get("pipeline_spec")
        if reference:
            version = self.versions.get(reference.get("pipeline_version_id"))
            if not version or version["pipeline_id"] != reference.get("pipeline_id"):
                raise Refused(404, "the pipeline version does not exist")
            spec = version["pipeline_spec"]
        return check_spec(spec)

    def _upload(self, query: dict[str, str], headers: Any, body: bytes) -> dict[str, Any]:
        if (query.get("namespace") or "") != self.namespace:
            raise Refused(403, f"no access to the namespace {query.get('namespace')!r}")
        name = query["name"]
        if any(pipeline["display_name"] == name for pipeline in self.pipelines.values()):
            raise Refused(409, f"the pipeline {name} already exists")
        pipeline = {"pipeline_id": str(uuid.uuid4()), "display_name": name}
        self._version(pipeline["pipeline_id"], name, headers, body)
        self.pipelines[pipeline["pipeline_id"]] = pipeline
        return pipeline

    def _upload_version(self, query: dict[str, str], headers: Any, body: bytes) -> dict[str, Any]:
        pipeline, name = query["pipelineid"], query["name"]
        if pipeline not in self.pipelines:
            raise Refused(404, "the pipeline does not exist")
        taken = [v for v in self.versions.values() if v["pipeline_id"] == pipeline]
        if any(version["display_name"] == name for version in taken):
            raise Refused(409, f"the version {name} already exists")
        return self._version(pipeline, name, headers, body)

    def _version(self, pipeline: str, name: str, headers: Any, body: bytes) -> dict[str, Any]:
        form = message_from_bytes(
            b"Content-Type: " + headers["Content-Type"].encode() + b"\n\n" + body
        )
        (part,) = [
            p
            for p in form.walk()
            if p.get_param("name", header="content-disposition") == "uploadfile"
        ]
        docs = list(yaml.safe_load_all(part.get_payload(decode=True)))
        spec = docs[0] if len(docs) == 1 else {"pipeline_spec": docs[0], "platform_spec": docs[1]}
        check_spec(spec)
        version = {
            "pipeline_id": pipeline,
            "pipeline_version_id": str(uuid.uuid4()),
            "display_name": name,
            "pipeline_spec": spec,
        }
        self.versions[version["pipeline_version_id"]] = version
        return version

    def _handler(host) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(size)
                url = urlsplit(self.path)
                query = {name: values[-1] for name, values in parse_qs(url.query).items()}
                code, said = host.answer(self.command, url.path, query, self.headers, body)
                data = said.encode() if isinstance(said, str) else json.dumps(said).encode()
                self.send_response(code if code != 302 else 200)
                kind = "text/html" if code == 302 else "application/json"
                self.send_header(
                    "Content-Type", "text/plain" if isinstance(said, str) and code == 200 else kind
                )
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = do

            def log_message(self, *args: Any) -> None: ...

        return Handler


def check_fields(data: Any, model: str) -> None:
    """Refuse a field that KFP's generated type does not have, at any depth."""
    kind = getattr(kfp_server_api, model, None)
    if kind is None or not isinstance(data, dict):
        return
    names = {kind.attribute_map[name]: inner for name, inner in kind.openapi_types.items()}
    for name, value in data.items():
        if name not in names:
            raise Refused(400, f'unknown field "{name}" in {model}')
        inner = names[name]
        for each in value if inner.startswith("list[") and isinstance(value, list) else [value]:
            check_fields(each, inner.removeprefix("list[").removesuffix("]"))


def check_spec(spec: dict[str, Any]) -> dict[str, Any]:
    """Parse a pipeline as the server does, and return its spec."""
    inner = spec.get("pipeline_spec", spec)
    try:
        json_format.ParseDict(inner, pipeline_spec_pb2.PipelineSpec())
        platform = spec.get("platform_spec", {}).get("platforms", {}).get("kubernetes", {})
        for config in platform.get("deploymentSpec", {}).get("executors", {}).values():
            json_format.ParseDict(config, KubernetesExecutorConfig())
    except json_format.ParseError as error:
        raise Refused(400, f"invalid pipeline spec: {error}") from error
    return inner


def check_parameters(spec: dict[str, Any], parameters: dict[str, Any]) -> None:
    inputs = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    if len(json.dumps(parameters)) > _PARAMETER_BYTES:
        raise Refused(400, f"the parameters take more than {_PARAMETER_BYTES} bytes")
    kinds = {
        "STRING": str, "NUMBER_DOUBLE": int | float, "NUMBER_INTEGER": int | float,
        "BOOLEAN": bool, "STRUCT": dict, "LIST": list,
    }  # fmt: skip
    for name, value in parameters.items():
        if name not in inputs:
            raise Refused(400, f"the pipeline has no parameter {name}")
        if not isinstance(value, kinds[inputs[name]["parameterType"]]):
            raise Refused(400, f"the parameter {name} has another type")
    for name, definition in inputs.items():
        optional = definition.get("isOptional") or "defaultValue" in definition
        if name not in parameters and not optional:
            raise Refused(400, f"the parameter {name} is required")
