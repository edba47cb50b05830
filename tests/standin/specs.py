"""Reading a pipeline spec as strictly as Google does, and the parameters with it."""

from __future__ import annotations

from typing import Any

from google.api_core import exceptions
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

ARGUMENT_BYTES = 131_072  # Linux: one argument of a command, with its closing zero
_EXECUTOR_FIELDS = {"container", "importer"}


def parse_spec(spec: dict[str, Any]) -> pipeline_spec_pb2.PipelineSpec:
    """Read a spec; an unknown field, a bad type or an over-long argument is a 400."""
    try:
        parsed = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
        deployment = json_format.ParseDict(
            spec["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig()
        )
    except (json_format.ParseError, KeyError) as error:
        raise exceptions.InvalidArgument(f"Invalid pipeline_spec: {error}") from error
    _check_components(parsed, deployment)
    return parsed


def _check_components(spec: Any, deployment: Any) -> None:
    if not spec.pipeline_info.name or not spec.schema_version:
        raise exceptions.InvalidArgument("pipeline_spec needs pipelineInfo.name and schemaVersion.")
    for name, component in spec.components.items():
        label = component.executor_label
        if label and label not in deployment.executors:
            raise exceptions.InvalidArgument(f"Component {name} has no executor {label}.")
    for name, executor in deployment.executors.items():
        for argument in (*executor.container.command, *executor.container.args):
            if len(argument.encode()) >= ARGUMENT_BYTES:
                raise exceptions.InvalidArgument(f"Executor {name}: an argument is too long.")
    tasks = [*spec.root.dag.tasks.values()]
    tasks += [task for c in spec.components.values() for task in c.dag.tasks.values()]
    for task in tasks:
        if task.component_ref.name not in spec.components:
            raise exceptions.InvalidArgument(f"Unknown component {task.component_ref.name}.")


def checked_parameters(spec: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Check a job's parameters against the root's inputs; whole numbers come back as int."""
    inputs = spec.root.input_definitions.parameters
    unknown = sorted(set(given) - set(inputs))
    if unknown:
        raise exceptions.InvalidArgument(
            f"Invalid runtime parameters: {', '.join(unknown)} not found in the pipeline's inputs."
        )
    for name, definition in inputs.items():
        required = not definition.HasField("default_value") and not definition.is_optional
        if required and name not in given:
            raise exceptions.InvalidArgument(f"Missing required input parameter: {name}.")
    return {name: _typed(name, value, inputs[name].parameter_type) for name, value in given.items()}


def _typed(name: str, value: Any, kind: int) -> Any:
    kinds = pipeline_spec_pb2.ParameterType.ParameterTypeEnum
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    right = {
        kinds.STRING: isinstance(value, str),
        kinds.BOOLEAN: isinstance(value, bool),
        kinds.NUMBER_DOUBLE: number,
        kinds.NUMBER_INTEGER: number and float(value).is_integer(),
        kinds.LIST: isinstance(value, list),
        kinds.STRUCT: isinstance(value, dict),
    }.get(kind, True)
    if not right:
        raise exceptions.InvalidArgument(
            f"Invalid runtime parameter {name}: not a {kinds.Name(kind)}."
        )
    return int(value) if kind == kinds.NUMBER_INTEGER else value
