"""What the stand-in knows: resources, faults wanted, calls seen; and how a call is answered."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from google.api_core import exceptions

from . import permissions

PROJECTS = {"demo-project": "123456789012"}
TOKEN = "standin-token"


class Dropped(Exception):
    """The connection is to be cut instead of answered."""


class Outlived(Exception):
    """The test that a call belongs to is over; its caller has been killed, and nobody listens."""


@dataclass
class Fault:
    """Trouble to make, the next `times` times that `method` is called.

    `method` is a gRPC method's name, "job" (a pipeline that runs), "token", "template" or a
    storage verb such as "storage.get". `code` is an HTTP status; `drop` cuts the connection
    "before" or "after" the call takes effect; `seconds` answers late; `held` waits until the test
    asks for the release of what is held; `after` faults when the call has taken effect;
    `late_seconds` lets it take effect that long after the fault.
    """

    method: str
    times: int = 1
    code: int = 0
    message: str = "Internal error encountered."
    drop: str = ""
    seconds: float = 0.0
    held: bool = False
    after: bool = False
    host: str = ""
    late_seconds: float = 0.0


@dataclass(frozen=True)
class Call:
    """One call that was seen."""

    method: str
    host: str
    resource: str
    transport: str
    code: int


@dataclass
class Cloud:
    """Everything that the services share. `root` holds buckets/, jobs/ and templates/."""

    root: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    resources: dict[str, Any] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    handlers: dict[str, Callable[..., Any]] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    server: Any = None  # held here: a gRPC server that nobody holds stops
    drop_connections: Callable[[], None] = lambda: None
    clock_offset_seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)  # of the project; see governance.py
    mismatches: list[str] = field(default_factory=list)  # with Google's discovery documents
    tokens: list[tuple[str, bool]] = field(default_factory=list)  # registry hosts that got one
    resets: list[Callable[[], None]] = field(default_factory=list)
    numbers: Any = field(default_factory=lambda: itertools.count(4_000_000_000_000_000_001))

    @property
    def buckets(self) -> Path:
        return self.root / "buckets"

    def now(self) -> datetime.datetime:
        return datetime.datetime.now(datetime.UTC) + datetime.timedelta(
            seconds=self.clock_offset_seconds
        )

    def is_cancelled(self, since: float) -> bool:
        """Whether a cancellation that began then, by time.monotonic(), has taken its time."""
        return time.monotonic() >= since + self.facts.get("cancelling_seconds", 0.0)

    def add_service(self, service: Any) -> None:
        """Take every method in CamelCase of an object as the handler of that name."""
        names = [name for name in dir(service) if name[0].isupper()]
        self.handlers |= {name: getattr(service, name) for name in names}

    def reset(self) -> None:
        """Forget resources, calls and faults; files in the buckets stay."""
        for reset in self.resets:
            reset()
        with self.lock:
            self.resources.clear()
            self.calls = []  # a slow call of a step just killed ends among those of its own time
            self.release()
            self.begun.clear()
            self.faults.clear()
            self.clock_offset_seconds = 0.0
            self.facts.clear()
            self.mismatches.clear()
            self.tokens.clear()

    def release(self) -> None:
        """Let every call go that is held by now."""
        with self.lock:
            self.released.set()
            self.released = threading.Event()

    def call(self, method: str, request: Any, *, host: str, transport: str, bearer: str) -> Any:
        """Answer one call of a generated method, or raise what Google would."""
        resource = resource_of(request)
        return self.guarded(
            method,
            lambda: self._handle(method, request, host=host, bearer=bearer, resource=resource),
            host=host,
            resource=resource,
            transport=transport,
        )

    def guarded(
        self,
        method: str,
        handle: Callable[[], Any],
        *,
        host: str,
        resource: str,
        transport: str,
    ) -> Any:
        """Run `handle` with the faults that are due, and remember the call."""
        with self.lock:
            fault, calls, released = self.take_fault(method, host), self.calls, self.released
            self.begun.append(method)
        code = 200
        try:
            if fault and fault.late_seconds:
                threading.Timer(fault.late_seconds, self._take_effect, (handle, calls)).start()
            if fault and not (fault.after or fault.drop == "after"):
                self._make(fault, calls, released)
            permissions.check(method, resource, self.facts.get("granted"))
            answer = handle()
            if fault and (fault.after or fault.drop == "after"):
                self._make(fault, calls, released)
            return answer
        except exceptions.GoogleAPICallError as error:
            code = int(error.code or 500)
            raise
        except (Dropped, Outlived):
            code = 0
            raise
        finally:
            with self.lock:
                calls.append(Call(method, host, resource, transport, code))

    def _take_effect(self, handle: Callable[[], Any], calls: list[Call]) -> None:
        """Do what a call had asked for that was given up; unless the test is over."""
        if calls is self.calls:
            with contextlib.suppress(exceptions.GoogleAPICallError):
                handle()

    def take_fault(self, method: str, host: str = "") -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.method == method and fault.host in host and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def _make(self, fault: Fault, calls: list[Call], released: threading.Event) -> None:
        time.sleep(fault.seconds)
        if fault.held:
            released.wait()
        if calls is not self.calls:
            raise Outlived
        if fault.drop:
            raise Dropped
        if fault.code:
            raise error_of(fault.code, fault.message)

    def check_call(self, host: str, resource: str, bearer: str) -> None:
        """Refuse a call without a token, or to a host that does not serve its resource."""
        if not bearer:
            raise exceptions.Unauthenticated("Request is missing required authentication.")
        _check_region(host, resource)

    def _handle(self, method: str, request: Any, *, host: str, bearer: str, resource: str) -> Any:
        self.check_call(host, resource, bearer)
        handler = self.handlers.get(method)
        if handler is None:
            raise exceptions.MethodNotImplemented(f"The stand-in has no {method}.")
        return handler(request)

    def new_id(self) -> str:
        with self.lock:
            return str(next(self.numbers))

    def find(self, name: str) -> Any:
        """The resource of that name, by project id or number; 404 where there is none."""
        with self.lock:
            found = self.resources.get(canonical(name))
        if found is None:
            raise exceptions.NotFound(f"{name} is not found.")
        return found

    def store(self, message: Any) -> Any:
        with self.lock:
            if message.name in self.resources:
                raise exceptions.AlreadyExists(f"The resource already exists: {message.name}")
            self.resources[message.name] = message
        return message

    def listed(self, parent: str, collection: str) -> list[Any]:
        """All resources of a collection, newest first; not those that lie below them."""
        prefix = f"{canonical(parent)}/{collection}/"
        with self.lock:
            found = [
                m for name, m in self.resources.items() if name.rpartition("/")[0] + "/" == prefix
            ]
        return sorted(filter(self.is_listed, found), key=lambda m: m.create_time, reverse=True)

    def is_listed(self, message: Any) -> bool:
        """Whether a list shows a resource yet; the fact `lag_seconds` says how late it does."""
        created = getattr(message, "create_time", None) or message["createTime"]
        if isinstance(created, str):
            created = datetime.datetime.fromisoformat(created.replace("Z", "+00:00"))
        age = (self.now() - created).total_seconds()
        return age >= float(self.facts.get("lag_seconds", 0.0))

    def calls_as_json(self) -> list[dict[str, Any]]:
        with self.lock:
            return [asdict(call) for call in self.calls]


def canonical(name: str) -> str:
    """A resource's name as Google writes it: with the project's number.

    Raises:
        PermissionDenied: There is no such project; Google does not tell the two apart.
    """
    match = re.match(r"projects/([^/]+)(.*)\Z", name, re.DOTALL)
    if not match:
        raise exceptions.InvalidArgument(f"Invalid resource name {name!r}.")
    project, rest = match.groups()
    if project not in PROJECTS and project not in PROJECTS.values():
        raise exceptions.PermissionDenied(
            f"Permission denied on resource project {project}.",
        )
    return f"projects/{PROJECTS.get(project, project)}{rest}"


def resource_of(request: Any) -> str:
    """The resource that a request is about."""
    for name in ("parent", "name", "endpoint"):
        value = getattr(request, name, "")
        if isinstance(value, str) and value:
            return value
    return ""


def error_of(code: int, message: str) -> exceptions.GoogleAPICallError:
    """The client library's error for an HTTP status, with the gRPC status that goes with it."""
    with_grpc_status = {
        400: exceptions.InvalidArgument,
        401: exceptions.Unauthenticated,
        403: exceptions.PermissionDenied,
        408: exceptions.DeadlineExceeded,
        409: exceptions.Aborted,
        429: exceptions.ResourceExhausted,
        499: exceptions.Cancelled,
        503: exceptions.ServiceUnavailable,
        504: exceptions.DeadlineExceeded,
    }
    kind = with_grpc_status.get(code)
    error = kind(message) if kind else exceptions.from_http_status(code, message)
    error.code = code
    return error


def _check_region(host: str, resource: str) -> None:
    wanted = re.search(r"/locations/([^/]+)", resource)
    served = re.match(r"(?:([a-z0-9-]+)-)?aiplatform\.(?:([a-z]+)\.rep\.)?googleapis\.com", host)
    if not (wanted and served):
        return
    if wanted[1] != (served[1] or served[2] or "global"):
        raise exceptions.InvalidArgument(
            f"The request was sent to {host}, and the resource is in {wanted[1]}."
        )
