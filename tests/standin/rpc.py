"""gRPC: every generated method, through one generic handler."""

from __future__ import annotations

from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from google.api_core import exceptions
from google.protobuf import json_format

from .cloud import Cloud, Dropped, Outlived
from .discovery import message_problems
from .surface import Method


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, cloud: Cloud, surface: dict[str, Method]) -> None:
        self.cloud, self.surface = cloud, surface

    def _compare(self, request: Any, reply: Any) -> None:
        """Hold the resources in a call and its answer against Google's discovery documents."""
        bodies = [(type(reply), _json_of(reply), False)] if reply is not None else []
        for field in ("pipeline_job", "schedule", "dataset", "model_evaluation"):
            if (body := getattr(request, field, None)) is not None:
                bodies.append((type(body), _json_of(body), True))
        for kind, body, sent in bodies:
            self.cloud.mismatches += message_problems(kind, body, sent=sent)

    def service(self, details: Any) -> Any:
        method = self.surface.get(details.method)
        if method is None or method.streams:
            return None
        bearer = dict(details.invocation_metadata).get("authorization", "")

        def answer(request: Any, context: Any) -> Any:
            host = context._rpc_event.call_details.host.decode().partition(":")[0]
            try:
                reply = self.cloud.call(
                    method.name, request, host=host, transport="grpc", bearer=str(bearer)
                )
                self._compare(request, reply)
                return reply
            except Dropped:
                self.cloud.drop_connections()
                context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
            except Outlived:
                context.abort(grpc.StatusCode.CANCELLED, "The test is over.")
            except exceptions.GoogleAPICallError as error:
                context.abort(error.grpc_status_code or grpc.StatusCode.UNKNOWN, error.message)

        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=_deserializer(method.request),
            response_serializer=_serialize,
        )


def _json_of(message: Any) -> Any:
    plain = type(message).pb(message) if hasattr(type(message), "pb") else message
    return json_format.MessageToDict(plain)


def serve(
    cloud: Cloud, surface: dict[str, Method], certificate: Path, key: Path
) -> tuple[Any, int]:
    """Start the server on a free port; returns it and the port."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32))
    server.add_generic_rpc_handlers([_Handler(cloud, surface)])
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    return server, port


def _deserializer(kind: Any) -> Any:
    return kind.deserialize if hasattr(kind, "deserialize") else kind.FromString


def _serialize(message: Any) -> bytes:
    if message is None:
        return b""
    kind = type(message)
    return bytes(
        kind.serialize(message) if hasattr(kind, "serialize") else message.SerializeToString()
    )
