"""Changes to a compiled pipeline, as text: another image, no installing, accelerators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec
import yaml
from msgspec import Struct

from tunepipe.arguments import hint
from tunepipe.backends.local.options import device_environment
from tunepipe.errors import UsageError
from tunepipe.packaging.component import CODE_PLACEHOLDER

Spec = dict[str, Any]
ON_ACCELERATORS = ("exec-tune-local", "exec-evaluate-model")
_Kind = Literal["STRING", "BOOLEAN", "NUMBER_INTEGER", "NUMBER_DOUBLE", "LIST", "STRUCT"]
_KINDS: dict[_Kind, tuple[type, ...]] = {
    "STRING": (str,),
    "BOOLEAN": (bool,),
    "NUMBER_INTEGER": (int,),
    "NUMBER_DOUBLE": (float, int),
    "LIST": (list,),
    "STRUCT": (dict,),
}
# Compiled pipelines, JSON schemas and settings included, are nested some 20 levels deep.
DEPTH_MAX = 100
# libyaml, where it is there, takes a tenth of the time.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Parameter(Struct, rename="camel"):
    parameter_type: _Kind


class _Inputs(Struct):
    parameters: dict[str, _Parameter]


class _Info(Struct):
    name: str


class _Value(Struct):
    constant: Any = None


class _Argument(Struct, rename="camel"):
    runtime_value: _Value | None = None


class _Arguments(Struct):
    parameters: dict[str, _Argument] = {}


class _Task(Struct, rename="camel"):
    task_info: _Info | None = None
    inputs: _Arguments | None = None


class _Dag(Struct):
    tasks: dict[str, _Task] = {}


class _Component(Struct, kw_only=True):
    dag: _Dag | None = None


class _Root(_Component, rename="camel", kw_only=True):
    input_definitions: _Inputs


class _Container(Struct):
    image: str
    args: list[Any] = []


class _Executor(Struct):
    container: _Container | None = None


class _Deployment(Struct):
    executors: dict[str, _Executor]


class _Pipeline(Struct, rename="camel", kw_only=True):
    """What is read of a pipeline of any origin; Google checks the rest."""

    pipeline_info: _Info
    deployment_spec: _Deployment
    root: _Root
    components: dict[str, _Component] = {}


def rewrite(text: str, change: Callable[[Spec], None]) -> str:
    """Change a compiled pipeline or component under its header, laid out as kfp lays it out."""
    header = [line for line in text.splitlines() if line.startswith("#")]
    change(spec := read(text))
    return "\n".join([*header, yaml.dump(spec, sort_keys=True)])


def read(text: str) -> Spec:
    """Read a compiled pipeline."""
    try:
        check_depth(text)
        spec: Spec = yaml.load(text, Loader=_LOADER)  # noqa: S506 - both are the safe loader
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        line = f"line {place.line + 1}: " if place else ""
        problem = getattr(error, "problem", None) or str(error)
        raise UsageError(f"not YAML: {line}{problem}", fix="write one: tunepipe compile") from error
    return spec


def read_pipeline(text: str, where: str) -> Spec:
    """Read a pipeline that a user names; `where` is its place for messages."""
    try:
        spec = read(text)
        msgspec.convert(spec, _Pipeline)
    except UsageError as error:
        raise UsageError(error.found, where=where, fix=error.fix) from error
    except msgspec.ValidationError as error:
        fix = "write one: tunepipe compile --template SOURCE"
        raise UsageError(f"this is no compiled pipeline: {error}", where=where, fix=fix) from error
    return spec


def check_parameters(spec: Mapping[str, Any], parameters: Mapping[str, Any]) -> Spec:
    """Check parameters against a pipeline, and return those that differ from its defaults.

    Raises:
        UsageError: An unknown name, with a suggestion; a wrong type; a required one missing.
    """
    inputs = spec["root"]["inputDefinitions"]["parameters"]
    for name, value in parameters.items():
        if name not in inputs:
            raise UsageError(
                "the pipeline has no parameter of this name", where=name, fix=hint(name, inputs)
            )
        kind = inputs[name]["parameterType"]
        wrong_bool = isinstance(value, bool) and kind != "BOOLEAN"
        if wrong_bool or not isinstance(value, _KINDS[kind]):
            raise UsageError(
                f"must be {kind.lower()}, is {type(value).__name__}",
                where=name,
                fix="pass a value of this type",
            )
    differing = dict(parameters)
    for name, definition in inputs.items():
        if "defaultValue" in definition:
            if name in parameters and parameters[name] == definition["defaultValue"]:
                del differing[name]
        elif name not in parameters and not definition.get("isOptional"):
            raise UsageError("is required", where=name, fix="give it")
    return differing


def check_depth(text: str) -> None:
    """Refuse YAML that is nested so deeply that loading it would end the process.

    Raises:
        yaml.YAMLError: It is not YAML.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH_MAX:
            raise UsageError(
                f"line {event.start_mark.line + 1} is nested deeper than {DEPTH_MAX} levels",
                fix="give a compiled pipeline; write one with tunepipe compile",
            )


def containers(spec: Mapping[str, Any]) -> list[Spec]:
    """Return the containers of a pipeline's steps, to read or to change in place."""
    executors = spec["deploymentSpec"]["executors"].values()
    return [executor["container"] for executor in executors if "container" in executor]


def tasks(spec: Mapping[str, Any]) -> list[Spec]:
    """Return the tasks of a pipeline and of the graphs within it, to read or to change in place."""
    units = (spec["root"], *spec.get("components", {}).values())
    return [task for unit in units for task in unit.get("dag", {}).get("tasks", {}).values()]


def drop_retries(spec: Spec) -> None:
    """Have no step of a pipeline repeated by its host, in place."""
    for task in tasks(spec):
        task.pop("retryPolicy", None)


def thin_steps(spec: Mapping[str, Any]) -> dict[str, str]:
    """Return the steps that carry no code, with their modules in `tunepipe.components`."""
    thin = [container["args"] for container in containers(spec) if _is_thin(container)]
    return {str(arguments[3]): str(arguments[2]) for arguments in thin}


def add_accelerators(spec: Spec, accelerator: str) -> None:
    """Have the steps of the local backend that train and answer ask for GPUs, in place.

    `accelerator` is RESOURCE:COUNT, such as nvidia.com/gpu:1, as the cluster's nodes offer it.
    """
    resource, _, count = accelerator.rpartition(":")
    if not (resource and "/" in resource and count.isdecimal() and int(count)):
        raise UsageError(
            f"{accelerator!r} names no resource of a cluster",
            where="accelerator",
            fix="RESOURCE:COUNT, such as nvidia.com/gpu:1",
        )
    request = {"type": resource, "count": count, "resourceType": resource, "resourceCount": count}
    for name in ON_ACCELERATORS:
        container = spec["deploymentSpec"]["executors"][name]["container"]
        container.setdefault("resources", {})["accelerator"] = dict(request)
        if device := device_environment([resource]):
            container.setdefault("env", []).extend(device)


def set_image(spec: Spec, image: str) -> None:
    """Have the steps without code run on an image, in place; others stay on their own."""
    for container in filter(_is_thin, containers(spec)):
        container["image"] = image


def _is_thin(container: Mapping[str, Any]) -> bool:
    arguments = container.get("args", ())
    return len(arguments) > 3 and str(arguments[0]) == CODE_PLACEHOLDER
