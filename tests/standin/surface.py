"""Which methods Google's services have, read from Google's own generated clients.

Nothing here is written by hand but the list of services: paths, message types and REST
bindings come out of the transports of the installed package.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.longrunning import operations_pb2  # noqa: F401  (fills the descriptor pool)
from google.protobuf import descriptor_pool, empty_pb2, message_factory

AIPLATFORM = "google.cloud.aiplatform_v1"
RESOURCE_MANAGER = "google.cloud.resourcemanager_v3"
SERVICES = (
    (AIPLATFORM, "PipelineService"),
    (f"{AIPLATFORM}beta1", "PipelineService"),
    (AIPLATFORM, "JobService"),
    (AIPLATFORM, "ScheduleService"),
    (f"{AIPLATFORM}beta1", "ScheduleService"),
    (AIPLATFORM, "DatasetService"),
    (AIPLATFORM, "ModelService"),
    (AIPLATFORM, "ModelGardenService"),
    (AIPLATFORM, "EndpointService"),
    (AIPLATFORM, "PredictionService"),
    (AIPLATFORM, "MetadataService"),
    (AIPLATFORM, "TensorboardService"),
    (RESOURCE_MANAGER, "Projects"),
)


@dataclass(frozen=True)
class Binding:
    """One REST spelling of a method: the verb, the path as a pattern, and the body's field."""

    verb: str
    pattern: re.Pattern[str]
    fields: tuple[str, ...]
    body: str


@dataclass(frozen=True)
class Method:
    """One method: its gRPC path, its message types, its REST bindings."""

    path: str
    request: type
    response: type
    streams: bool
    bindings: tuple[Binding, ...] = field(default=())

    @property
    def name(self) -> str:
        """`CreatePipelineJob`, without package and service."""
        return self.path.rpartition("/")[2]


class _Recorder(grpc.Channel):
    """A channel that calls nothing and remembers which methods a transport knows."""

    def __init__(self) -> None:
        self.methods: dict[str, Method] = {}

    def _record(self, streams: bool) -> Callable[..., Callable[..., None]]:
        def multi_callable(path: str, *serializers: Any, **named: Any) -> Callable[..., None]:
            request, response = _types(path, *serializers, **named)
            if request:
                self.methods[path] = Method(path, request, response, streams)
            return lambda *request, **options: None

        return multi_callable

    @property
    def unary_unary(self) -> Any:
        return self._record(False)

    @property
    def unary_stream(self) -> Any:
        return self._record(True)

    @property
    def stream_unary(self) -> Any:
        return lambda *args, **kwargs: lambda *request: None

    stream_stream = stream_unary

    def subscribe(self, *args: Any, **kwargs: Any) -> None: ...

    def unsubscribe(self, *args: Any, **kwargs: Any) -> None: ...

    def close(self) -> None: ...

    def __enter__(self) -> _Recorder:
        return self

    def __exit__(self, *exception: Any) -> None: ...


def read_surface() -> dict[str, Method]:
    """List every method of SERVICES, by gRPC path."""
    surface: dict[str, Method] = {}
    for package, service in SERVICES:
        surface |= _read_service(package, service)
    return surface


def _read_service(package: str, service: str) -> dict[str, Method]:
    module = f"{package}.services.{_snake(service)}"
    transport = getattr(importlib.import_module(module), f"{service}Client").get_transport_class(
        "grpc"
    )
    recorder = _Recorder()
    instance = transport(channel=recorder)
    # The transport wraps its channel into an interceptor that asks for a method when it is called.
    instance._logged_channel, instance._stubs = recorder, {}
    for name in dir(transport):
        if isinstance(getattr(transport, name), property):
            getattr(instance, name)
    rest = getattr(
        importlib.import_module(f"{module}.transports.rest_base"), f"_Base{service}RestTransport"
    )
    return {
        path: Method(m.path, m.request, m.response, m.streams, _bindings(rest, m.name))
        for path, m in recorder.methods.items()
    }


def _bindings(rest: type, method: str) -> tuple[Binding, ...]:
    base = getattr(rest, f"_Base{method}", None)
    options = base._get_http_options() if base else []
    return tuple(_binding(option) for option in options)


def _binding(option: dict[str, str]) -> Binding:
    fields: list[str] = []

    def capture(match: re.Match[str]) -> str:
        name, _, template = match.group(1).partition("=")
        fields.append(name)
        return "(" + _path_pattern(template or "*") + ")"

    pattern = "".join(
        re.sub(r"\{([^}]+)\}", capture, part) if part.startswith("{") else re.escape(part)
        for part in re.split(r"(\{[^}]+\})", option["uri"])
    )
    return Binding(
        option["method"].upper(), re.compile(pattern + r"\Z"), tuple(fields), option.get("body", "")
    )


def _path_pattern(template: str) -> str:
    return re.escape(template).replace(r"\*\*", ".+").replace(r"\*", "[^/:]+")


def _types(
    path: str, request_serializer: Any, response_deserializer: Any, *_: Any, **__: Any
) -> tuple[type | None, type]:
    response = _owner(response_deserializer)
    request = getattr(request_serializer, "__self__", None)
    return request if isinstance(request, type) else _described(path), response


def _described(path: str) -> type | None:
    """The request type of a mixed-in method, whose serializer does not name it."""
    service, _, method = path.strip("/").partition("/")
    if not service.startswith("google.longrunning."):
        return None
    descriptor = descriptor_pool.Default().FindServiceByName(service)
    return message_factory.GetMessageClass(descriptor.methods_by_name[method].input_type)


def _owner(serializer: Any) -> type:
    """The message class whose bound `deserialize` or `FromString` this is."""
    if serializer is None:  # how the generated code spells "no answer is read"
        return empty_pb2.Empty
    return serializer.__self__


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
