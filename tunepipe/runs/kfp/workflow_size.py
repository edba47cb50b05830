"""Estimates a pipeline's Workflow on open-source KFP, and whether Argo can store it.

KFP makes one Argo Workflow of a run and keeps in it, for each task, the task's code and inputs
several times: in the driver's inputs, its output `pod-spec-patch`, and the inputs of the executor
and of its pod; since KFP 2.17 each node has a retry parent that repeats them. Argo ends a run in
Error when its Workflow exceeds 1 MiB (MAX_WORKFLOW_SIZE), and then no exit task runs. Read off
kubeflow/pipelines backend/src/v2/compiler/argocompiler and argo-workflows workflow/packer; an
estimate that errs on the large side.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tunepipe.errors import LimitError

WORKFLOW_BYTES = 1 << 20
# All parameters of a run together (the API server's MAX_PARAMETER_BYTES).
PARAMETER_BYTES = 10_000
# One argument of a process (Linux, MAX_ARG_STRLEN).
ARGUMENT_BYTES = 131_071
# KFP's own templates, metadata and security contexts, in each Workflow.
_FIXED_BYTES = 15_000
# Names, times, states and the like of one node, and the launcher's own arguments.
_NODE_BYTES, _LAUNCHER_BYTES = 800, 900
_NODES_OF_RETRY = 2


@dataclass(frozen=True)
class WorkflowSize:
    """Bytes of a run's Workflow when it is created, and as Argo stores it when all have run."""

    created: int
    finished: int
    largest_task: str
    largest_task_bytes: int


def estimate(spec: Mapping[str, Any]) -> WorkflowSize:
    """Estimate the Workflow of a compiled pipeline on KFP 2.17, whose tasks all run."""
    components, executors = spec["components"], spec["deploymentSpec"]["executors"]
    texts = [_text(spec["root"]), *map(_text, components.values()), *map(_text, executors.values())]
    # As text inside the Workflow's JSON, once as an argument and once in the templates' tasks.
    created = _FIXED_BYTES + sum(len(json.dumps(text)) for text in {*texts})
    tasks = list(_tasks(spec, spec["root"]))
    created += sum(len(json.dumps(_text(task))) + _NODE_BYTES for _, task, _ in tasks)
    nodes: list[str] = []
    sizes: dict[str, int] = {}
    for name, task, times in tasks:
        added = _nodes(task, components[task["componentRef"]["name"]], executors) * times
        nodes += added
        sizes[name] = sum(map(len, added))
    plain = created + sum(map(len, nodes))
    # Argo compresses what is large: gzip, then base64.
    packed = base64.b64encode(zlib.compress("".join(nodes).encode(), 6))
    finished = plain if plain <= WORKFLOW_BYTES else created + len(packed)
    largest = max(sizes, key=lambda name: sizes[name])
    return WorkflowSize(created, finished, largest, sizes[largest])


def require_fit(spec: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
    """Refuse a run that the host could not carry to its end, before it is sent."""
    sizes = {name: len(_text(value).encode()) for name, value in parameters.items()}
    if (size := len(_text(dict(parameters)).encode())) > PARAMETER_BYTES:
        largest = max(sizes, key=lambda name: sizes[name])
        raise LimitError(
            f"the parameters take {size:,} bytes, and a KFP host takes {PARAMETER_BYTES:,}",
            where=f"{largest} ({sizes[largest]:,} bytes)",
            fix=f"shorten {largest}; prices and models can be set in the image's own tables",
        )
    for name, executor in spec["deploymentSpec"]["executors"].items():
        container = executor.get("container", {})
        for argument in (*container.get("command", ()), *container.get("args", ())):
            if len(str(argument).encode()) > ARGUMENT_BYTES:
                raise LimitError(
                    f"an argument of a step takes more than {ARGUMENT_BYTES:,} bytes",
                    where=name,
                    fix="run the pipeline whose steps carry no code: tunepipe compile",
                )
    estimated = estimate(spec)
    if max(estimated.created, estimated.finished) > WORKFLOW_BYTES:
        raise LimitError(
            f"the run's Workflow would grow to about {estimated.finished:,} bytes, and Argo ends a "
            f"run in Error above {WORKFLOW_BYTES:,}",
            where=f"{estimated.largest_task} (about {estimated.largest_task_bytes:,} bytes)",
            fix="run the pipeline whose steps carry no code (tunepipe compile), with --image or "
            "--code; or have the cluster's admin raise Argo's MAX_WORKFLOW_SIZE",
        )


def _tasks(
    spec: Mapping[str, Any], unit: Mapping[str, Any], times: int = 1
) -> Iterator[tuple[str, Mapping[str, Any], int]]:
    """Yield every task below a unit, and how often it runs; a loop runs at least twice."""
    for name, task in unit.get("dag", {}).get("tasks", {}).items():
        items = task.get("parameterIterator", {}).get("items")
        rounds = 1 if items is None else max(2, len(json.loads(items.get("raw", "[]"))))
        # A loop has a node of its own, and one for each round.
        yield name, task, times if items is None else times * (1 + rounds)
        yield from _tasks(spec, spec["components"][task["componentRef"]["name"]], times * rounds)


def _nodes(
    task: Mapping[str, Any], component: Mapping[str, Any], executors: Mapping[str, Any]
) -> list[str]:
    inputs = json.dumps(_text(task)) + json.dumps(_text(component))
    shell = "x" * _NODE_BYTES
    container = executors.get(component.get("executorLabel", ""), {}).get("container")
    if not container:  # a condition, a loop or an importer: a driver and its DAG
        return [inputs + shell, shell] * _NODES_OF_RETRY
    code = json.dumps(_text(container))
    # The launcher gets the inputs as JSON, and the step's own arguments repeat them; values have
    # common lengths.
    inputs_of, outputs_of = (
        component.get(f"{side}Definitions", {}) for side in ("input", "output")
    )
    artifact = {"artifacts": [{"name": "a" * 40, "uri": "u" * 220, "metadata": {}}]}
    names = [*inputs_of.get("artifacts", {}), *outputs_of.get("artifacts", {})]
    received = {
        "inputs": {
            "parameterValues": dict.fromkeys(inputs_of.get("parameters", {}), "v" * 45),
            "artifacts": dict.fromkeys(names, artifact),
        },
        "outputs": {
            name: {"outputFile": f"/tmp/kfp/outputs/{name}"}  # noqa: S108 - a text's length
            for name in outputs_of.get("parameters", {})
        },
    }
    twice = [json.dumps(_text(received))] * 2
    arguments = [*container.get("command", ()), *container.get("args", ()), *twice]
    patch = json.dumps(_text([*arguments, _text(component)])) + "x" * _LAUNCHER_BYTES
    return [inputs + code + patch + shell, patch + shell, patch + shell] * _NODES_OF_RETRY


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
