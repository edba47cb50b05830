"""What a project allows and keeps: interfaces, rights, roles, quota, secrets; by hand.

No generated client of Service Usage, IAM and Secret Manager is installed. A test sets `facts`
through the admin address: `disabled` interfaces, `denied` rights, `quota` by name and region,
`roles` by member, `location` of the buckets, `secrets` by name.
"""

from __future__ import annotations

import base64
import json
import re
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

from google.api_core import exceptions

from .cloud import PROJECTS, Cloud, canonical
from .storage import Reply

_HOST = re.compile(
    r"(serviceusage|iam|cloudresourcemanager|secretmanager(\.[a-z0-9-]+\.rep)?)\.googleapis\.com\Z"
)
_NUMBER = next(iter(PROJECTS.values()))
_ROLES = {
    f"service-{_NUMBER}@gcp-sa-aiplatform.iam.gserviceaccount.com": "roles/aiplatform.serviceAgent",
    f"{_NUMBER}-compute@developer.gserviceaccount.com": "roles/editor",
}
_QUOTA = {
    "Restricted image training Nvidia A100 80GB GPUs per region": {"us-central1": 8},
    "Restricted image training TPU V3 pod cores per region": {"europe-west4": 64},
}


class Governance:
    """Answers what the REST interfaces of usage, accounts and roles are asked."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def answer(self, verb: str, target: str, host: str, body: bytes) -> Reply | None:
        """Answer, or None where another service is meant."""
        url = urlsplit(target)
        for pattern, handle in (
            (r"/v1/projects/([^/]+)/services:batchGet\Z", self._services),
            (r"/v1beta1/projects/([^/]+)/services/[^/]+/consumerQuotaMetrics\Z", self._quota),
            (r"/v1/projects/-/serviceAccounts/([^/:]+):testIamPermissions\Z", self._account),
            (r"/v3/projects/([^/:]+):testIamPermissions\Z", self._rights),
            (r"/v3/projects/([^/:]+):getIamPolicy\Z", self._policy),
            (r"/v1/(projects/[^:]+/secrets/[^/]+)/versions/[^/:]+:access\Z", self._secret),
        ):
            match = re.match(pattern, url.path)
            if _HOST.match(host) and match:
                asked = (match[1], parse_qs(url.query), json.loads(body or b"{}"))
                reply = self.cloud.guarded(
                    f"governance.{handle.__name__.strip('_')}",
                    partial(handle, *asked),
                    host=host,
                    resource=url.path,
                    transport="rest",
                )
                return Reply(json.dumps(reply).encode(), headers={"Content-Type": "text/json"})
        return None

    def _rights(self, project: str, _: Any, body: dict[str, Any]) -> dict[str, Any]:
        canonical(f"projects/{project}")
        return {"permissions": self._granted(body["permissions"])}

    def _policy(self, project: str, _: Any, body: dict[str, Any]) -> dict[str, Any]:
        canonical(f"projects/{project}")
        version = body.get("options", {}).get("requestedPolicyVersion", 1)
        if self.cloud.facts.get("conditions") and version < 3:
            raise exceptions.InvalidArgument(
                "Requested policy version must be 3 to read a policy with conditions."
            )
        roles = self.cloud.facts.get("roles", _ROLES).items()
        return {
            "bindings": [
                {"role": role, "members": [f"serviceAccount:{member}"]} for member, role in roles
            ]
        }

    def _services(self, project: str, query: dict[str, list[str]], _: Any) -> dict[str, Any]:
        disabled = self.cloud.facts.get("disabled", ())
        return {
            "services": [
                {
                    "name": canonical(name),
                    "state": "DISABLED" if name.rpartition("/")[2] in disabled else "ENABLED",
                }
                for name in query["names"]
            ]
        }

    def _quota(self, project: str, query: dict[str, list[str]], _: Any) -> dict[str, Any]:
        canonical(f"projects/{project}")
        metrics = [
            {
                "displayName": name,
                "consumerQuotaLimits": [
                    {
                        "quotaBuckets": [
                            # The global bucket comes first; it holds where no other does.
                            {"effectiveLimit": str(limit)}
                            | ({"dimensions": {"region": region}} if region else {})
                            for region, limit in {"": 0, **limits}.items()
                        ]
                    }
                ],
            }
            for name, limits in self.cloud.facts.get("quota", _QUOTA).items()
        ]
        page = int(query.get("pageToken", ["0"])[0])
        more = {"nextPageToken": str(page + 1)} if page + 1 < len(metrics) else {}
        return {"metrics": metrics[page : page + 1], **more}

    def _account(self, account: str, _: Any, body: dict[str, Any]) -> dict[str, Any]:
        # Acting as an account is granted on the account, and not by a role of the project.
        denied = self.cloud.facts.get("denied", ())
        return {"permissions": [one for one in body["permissions"] if one not in denied]}

    def _secret(self, name: str, *_: Any) -> dict[str, Any]:
        canonical(name)
        found = self.cloud.facts.get("secrets", {}).get(name)
        if found is None:
            raise exceptions.NotFound(f"Secret [{name}] not found or has no versions.")
        return {"payload": {"data": base64.b64encode(found.encode()).decode()}}

    def _granted(self, asked: Any) -> list[str]:
        granted = self.cloud.facts.get("granted", asked)
        denied = self.cloud.facts.get("denied", ())
        return [one for one in asked if one in granted and one not in denied]
