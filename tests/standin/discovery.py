"""Holds requests and answers against Google's discovery documents.

The documents ship in google-api-python-client. They describe the REST interfaces: every path,
parameter, field, enum and number format. What comes over gRPC is compared as the JSON that it
stands for.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

_SERVICES = {
    "aiplatform": "aiplatform",
    "storage": "storage",
    "cloudresourcemanager": "cloudresourcemanager",
    "serviceusage": "serviceusage",
    "iam": "iam",
    "secretmanager": "secretmanager",
}
_HOST = re.compile(r"(?:[a-z0-9-]+-)?([a-z]+)(?:\.[a-z0-9-]+\.rep)?\.googleapis\.com\Z")
_VERSION = re.compile(r"/(?:upload/|download/)?(?:storage/)?(v\d\w*)/")
# Tests give jobs these states, as a later version of the service would.
_FUTURE = ("JOB_STATE_OF_LATER_DAYS",)
# Google's frontends take these with every method.
_EVERYWHERE = {"$alt", "alt", "upload_id", "userProject", "prettyPrint", "fields"}


def request_problems(host: str, verb: str, target: str, body: bytes) -> Iterator[str]:
    """Yield what Google's description of a REST call does not allow in this request."""
    method, document = _method(host, verb, target)
    if document is None:
        return
    place = f"{verb} {host}{urlsplit(target).path}"
    if method is None:
        yield f"{place}: unknown method"
        return
    known = {*method.get("parameters", {}), *document.get("parameters", {}), *_EVERYWHERE}
    names = {name.partition(".")[0] for name, _ in parse_qsl(urlsplit(target).query)}
    names -= known
    names = {name for name in names if _camel(name) not in known}
    yield from (f"{place}: unknown parameter {name}" for name in sorted(names))
    schema = method.get("request")
    if schema and body.startswith(b"{"):
        yield from _problems(schema, json.loads(body), place, document["schemas"], sent=True)


def answer_problems(host: str, verb: str, target: str, body: bytes) -> Iterator[str]:
    """Yield what Google's description does not allow in the JSON of an answer."""
    method, document = _method(host, verb, target)
    if method is None or document is None or not body.startswith(b"{"):
        return
    if "alt=media" in target and "upload" not in target:
        return
    schema = method.get("response")
    if schema:
        place = f"answer to {verb} {host}{urlsplit(target).path}"
        yield from _problems(schema, json.loads(body), place, document["schemas"], sent=False)


def message_problems(kind: type, value: Any, *, sent: bool) -> Iterator[str]:
    """Yield what the schema of a message of aiplatform does not allow; see `request_problems`.

    Args:
        kind: The message's type, such as PipelineJob of v1; one that REST does not know passes.
        value: Its JSON.
        sent: Whether a client sent it: numbers may then be numbers where Google sends strings.
    """
    version = "v1beta1" if "v1beta1" in kind.__module__ else "v1"
    schemas = _document("aiplatform", version)["schemas"]
    name = f"GoogleCloudAiplatform{version.capitalize()}{kind.__name__}"
    if name in schemas:
        yield from _problems({"$ref": name}, value, kind.__name__, schemas, sent=sent)


def _method(host: str, verb: str, target: str) -> tuple[Any, Any]:
    service, path = _HOST.match(host), urlsplit(target).path
    version = _VERSION.match(path)
    if not (service and version and service[1] in _SERVICES):
        return None, None
    document = _document(service[1], version[1])
    for method_verb, pattern, method in _methods(service[1], version[1]):
        # A resumable upload goes on with PUT, at the address that the first answer gave.
        upload = "/upload/" in path and verb == "PUT" and method_verb == "POST"
        if (method_verb == verb or upload) and pattern.match(path):
            return method, document
    return None, document


@cache
def _document(service: str, version: str) -> Any:
    spec = importlib.util.find_spec("googleapiclient")
    assert spec
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "discovery_cache" / "documents"
    return json.loads((folder / f"{service}.{version}.json").read_text(encoding="utf-8"))


@cache
def _methods(service: str, version: str) -> list[tuple[str, re.Pattern[str], Any]]:
    document = _document(service, version)
    root = "/" + document.get("servicePath", "")
    found = []
    for method in _walk(document):
        paths = [root + method.get("flatPath", method["path"])]
        upload = method.get("mediaUpload", {}).get("protocols", {})
        paths += [protocol["path"] for protocol in upload.values()]
        if method.get("useMediaDownloadService"):
            paths.append("/download" + paths[0])
        found += [(method["httpMethod"], _pattern(path), method) for path in paths]
    # Those with more fixed parts first: `…/o/{object}` also matches `…/o/a/rewriteTo/b/…`.
    return sorted(found, key=lambda entry: -len(re.sub(r"\[.*?\]\+|\.\+", "", entry[1].pattern)))


def _walk(resource: Any) -> Iterator[Any]:
    yield from resource.get("methods", {}).values()
    for below in resource.get("resources", {}).values():
        yield from _walk(below)


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"(\{[^}]+\})", path)
    return re.compile(
        "".join("[^/]+" if part.startswith("{") else re.escape(part) for part in parts) + r"\Z"
    )


def _problems(schema: Any, value: Any, where: str, schemas: Any, *, sent: bool) -> Iterator[str]:
    if "$ref" in schema:
        schema = schemas[schema["$ref"]]
    kind = schema.get("type", "any")
    if kind == "object":
        yield from _object_problems(schema, value, where, schemas, sent)
    elif kind == "array":
        if not isinstance(value, list):
            yield f"{where}: {value!r} is not a list"
            return
        for number, item in enumerate(value):
            yield from _problems(schema["items"], item, f"{where}[{number}]", schemas, sent=sent)
    elif kind != "any" and not _fits(kind, schema.get("format", ""), value, sent):
        yield f"{where}: {value!r} is not {schema.get('format', kind)}"
    elif "enum" in schema and value not in (*schema["enum"], *_FUTURE):
        yield f"{where}: {value!r} is not one of the enum"


def _object_problems(
    schema: Any, value: Any, where: str, schemas: Any, sent: bool
) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{where}: {value!r} is not an object"
        return
    fields, others = schema.get("properties", {}), schema.get("additionalProperties")
    for name, item in value.items():
        # Google's parsers take both spellings of a field's name.
        known = name if name in fields or not sent else _camel(name)
        below = fields.get(known, others)
        if below is None:
            yield f"{where}: unknown field {name}"
        else:
            yield from _problems(below, item, f"{where}.{name}", schemas, sent=sent)


def _fits(kind: str, format: str, value: Any, sent: bool) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == "string" and format in ("int64", "uint64"):
        digits = isinstance(value, str) and re.fullmatch(r"-?\d+", value) is not None
        return digits or (sent and number)
    if kind == "number":
        return number or value in ("NaN", "Infinity", "-Infinity")
    if kind == "integer":
        return number and float(value).is_integer()
    return isinstance(value, {"string": str, "boolean": bool}[kind])


def _camel(name: str) -> str:
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)
