"""Cloud Storage's JSON API over a folder: <root>/<bucket>/<object>.

A file that a step writes through its mount is an object at once. Generations are the files' times
of change in nanoseconds, so they need no store of their own. Each bucket has uniform bucket-level
access: a request that names an access control list is refused.

Facts make a bucket as strict as Google's can be: `retention_seconds` (no object is overwritten or
deleted), `unwritable` (ends of names that are not taken for the moment), `held` (texts: who writes
an object that contains one of them waits for the answer until the facts let it go),
`requester_pays` (a request has to name a project that pays; True, or the names of such buckets),
`versioning`, `encodings` (the contentEncoding of an object, by its name), `folders` (objects that
stand for folders) and `corrupted` (a download's first byte is another).
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import re
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from google.api_core import exceptions

from .cloud import PROJECTS, Cloud

_ACL_FIELDS = {"acl", "defaultObjectAcl"}
_ACL_PARAMETERS = {"predefinedAcl", "predefinedDefaultObjectAcl", "destinationPredefinedAcl"}


@dataclass
class Reply:
    """A status, headers and a body."""

    body: bytes = b""
    code: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class Storage:
    """Buckets and objects: generation preconditions, ranges, uploads of all three kinds."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.uploads: dict[str, tuple[Path, dict[str, Any], bytearray]] = {}
        self.lock = threading.RLock()

    def answer(self, verb: str, target: str, headers: Any, body: bytes) -> Reply:
        """Answer one request to storage.googleapis.com."""
        url = urlsplit(target)
        lists = parse_qs(url.query)
        if named := re.match(r"(?:/download|/upload)?/storage/v1/b/([^/]+)", url.path):
            self._check_payer(named[1], lists.get("userProject", [""])[-1])
        with self.lock:
            reply = self._answer(verb, url.path, lists, headers, body)
        if url.path.startswith("/upload/") and reply.body:
            self._hold(body)
        return reply

    def _hold(self, body: bytes) -> None:
        """Keep who has written an object waiting for the answer, while the facts hold it."""
        while any(text.encode() in body for text in self.cloud.facts.get("held", ())):
            time.sleep(0.02)

    def _answer(
        self, verb: str, path: str, lists: dict[str, list[str]], headers: Any, body: bytes
    ) -> Reply:
        query = {key: values[-1] for key, values in lists.items()}
        _refuse_lists(verb, path, query, headers, body)
        if path.startswith("/upload/storage/v1/b/"):
            return self._upload(verb, path, query, headers, body)
        if path == "/storage/v1/b" and verb == "POST":
            return self._create_bucket(json.loads(body), query)
        if asked := re.match(r"/storage/v1/b/([^/]+)/iam/testPermissions\Z", path):
            self._bucket(asked[1])
            denied = self.cloud.facts.get("denied", ())
            wanted = lists["permissions"]
            return _json({"permissions": [one for one in wanted if one not in denied]})
        match = re.match(r"(?:/download)?/storage/v1/b/([^/]+)(/o)?(?:/(.*))?\Z", path)
        if not match:
            raise exceptions.NotFound(f"No such path {path}.")
        bucket = self._bucket(match[1])
        if not match[2]:
            place = self.cloud.facts.get("location")
            rules = _rules(self.cloud.facts, bucket.name)
            return _json(_bucket_resource(bucket) | rules | ({"location": place} if place else {}))
        if not match[3]:
            return self._list(bucket, query)
        return self._object(verb, bucket, unquote(match[3]), query, headers, body)

    def _check_payer(self, bucket: str, payer: str) -> None:
        paid = self.cloud.facts.get("requester_pays", ())
        if paid is not True and bucket not in paid:
            return
        if not payer:
            raise exceptions.BadRequest(
                "Bucket is a requester pays bucket but no user project provided."
            )
        if payer not in (*PROJECTS, *PROJECTS.values()):
            raise exceptions.Forbidden(
                "Caller does not have required permission to use project"
                f" {payer}. Grant the caller the roles/serviceusage.serviceUsageConsumer role."
            )

    def _bucket(self, name: str) -> Path:
        bucket = self.cloud.buckets / name
        if not bucket.is_dir():
            raise exceptions.NotFound("The specified bucket does not exist.")
        return bucket

    def _create_bucket(self, body: dict[str, Any], query: dict[str, str]) -> Reply:
        if query.get("project") not in PROJECTS:
            raise exceptions.Forbidden("no access to the project.")
        bucket = self.cloud.buckets / body["name"]
        if bucket.exists():
            raise exceptions.Conflict("The requested bucket name is not available.")
        bucket.mkdir(parents=True)
        return _json(_bucket_resource(bucket))

    def _object(
        self, verb: str, bucket: Path, name: str, query: dict[str, str], headers: Any, body: bytes
    ) -> Reply:
        copy = re.match(r"(.*)/(rewriteTo|copyTo)/b/([^/]+)/o/(.*)\Z", name)
        if verb == "POST" and copy:
            source = self._existing(bucket, copy[1], {})
            made = self._write(self._bucket(copy[3]), copy[4], source.read_bytes(), query)
            if copy[2] == "copyTo":
                return _json(made)
            return _json({"kind": "storage#rewriteResponse", "done": True, "resource": made})
        path = self._existing(bucket, name, query)
        if verb == "DELETE":
            self._check_retention(bucket, name)
            path.unlink()
            return Reply(code=204)
        if query.get("alt") != "media" or verb in ("PATCH", "PUT"):
            encoding = self.cloud.facts.get("encodings", {}).get(name, "")
            more = {"contentEncoding": encoding} if encoding else {}
            return _json(_resource(bucket, name) | more)
        encoding = self.cloud.facts.get("encodings", {}).get(name, "")
        if encoding == "gzip" and "gzip" not in headers.get("Accept-Encoding", ""):
            # Decompressive transcoding: the whole object, whatever range was asked for.
            return Reply(gzip.decompress(path.read_bytes()))
        reply = _media(path, headers.get("Range"), _resource(bucket, name))
        if encoding:
            reply.headers["Content-Encoding"] = encoding
        if self.cloud.facts.get("corrupted"):
            reply.body = b"?" + reply.body[1:]
        return reply

    def _check_retention(self, bucket: Path, name: str) -> None:
        if self.cloud.facts.get("retention_seconds") and (bucket / name).is_file():
            raise exceptions.Forbidden(
                f"Object '{bucket.name}/{name}' is subject to bucket's retention policy or object"
                " retention and cannot be deleted or overwritten until 2027-01-01T00:00:00Z"
            )

    def _existing(self, bucket: Path, name: str, query: dict[str, str]) -> Path:
        path = bucket / name
        if not path.is_file():
            raise exceptions.NotFound(f"No such object: {bucket.name}/{name}")
        found = _generation(path)
        if query.get("generation", found) != found:
            raise exceptions.NotFound(f"No such object: {bucket.name}/{name}#{query['generation']}")
        _check_generation(found, query)
        return path

    def _list(self, bucket: Path, query: dict[str, str]) -> Reply:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        names = sorted(
            str(path.relative_to(bucket)) for path in bucket.rglob("*") if path.is_file()
        )
        names = sorted([*names, *self.cloud.facts.get("folders", ())])
        names = [name for name in names if name.startswith(prefix)]
        if "matchGlob" in query:
            pattern = re.compile(_glob_pattern(query["matchGlob"]) + r"\Z", re.DOTALL)
            names = [name for name in names if pattern.match(name)]
        folders: list[str] = []
        if delimiter:
            cuts = {name: name.find(delimiter, len(prefix)) + 1 for name in names}
            folders = sorted({name[:cut] for name, cut in cuts.items() if cut})
            names = [name for name, cut in cuts.items() if not cut]
        begin, size = int(query.get("pageToken", "0")), int(query.get("maxResults", "1000"))
        page: dict[str, Any] = {
            "kind": "storage#objects",
            "items": [
                _folder(bucket, name) if name.endswith("/") else _resource(bucket, name)
                for name in names[begin : begin + size]
            ],
            "prefixes": folders,
        }
        if begin + size < len(names):
            page["nextPageToken"] = str(begin + size)
        return _json(page)

    def _upload(
        self, verb: str, path: str, query: dict[str, str], headers: Any, body: bytes
    ) -> Reply:
        bucket = self._bucket(path.removeprefix("/upload/storage/v1/b/").split("/")[0])
        kind = query.get("uploadType")
        if kind == "multipart":
            metadata, content = _parts(headers["Content-Type"], body)
            return _json(self._write(bucket, metadata["name"], content, query))
        if kind == "media":
            return _json(self._write(bucket, query["name"], body, query))
        if kind == "resumable" and verb == "POST":
            name = json.loads(body or b"{}").get("name") or query["name"]
            _check_generation(_present(bucket / name), query)
            key = self.cloud.new_id()
            self.uploads[key] = (bucket, {**query, "name": name}, bytearray())
            at = f"https://storage.googleapis.com{path}?uploadType=resumable&upload_id={key}"
            return Reply(headers={"Location": at})
        return self._continue_upload(query["upload_id"], headers.get("Content-Range", ""), body)

    def _continue_upload(self, key: str, content_range: str, body: bytes) -> Reply:
        bucket, query, data = self.uploads[key]
        data.extend(body)
        total = content_range.rpartition("/")[2]
        if total not in ("", "*") and len(data) < int(total):
            return Reply(code=308, headers={"Range": f"bytes=0-{len(data) - 1}"})
        if total == "*":
            return Reply(code=308, headers={"Range": f"bytes=0-{max(len(data) - 1, 0)}"})
        del self.uploads[key]
        return _json(self._write(bucket, query["name"], bytes(data), query))

    def _write(
        self, bucket: Path, name: str, content: bytes, query: dict[str, str]
    ) -> dict[str, Any]:
        path = bucket / name
        before = _present(path)
        _check_generation(before, query)
        self._check_retention(bucket, name)
        if name.endswith(tuple(self.cloud.facts.get("unwritable", ()))):
            raise exceptions.ServiceUnavailable("Please try again.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if _generation(path) <= before:  # the file system's clock is coarse
            os.utime(path, ns=(int(before) + 1,) * 2)
        return _resource(bucket, name)


def _refuse_lists(verb: str, path: str, query: dict[str, str], headers: Any, body: bytes) -> None:
    """Refuse access control lists as a bucket with uniform bucket-level access does."""
    kind = query.get("uploadType", "")
    if kind == "multipart":
        sent = _parts(headers["Content-Type"], body)[0]
    else:  # anything else that is uploaded is the object's own bytes
        is_metadata = body and (not kind or (kind == "resumable" and verb == "POST"))
        sent = json.loads(body) if is_metadata else {}
    # An object's own slashes are escaped.
    is_asked = re.search(r"/(acl|defaultObjectAcl)(/[^/]+)?\Z", path)
    if not (is_asked or _ACL_FIELDS & {*sent} or _ACL_PARAMETERS & {*query}):
        return
    is_object = re.search(r"/b/[^/]+/o(/|\Z)", path)
    what = f"Cannot get legacy ACL for {'an object' if is_object else 'a bucket'}"
    if verb != "GET":
        what = "Cannot use ACL API to update bucket policy"
        what = "Cannot insert legacy ACL for an object" if is_object else what
    raise exceptions.BadRequest(
        f"{what} when uniform bucket-level access is enabled. Read more at"
        " https://cloud.google.com/storage/docs/uniform-bucket-level-access"
    )


def _present(path: Path) -> str:
    return _generation(path) if path.is_file() else "0"


def _generation(path: Path) -> str:
    return str(path.stat().st_mtime_ns)


def _check_generation(found: str, query: dict[str, str]) -> None:
    wanted = query.get("ifGenerationMatch")
    unwanted = query.get("ifGenerationNotMatch")
    if (wanted is not None and wanted != found) or unwanted == found:
        raise exceptions.PreconditionFailed(
            "At least one of the pre-conditions you specified did not hold."
        )


def _resource(bucket: Path, name: str) -> dict[str, Any]:
    import google_crc32c

    path = bucket / name
    data = path.read_bytes()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(path.stat().st_mtime))
    return {
        "kind": "storage#object",
        "id": f"{bucket.name}/{name}/{_generation(path)}",
        "bucket": bucket.name,
        "name": name,
        "generation": _generation(path),
        "metageneration": "1",
        "size": str(len(data)),
        "contentType": "application/octet-stream",
        "storageClass": "STANDARD",
        "timeCreated": stamp,
        "updated": stamp,
        "crc32c": base64.b64encode(google_crc32c.Checksum(data).digest()).decode(),
        "md5Hash": base64.b64encode(hashlib.md5(data).digest()).decode(),
        "etag": base64.b64encode(_generation(path).encode()).decode(),
    }


def _folder(bucket: Path, name: str) -> dict[str, Any]:
    return {"kind": "storage#object", "bucket": bucket.name, "name": name, "size": "0"}


def _rules(facts: dict[str, Any], bucket: str) -> dict[str, Any]:
    """What a bucket says of its own rules."""
    rules: dict[str, Any] = {"iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}}}
    if seconds := facts.get("retention_seconds"):
        rules["retentionPolicy"] = {"retentionPeriod": str(seconds), "isLocked": True}
    paid = facts.get("requester_pays", ())
    if paid is True or bucket in paid:
        rules["billing"] = {"requesterPays": True}
    if facts.get("versioning"):
        rules["versioning"] = {"enabled": True}
    return rules


def _bucket_resource(bucket: Path) -> dict[str, Any]:
    return {
        "kind": "storage#bucket",
        "id": bucket.name,
        "name": bucket.name,
        "projectNumber": next(iter(PROJECTS.values())),
        "location": "EUROPE-WEST4",
        "storageClass": "STANDARD",
    }


def _media(path: Path, wanted: str | None, resource: dict[str, Any]) -> Reply:
    data = path.read_bytes()
    headers = {
        "Content-Type": "application/octet-stream",
        "X-Goog-Generation": resource["generation"],
        "X-Goog-Hash": f"crc32c={resource['crc32c']}",
    }
    match = re.match(r"bytes=(\d+)-(\d*)", wanted or "")
    if not match:
        return Reply(data, headers=headers)
    first, last = int(match[1]), min(int(match[2] or len(data)), len(data) - 1)
    if first >= len(data):
        raise exceptions.RequestRangeNotSatisfiable("The requested range is not satisfiable.")
    headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
    return Reply(data[first : last + 1], 206, headers)


def _json(value: dict[str, Any]) -> Reply:
    return Reply(json.dumps(value).encode(), headers={"Content-Type": "application/json"})


def _parts(content_type: str, body: bytes) -> tuple[dict[str, Any], bytes]:
    match = re.search(r'boundary="?([^";]+)', content_type)
    assert match
    mark = b"--" + match[1].encode()
    pieces = body.split(mark)[1:-1]
    contents = [piece.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for piece in pieces]
    return json.loads(contents[0]), contents[1]


def _glob_pattern(glob: str) -> str:
    """Cloud Storage's matchGlob: `*` and `?` stop at a slash, `**` does not."""
    tokens = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\]|\{[^}]+\})", glob)
    special = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(
        special.get(token)
        or (token if token.startswith("[") else None)
        or (f"(?:{token[1:-1].replace(',', '|')})" if token.startswith("{") else re.escape(token))
        for token in tokens
    )
