"""Tuning jobs, generateContent and countTokens, over REST v1beta1 as google-genai asks for them.

Requests are read into Google's own generated messages, so that an unknown field is a 400. The
generated package knows no preference tuning: that part is read into google-genai's type, which
forbids unknown fields too. Both packages are imported when the first such call comes.
"""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from google.api_core import exceptions
from google.protobuf import json_format

from .cloud import Cloud, canonical
from .resources import Resources, question
from .storage import Reply
from .tuning_board import Board

_ROUTES = (
    ("POST", re.compile(r"/v1beta1/(projects/[^/]+/locations/[^/]+)/tuningJobs\Z"), "create"),
    ("GET", re.compile(r"/v1beta1/(projects/[^/]+/locations/[^/]+)/tuningJobs\Z"), "list"),
    ("GET", re.compile(r"/v1beta1/(projects/[^/]+/locations/[^/]+/tuningJobs/[^/:]+)\Z"), "get"),
    ("POST", re.compile(r"/v1beta1/(projects/[^/]+/locations/[^/]+/tuningJobs/[^/:]+):cancel\Z"),
     "cancel"),
    ("POST", re.compile(r"/v1beta1/(projects/.+):generateContent\Z"), "generate"),
    ("POST", re.compile(r"/v1beta1/(projects/.+):countTokens\Z"), "count"),
    ("PATCH", re.compile(r"/v1beta1/(projects/[^/]+/locations/[^/]+/models/[^/:]+)\Z"), "update"),
)  # fmt: skip
_METHODS = {
    "create": "CreateTuningJob",
    "list": "ListTuningJobs",
    "get": "GetTuningJob",
    "cancel": "CancelTuningJob",
    "generate": "GenerateContent",
    "count": "CountTokens",
    "update": "UpdateModel",
}
_SERVED_IN = {"us-central1": "us", "europe-west4": "eu"}
_OVER = ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED")
_PREFERENCE = "preferenceOptimizationSpec"
_ANSWERS = re.compile(r"gemini-|[a-z-]+/[\w.-]+@[\w.-]+\Z")
BATCH = 8


class Tunings:
    """The service of tuning jobs. A job ends after `looks` looks, unless it is held.

    How jobs end is asked for by faults of the method "tuning": the message "nan" makes the losses
    not a number, "dropped N" drops N rows, "confused" teaches each row the answer of the next,
    "overfit" does so in the last checkpoint alone if there are several, "unserved" gives the first
    one no endpoint, and anything else fails the job with that message.
    """

    def __init__(self, cloud: Cloud, resources: Resources, board: Board) -> None:
        self.cloud, self.resources, self.board = cloud, resources, board
        self.hold = threading.Event()
        self.looks: dict[str, int] = {}
        self.default_checkpoints: dict[str, str] = {}
        cloud.resets.append(self._reset)

    def _reset(self) -> None:
        self.hold.clear()
        self.looks.clear()
        self.default_checkpoints.clear()

    def answer(self, verb: str, target: str, body: bytes, host: str, bearer: str) -> Reply | None:
        """Answer what is meant for this service; None for anything else."""
        url = urlsplit(target)
        for wanted, pattern, name in _ROUTES:
            match = pattern.match(url.path)
            if match and wanted == verb:
                handle = self._handler(name, match[1], dict(parse_qsl(url.query)), body)
                return self._guarded(_METHODS[name], handle, host, match[1], bearer)
        return None

    def jobs(self) -> dict[str, Any]:
        """Every tuning job by its name, as it stands."""
        with self.cloud.lock:
            found = {n: j for n, j in self.cloud.resources.items() if "/tuningJobs/" in n}
            for job in found.values():
                self._finish_cancelling(job)
            return {name: _public(job) for name, job in found.items()}

    def put(self, fields: dict[str, Any]) -> None:
        """Make a job, or change one, as a service of another mind would; null leaves a field out.

        While `hold` is on, nothing else moves it.
        """
        with self.cloud.lock:
            job = self.cloud.resources.setdefault(fields["name"], {})
            job.update(fields)
            for name in [name for name, value in job.items() if value is None]:
                del job[name]

    def _handler(
        self, name: str, resource: str, query: dict[str, str], body: bytes
    ) -> Callable[[], dict[str, Any]]:
        return lambda: getattr(self, f"_{name}")(resource, query, json.loads(body or b"{}"))

    def _guarded(
        self, method: str, handle: Callable[[], Any], host: str, resource: str, bearer: str
    ) -> Reply:
        def checked() -> Any:
            self.cloud.check_call(host, resource, bearer)
            return handle()

        answer = self.cloud.guarded(method, checked, host=host, resource=resource, transport="rest")
        return Reply(json.dumps(answer).encode(), headers={"Content-Type": "application/json"})

    def _create(self, parent: str, query: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
        body, spec = _checked(body)
        train = self._rows(spec.get("trainingDatasetUri", ""))
        held_out = spec.get("validationDatasetUri", "")
        if held_out:
            self._rows(held_out)
        now = _time(self.cloud.now())
        job = {
            **body,
            "name": f"{canonical(parent)}/tuningJobs/{self.cloud.new_id()}",
            "state": "JOB_STATE_PENDING",
            "createTime": now,
            "updateTime": now,
        }
        if "preTunedModel" in body:
            tuned = body["preTunedModel"]
            job["preTunedModel"] = {**tuned, "baseModel": self._base_of(tuned)}
        fault = self.cloud.take_fault("tuning")
        job["_wanted"] = fault.message if fault else ""
        job["_rows"] = len(train)
        with self.cloud.lock:
            self.cloud.resources[job["name"]] = job
        return _public(job)

    def _list(self, parent: str, query: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
        prefix = f"{canonical(parent)}/tuningJobs/"
        with self.cloud.lock:
            found = [job for name, job in self.cloud.resources.items() if name.startswith(prefix)]
            found = list(filter(self.cloud.is_listed, found))
            for job in found:
                self._finish_cancelling(job)
        begin, size = int(query.get("pageToken", 0)), int(query.get("pageSize", 50))
        if not 0 < size <= 100:
            raise exceptions.InvalidArgument(f"page_size must be in [1, 100], is {size}.")
        with self.cloud.lock:  # nobody sees a job's success without what it has made
            page = {"tuningJobs": [_public(job) for job in found[begin : begin + size]]}
        more = {"nextPageToken": str(begin + size)} if begin + size < len(found) else {}
        return page | more

    def _get(self, name: str, query: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
        job = self.cloud.find(name)
        with self.cloud.lock:
            self._advance(job)
            return _public(job)

    def _cancel(self, name: str, query: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
        job = self.cloud.find(name)
        if job["state"] in _OVER:
            raise exceptions.FailedPrecondition(f"The TuningJob is in state {job['state']}.")
        job["state"] = "JOB_STATE_CANCELLING"
        job["_cancelling_since"] = time.monotonic()
        self._finish_cancelling(job)
        return {}

    def _finish_cancelling(self, job: dict[str, Any]) -> None:
        is_cancelling = job.get("state") == "JOB_STATE_CANCELLING"
        if is_cancelling and self.cloud.is_cancelled(job["_cancelling_since"]):
            job["state"], job["endTime"] = "JOB_STATE_CANCELLED", _time(self.cloud.now())
            job["error"] = {"code": 1, "message": "The TuningJob was cancelled."}

    def _advance(self, job: dict[str, Any]) -> None:
        self._finish_cancelling(job)
        if job["state"] == "JOB_STATE_CANCELLING":
            return
        if job["state"] in _OVER or self.hold.is_set():
            return
        self.looks[job["name"]] = self.looks.get(job["name"], 0) + 1
        if self.looks[job["name"]] == 1:
            job["state"], job["startTime"] = "JOB_STATE_RUNNING", _time(self.cloud.now())
            job["tuningJobMetadata"] = {"completedEpochCount": "1", "completedStepCount": "5"}
            return
        wanted = job["_wanted"]
        known = ("", "nan", "confused", "overfit", "unserved")
        if wanted not in known and not wanted.startswith("dropped "):
            job["state"], job["error"] = "JOB_STATE_FAILED", {"code": 3, "message": wanted}
        else:
            self._succeed(job, wanted)
        job["endTime"] = _time(self.cloud.now())

    def _succeed(self, job: dict[str, Any], wanted: str) -> None:
        dropped = int(wanted.partition(" ")[2]) if wanted.startswith("dropped ") else 0
        spec = job.get("supervisedTuningSpec") or job[_PREFERENCE]
        epochs = int(spec.get("hyperParameters", {}).get("epochCount", 1))
        kept = job["_rows"] - dropped
        is_open, tokens = bool(job.get("outputUri")), 100 * kept
        # Open models: rows are packed into sequences, and a step takes 16 of these.
        sequences = int(spec.get("hyperParameters", {}).get("batchSize", 16))
        steps = -epochs * (-tokens // (8192 * sequences) if is_open else -kept // BATCH)
        stats = {
            "tuningDatasetExampleCount": str(kept),
            "totalBillableTokenCount": str(tokens),
            "tuningStepCount": str(steps),
        }
        reasons = ["The example has more tokens than allowed."] * min(dropped, 3)
        if "supervisedTuningSpec" in job:
            stats |= (
                {"totalTruncatedExampleCount": str(dropped)} if dropped else {}
            )  # 0 is left out
            job["tuningDataStats"] = {"supervisedTuningDataStats": stats}
        else:
            job["tuningDataStats"] = {"preferenceOptimizationDataStats": stats}
        stats |= {"droppedExampleReasons": reasons} if reasons else {}
        job["state"] = "JOB_STATE_SUCCEEDED"
        if is_open:
            self._leave_weights(job["outputUri"])
        else:
            job["tunedModel"] = self._tuned(job, spec)
        last = math.nan if wanted == "nan" else 0.4
        job["experiment"] = self.board.record(job["name"], steps, last, is_open)

    def _tuned(self, job: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
        region = job["name"].split("/")[3]
        base = job.get("baseModel", "gemini-3")
        body = {
            "location": region,
            "display_name": job.get("tunedModelDisplayName", "tuned"),
            "adapter": "tuning job",
            "base": base,
            "dataset_uri": spec["trainingDatasetUri"],
            "evaluation_data_uri": spec.get("validationDatasetUri", ""),
        }
        model = self.resources.upload(body)["name"]
        epochs = int(spec.get("hyperParameters", {}).get("epochCount", 1))
        exported = [epochs] if spec.get("exportLastCheckpointOnly") else range(1, epochs + 1)
        endpoints = []
        for _ in exported:
            endpoint = self.resources.deploy({**body, "model": model})["name"]
            if base.startswith("gemini-3"):
                endpoint = self.resources.move(endpoint, _SERVED_IN.get(region, region))
            endpoints.append(endpoint)
        if job["_wanted"] == "confused" or (job["_wanted"] == "overfit" and len(endpoints) > 1):
            self.resources.confuse(endpoint)
        checkpoints = [
            {"checkpointId": str(n), "epoch": str(n), "step": str(5 * n), "endpoint": each}
            for n, each in zip(exported, endpoints, strict=True)
        ]
        if job["_wanted"] == "unserved":
            del checkpoints[0]["endpoint"]
        only_last = spec.get("exportLastCheckpointOnly")
        more = {} if only_last else {"checkpoints": checkpoints}
        return {"model": model, "endpoint": endpoint, **more}

    def _base_of(self, tuned: dict[str, Any]) -> str:
        name = tuned.get("tuned_model_name") or tuned.get("tunedModelName")
        made = (
            job for job in self.jobs().values() if job.get("tunedModel", {}).get("model") == name
        )
        return str(next(made, {}).get("baseModel", "gemini-3.5-flash"))

    def _leave_weights(self, uri: str) -> None:
        place = self.cloud.buckets / uri.removeprefix("gs://")
        folder = place / "postprocess" / "node-0" / "checkpoints" / "final"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.safetensors").write_bytes(b"weights")

    def _rows(self, uri: str) -> list[dict[str, Any]]:
        path = self.cloud.buckets / uri.removeprefix("gs://")
        if not uri.startswith("gs://") or not path.is_file():
            raise exceptions.InvalidArgument(f"The dataset {uri!r} does not exist.")
        return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]

    def _generate(self, model: str, query: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
        from google.cloud.aiplatform_v1beta1 import GenerateContentRequest

        request = _parsed(_without_level(body), GenerateContentRequest.pb()())
        if not request.contents:
            raise exceptions.InvalidArgument("contents is not specified.")
        _check_thinking(model, body)
        if "gemini-4" in model and "temperature" in body.get("generationConfig", {}):
            raise exceptions.InvalidArgument("temperature is not supported by this model.")
        publisher = model.partition("/publishers/google/models/")[2]
        if publisher and not _ANSWERS.match(publisher):
            raise exceptions.NotFound(f"Publisher Model `{publisher}` was not found.")
        asked = question(json_format.MessageToDict(request.contents[-1]))
        if not _judgement(asked) and _thinks_too_long(body):
            return {"candidates": [{"finishReason": "MAX_TOKENS"}]}
        text = _judgement(asked) or self.resources.known_answer(model, asked)
        if text == "BLOCK":
            return {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
        parts = [{"text": text}]
        if text.startswith("[{"):
            parts = json.loads(text)
            if any("functionCall" in part for part in parts) and not request.tools:
                parts = [{"text": "I know no function to call."}]
        if _thinks(body):
            parts.insert(0, {"text": "Let me think.", "thought": True})
        content = {"role": "model", "parts": parts}
        return {"candidates": [{"content": content, "finishReason": "STOP"}]}

    def _update(self, name: str, query: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
        """Move a model's default checkpoint; the job that made it says which there are."""
        self.cloud.find(name)
        wanted = str(body.get("defaultCheckpointId", ""))
        for job in self.jobs().values():
            tuned = job.get("tunedModel", {})
            known = [each["checkpointId"] for each in tuned.get("checkpoints", ())]
            made = str(tuned.get("model", "")).partition("@")[0] == canonical(name)
            if made and wanted not in known:
                raise exceptions.InvalidArgument(f"There is no checkpoint {wanted}.")
        self.default_checkpoints[canonical(name)] = wanted
        return {"name": canonical(name), "defaultCheckpointId": wanted}

    def _count(self, model: str, query: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
        """A token for every three characters; Google's own count is not known here."""
        from google.cloud.aiplatform_v1beta1 import CountTokensRequest

        request = _parsed(body, CountTokensRequest.pb()())
        if not request.contents:
            raise exceptions.InvalidArgument("contents is not specified.")
        texts = [part.text for content in request.contents for part in content.parts]
        return {"totalTokens": sum(-(-len(text) // 3) for text in texts)}


def _thinks(body: dict[str, Any]) -> bool:
    """A model that is told to think much shows its thoughts."""
    thinking = body.get("generationConfig", {}).get("thinkingConfig", {})
    return "HIGH" in (thinking.get("thinkingLevel"), thinking.get("thinking_level"))


def _judgement(question: str) -> str:
    """As a judge it wants the reference itself; "" for any other question."""
    marks = ("reference", "answer-A", "answer-B")
    found = [re.search(f"<{mark}>\n(.*?)\n</{mark}>", question, re.DOTALL) for mark in marks]
    if not all(found):
        return ""
    reference, first, second = (one[1] for one in found if one)
    if (first == reference) == (second == reference):
        return "TIE"
    return "A" if first == reference else "B"


def _checked(body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a TuningJob; an unknown field or value is a 400.

    Returns the job as Google writes it back, whole numbers as strings, and its one spec.
    """
    from google.cloud.aiplatform_v1beta1 import TuningJob
    from google.genai import types

    known = {name: value for name, value in body.items() if name != _PREFERENCE}
    message = _parsed(known, TuningJob.pb()())
    if _PREFERENCE in body:
        try:
            types.PreferenceOptimizationSpec.model_validate(body[_PREFERENCE])
        except ValueError as error:
            raise exceptions.InvalidArgument(f"Invalid JSON payload received. {error}") from error
    specs = [body[name] for name in ("supervisedTuningSpec", _PREFERENCE) if name in body]
    if len(specs) != 1:
        raise exceptions.InvalidArgument("exactly one tuning spec must be set.")
    if bool(message.base_model) == bool(message.pre_tuned_model.tuned_model_name):
        raise exceptions.InvalidArgument("one of base_model and pre_tuned_model must be set.")
    if message.base_model and not _ANSWERS.match(message.base_model):
        raise exceptions.InvalidArgument(f"Base model {message.base_model} is not supported.")
    is_open = "@" in message.base_model
    if is_open != bool(message.output_uri):
        raise exceptions.InvalidArgument("output_uri belongs to open models, and they need it.")
    if is_open and message.supervised_tuning_spec.hyper_parameters.learning_rate_multiplier:
        raise exceptions.InvalidArgument("learning_rate_multiplier is not supported.")
    written = json_format.MessageToDict(message)
    if _PREFERENCE in body:
        written[_PREFERENCE] = _in_strings(body[_PREFERENCE])
    return written, dict(specs[0])


def _in_strings(spec: dict[str, Any]) -> dict[str, Any]:
    numbers = spec.get("hyperParameters", {})
    epochs = {"epochCount": str(numbers["epochCount"])} if "epochCount" in numbers else {}
    return {**spec, "hyperParameters": {**numbers, **epochs}}


def _without_level(body: dict[str, Any]) -> dict[str, Any]:
    """Check thinkingLevel, which the generated package of this version does not know yet."""
    from google.genai import types

    config = dict(body.get("generationConfig", {}))
    thinking = dict(config.get("thinkingConfig", {}))
    # google-genai sends both spellings.
    level = thinking.pop("thinkingLevel", "") or thinking.pop("thinking_level", "")
    if level and level not in types.ThinkingLevel.__members__:
        raise exceptions.InvalidArgument(f"Invalid value at thinking_level: {level}.")
    if level and {"thinkingBudget", "thinking_budget"} & thinking.keys():
        raise exceptions.InvalidArgument("thinking_level and thinking_budget exclude each other.")
    return body | {"generationConfig": config | {"thinkingConfig": thinking}}


def _thinks_too_long(body: dict[str, Any]) -> bool:
    """Who is not told to think little spends a short answer's tokens on it."""
    config = body.get("generationConfig", {})
    return not config.get("thinkingConfig") and 0 < config.get("maxOutputTokens", 0) <= 256


def _check_thinking(model: str, body: dict[str, Any]) -> None:
    """Only Gemini 3 knows levels, and its tuned models answer in a multi-region."""
    thinking = body.get("generationConfig", {}).get("thinkingConfig", {})
    is_older = "/endpoints/" in model and model.split("/")[3] not in ("us", "eu")
    if is_older and {"thinkingLevel", "thinking_level"} & thinking.keys():
        raise exceptions.InvalidArgument("Thinking level is not supported by this model.")


def _parsed(body: dict[str, Any], message: Any) -> Any:
    try:
        return json_format.ParseDict(body, message)
    except json_format.ParseError as error:
        raise exceptions.InvalidArgument(f"Invalid JSON payload received. {error}") from error


def _public(job: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in job.items() if not name.startswith("_")}


def _time(moment: Any) -> str:
    return str(moment.isoformat()).replace("+00:00", "Z")
