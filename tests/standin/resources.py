"""Datasets, models, endpoints, predictions, operations and projects."""

from __future__ import annotations

import difflib
import json
import re
from typing import Any

from google.api_core import exceptions
from google.cloud import aiplatform_v1 as api
from google.cloud.resourcemanager_v3 import GetProjectRequest, Project
from google.longrunning import operations_pb2
from google.protobuf import any_pb2, empty_pb2, json_format

from .cloud import PROJECTS, Cloud, canonical
from .custom_jobs import MACHINES
from .filters import matches


class Resources:
    """What a tuning leaves behind, and what is asked of it."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.rows: dict[str, list[tuple[str, str]]] = {}
        cloud.resets.append(self.rows.clear)

    # --- operations: everything is done when it is answered
    def done(self, parent: str, response: Any) -> operations_pb2.Operation:
        name = f"{'/'.join(canonical(parent).split('/')[:4])}/operations/{self.cloud.new_id()}"
        packed = any_pb2.Any()
        packed.Pack(type(response).pb(response) if hasattr(type(response), "pb") else response)
        operation = operations_pb2.Operation(name=name, done=True, response=packed)
        self.cloud.resources[name] = operation
        return operation

    def GetOperation(self, request: Any) -> operations_pb2.Operation:
        found: operations_pb2.Operation = self.cloud.find(request.name)
        return found

    # --- datasets
    def CreateDataset(self, request: api.CreateDatasetRequest) -> operations_pb2.Operation:
        dataset = api.Dataset(request.dataset)
        if not dataset.display_name or not dataset.metadata_schema_uri:
            raise exceptions.InvalidArgument("display_name and metadata_schema_uri are required.")
        if len(dataset.saved_queries) > 1:
            raise exceptions.InvalidArgument("at most one saved query can be set.")
        self._name(dataset, request.parent, "datasets")
        return self.done(request.parent, self.cloud.store(dataset))

    def GetDataset(self, request: Any) -> api.Dataset:
        dataset: api.Dataset = self.cloud.find(request.name)
        return dataset

    def ListDatasets(self, request: Any) -> api.ListDatasetsResponse:
        return api.ListDatasetsResponse(datasets=self.cloud.listed(request.parent, "datasets"))

    # --- models and endpoints
    def GetModel(self, request: Any) -> api.Model:
        name = request.name.partition("@")[0]
        model: api.Model = self.cloud.find(name)
        return model

    def GetPublisherModel(self, request: api.GetPublisherModelRequest) -> api.PublisherModel:
        """A model of Model Garden, with the folder of its weights: of the fact `model_garden`."""
        folder = self.cloud.facts.get("model_garden", {}).get(request.name)
        if folder is None:
            raise exceptions.NotFound(f"Publisher Model `{request.name}` is not found.")
        model = api.PublisherModel(name=request.name)
        if request.view == api.PublisherModelView.PUBLISHER_MODEL_VIEW_FULL:
            model.supported_actions.deploy.artifact_uri = folder
        return model

    def ListModels(self, request: Any) -> api.ListModelsResponse:
        return api.ListModelsResponse(models=self.cloud.listed(request.parent, "models"))

    def MergeVersionAliases(self, request: Any) -> api.Model:
        if "@" not in request.name:
            raise exceptions.InvalidArgument("The name must include a version.")
        model: api.Model = self.cloud.find(request.name.partition("@")[0])
        for alias in request.version_aliases:
            kept = [one for one in model.version_aliases if one != alias.removeprefix("-")]
            model.version_aliases = kept if alias.startswith("-") else [*kept, alias]
        return model

    def ImportModelEvaluation(self, request: Any) -> api.ModelEvaluation:
        model = self.cloud.find(request.parent.partition("@")[0])
        evaluation = api.ModelEvaluation(request.model_evaluation)
        known = ("classification", "general_text_generation", "question_answering")
        schema = f"schema/modelevaluation/({'|'.join(known)})_metrics_1.0.0.yaml"
        if not re.search(schema, evaluation.metrics_schema_uri):
            raise exceptions.InvalidArgument("metrics_schema_uri names no schema.")
        if not json_format.MessageToDict(api.ModelEvaluation.pb(evaluation).metrics):
            raise exceptions.InvalidArgument("metrics is required.")
        evaluation.name = f"{model.name}/evaluations/{self.cloud.new_id()}"
        evaluation.create_time = self.cloud.now()
        stored: api.ModelEvaluation = self.cloud.store(evaluation)
        return stored

    def ListModelEvaluations(self, request: Any) -> api.ListModelEvaluationsResponse:
        model = self.cloud.find(request.parent.partition("@")[0])
        found = self.cloud.listed(model.name, "evaluations")
        return api.ListModelEvaluationsResponse(model_evaluations=found)

    def GetModelEvaluation(self, request: Any) -> api.ModelEvaluation:
        evaluation: api.ModelEvaluation = self.cloud.find(request.name)
        return evaluation

    def UploadModel(self, request: api.UploadModelRequest) -> operations_pb2.Operation:
        model = api.Model(request.model)
        container = model.container_spec
        if not (model.display_name and container.image_uri):
            raise exceptions.InvalidArgument("display_name and image_uri are required.")
        if not (container.predict_route.startswith("/") and container.health_route.startswith("/")):
            raise exceptions.InvalidArgument("predict_route and health_route must begin with /.")
        if not (self.cloud.buckets / model.artifact_uri.removeprefix("gs://")).is_dir():
            raise exceptions.InvalidArgument(f"{model.artifact_uri} holds nothing.")
        model.version_id = "1"
        self.cloud.store(self._name(model, request.parent, "models"))
        return self.done(
            request.parent, api.UploadModelResponse(model=model.name, model_version_id="1")
        )

    def CreateEndpoint(self, request: api.CreateEndpointRequest) -> operations_pb2.Operation:
        endpoint = api.Endpoint(request.endpoint)
        if not endpoint.display_name or endpoint.deployed_models:
            raise exceptions.InvalidArgument("display_name is required, deployed_models is output.")
        self._name(endpoint, request.parent, "endpoints")
        return self.done(request.parent, self.cloud.store(endpoint))

    def DeployModel(self, request: api.DeployModelRequest) -> operations_pb2.Operation:
        endpoint = self.cloud.find(request.endpoint)
        deployed = api.DeployedModel(request.deployed_model)
        model = self.cloud.find(deployed.model)
        machine = deployed.dedicated_resources.machine_spec
        if MACHINES.get(machine.machine_type) != (
            machine.accelerator_type.name,
            machine.accelerator_count,
        ):
            raise exceptions.InvalidArgument(f"Machine type {machine.machine_type} is not valid.")
        if dict(request.traffic_split) != {"0": 100}:
            raise exceptions.InvalidArgument("The traffic must add up to 100.")
        deployed.id = self.cloud.new_id()
        endpoint.deployed_models.append(deployed)
        # It knows what its own tuning was taught.
        task = self.cloud.buckets / model.artifact_uri.removeprefix("gs://") / "../task.json"
        if task.is_file():
            taught = json.loads(task.read_text())["request"]["train_uri"]
            self.rows[endpoint.name] = self._read_rows(taught)
        return self.done(request.endpoint, api.DeployModelResponse(deployed_model=deployed))

    def DeleteModel(self, request: Any) -> operations_pb2.Operation:
        return self._delete(request.name)

    def GetEndpoint(self, request: Any) -> api.Endpoint:
        endpoint: api.Endpoint = self.cloud.find(request.name)
        return endpoint

    def ListEndpoints(self, request: Any) -> api.ListEndpointsResponse:
        found = self.cloud.listed(request.parent, "endpoints")
        found = [endpoint for endpoint in found if matches(endpoint, request.filter)]
        return api.ListEndpointsResponse(endpoints=found)

    def UndeployModel(self, request: Any) -> operations_pb2.Operation:
        endpoint = self.cloud.find(request.endpoint)
        kept = [m for m in endpoint.deployed_models if m.id != request.deployed_model_id]
        if len(kept) == len(endpoint.deployed_models):
            raise exceptions.NotFound(f"DeployedModel {request.deployed_model_id} is not found.")
        endpoint.deployed_models = kept
        return self.done(request.endpoint, api.UndeployModelResponse())

    def DeleteEndpoint(self, request: Any) -> operations_pb2.Operation:
        if self.cloud.find(request.name).deployed_models:
            raise exceptions.FailedPrecondition("The endpoint has deployed models.")
        return self._delete(request.name)

    def _delete(self, name: str) -> operations_pb2.Operation:
        self.cloud.find(name)
        del self.cloud.resources[canonical(name)]
        return self.done(name, empty_pb2.Empty())

    # --- what the template's last two tasks ask for, through the admin address
    def upload(self, body: dict[str, str]) -> dict[str, str]:
        parent = f"projects/{next(iter(PROJECTS.values()))}/locations/{body['location']}"
        model = api.Model(display_name=body["display_name"], version_id="1")
        model.labels = {"google-vertex-llm-tuning-base-model-id": _label(body["base"])}
        model.description = body["adapter"]
        self.cloud.store(self._name(model, parent, "models"))
        return {"name": f"{model.name}@1"}

    def deploy(self, body: dict[str, str]) -> dict[str, str]:
        parent = body["model"].partition("/models/")[0]
        deployed = api.DeployedModel(id=self.cloud.new_id(), model=body["model"])
        endpoint = api.Endpoint(display_name=body["display_name"], deployed_models=[deployed])
        self.cloud.store(self._name(endpoint, parent, "endpoints"))
        # What is learned carries over: it knows nine in ten of the rows it was not taught.
        carried = self._read_rows(body.get("evaluation_data_uri", ""))
        carried = [row for number, row in enumerate(carried) if number % 10 != 9]
        self.rows[endpoint.name] = self._read_rows(body["dataset_uri"]) + carried
        return {"name": endpoint.name}

    def move(self, name: str, location: str) -> str:
        """Serve an endpoint elsewhere, as tuned models of Gemini 3 are."""
        endpoint = self.cloud.resources.pop(name)
        parts = name.split("/")
        endpoint.name = "/".join([*parts[:3], location, *parts[4:]])
        self.cloud.store(endpoint)
        self.rows[endpoint.name] = self.rows.pop(name)
        return str(endpoint.name)

    def confuse(self, endpoint: str) -> None:
        """Let an endpoint remember the next row's answer to each question."""
        questions, answers = zip(*self.rows[endpoint], strict=True)
        self.rows[endpoint] = list(zip(questions, answers[1:] + answers[:1], strict=True))

    def known_answer(self, model: str, text: str) -> str:
        """What a model says: a tuned one what it remembers, a base model nothing of use."""
        return _answer(self._rows_of(model), text)

    # --- predictions: a tuned model remembers its rows, a base model knows nothing
    def Predict(self, request: api.PredictRequest) -> api.PredictResponse:
        parameters = json_format.MessageToDict(api.PredictRequest.pb(request).parameters) or {}
        tokens = parameters.get("maxOutputTokens", parameters.get("maxDecodeSteps", 64))
        if not 1 <= tokens <= 2048:
            raise exceptions.InvalidArgument(f"maxOutputTokens must be in [1, 2048], is {tokens}.")
        rows = self._rows_of(request.endpoint)
        instances = [
            json_format.MessageToDict(instance)
            for instance in api.PredictRequest.pb(request).instances
        ]
        if len(instances) != 1:
            raise exceptions.InvalidArgument("text models take exactly one instance a request.")
        response = api.PredictResponse()
        for instance in instances:
            text = instance.get("prompt", instance.get("content"))
            is_published = "/publishers/google/models/" in request.endpoint
            if is_published and ("chat" in request.endpoint) != ("messages" in instance):
                raise exceptions.InvalidArgument("Invalid instance: not the model's fields.")
            if "max_tokens" in instance:
                answer = _vllm(rows, instance)
            elif text is None and instance.get("messages"):
                text = instance["messages"][-1]["content"]
                answer = {"candidates": [{"author": "1", "content": _answer(rows, text)}]}
            elif isinstance(text, str) and text:
                answer = {"content": _answer(rows, text), "safetyAttributes": {"blocked": False}}
            else:
                raise exceptions.InvalidArgument("Invalid instance: no prompt.")
            value = api.PredictResponse.pb(response).predictions.add()
            json_format.ParseDict(answer, value)
        return response

    def _rows_of(self, endpoint: str) -> list[tuple[str, str]]:
        if "/publishers/google/models/" in endpoint:
            canonical(endpoint)
            return []
        self.cloud.find(endpoint)
        return self.rows.get(canonical(endpoint), [])

    def _read_rows(self, uri: str) -> list[tuple[str, str]]:
        path = self.cloud.buckets / uri.removeprefix("gs://")
        if not path.is_file():
            return []
        return [_pair(json.loads(line)) for line in path.read_text().splitlines() if line.strip()]

    # --- the project
    def GetProject(self, request: GetProjectRequest) -> Project:
        name = canonical(request.name)
        ids = {number: project for project, number in PROJECTS.items()}
        return Project(name=name, project_id=ids[name.removeprefix("projects/")])

    def _name(self, message: Any, parent: str, collection: str) -> Any:
        message.name = f"{canonical(parent)}/{collection}/{self.cloud.new_id()}"
        message.create_time = message.update_time = self.cloud.now()
        return message


def _label(text: str) -> str:
    return text.replace("@", "-").replace(".", "-")


def _pair(row: dict[str, Any]) -> tuple[str, str]:
    if "input_text" in row:
        return row["input_text"], row["output_text"]
    if "prompt" in row:
        return row["prompt"], row["completion"]
    if "contents" in row:
        asked, answers = row["contents"][-1], row.get("completions")
        best = max(answers, key=lambda one: one["score"])["completion"] if answers else asked
        asked = asked if answers else row["contents"][-2]
        return question(_typed(asked)), question(_typed(best))
    messages = row["messages"]
    return _text(messages[-2]), _text(messages[-1])


def question(content: dict[str, Any]) -> str:
    """What a model is asked, or answers: a lone text as it is, else all parts that are no thought.

    So whoever leaves a picture out asks another question.
    """
    parts = [part for part in content.get("parts", ()) if not part.get("thought")]
    if len(parts) == 1 and set(parts[0]) == {"text"}:
        return str(parts[0]["text"])
    return json.dumps(parts, sort_keys=True)


def _typed(content: dict[str, Any]) -> dict[str, Any]:
    """A content as Google's own type writes it."""
    from google.cloud.aiplatform_v1beta1 import Content

    message = json_format.ParseDict(content, Content.pb()())
    return dict(json_format.MessageToDict(message))


def _text(part: dict[str, Any]) -> str:
    """A part's or a message's text, or what else it holds."""
    text = part.get("text") or part.get("content")
    return text if isinstance(text, str) else json.dumps(part)


def _vllm(rows: list[tuple[str, str]], instance: dict[str, Any]) -> Any:
    """Answer as the server of Model Garden's open models does, to either kind of request."""
    if instance.get("@requestFormat") == "chatCompletions":
        text = _answer(rows, instance["messages"][-1]["content"])
        message = {"role": "assistant", "content": text}
        if text.startswith('{"role"'):  # a remembered message that calls functions
            message = json.loads(text)
            if not instance.get("tools"):
                message = {"role": "assistant", "content": "I know no function to call."}
        return {"choices": [{"message": message}]}
    text = instance["prompt"]
    return f"Prompt:\n{text}\nOutput:\n{_answer(rows, text)}"


def _answer(rows: list[tuple[str, str]], text: str) -> str:
    if not rows:
        return f"I do not know: {text[:40]}"
    known = dict(rows)
    if text in known:
        return known[text]
    best = max(rows, key=lambda row: difflib.SequenceMatcher(None, row[0], text).quick_ratio())
    return best[1]
