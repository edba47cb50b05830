"""Checks what a cloud run needs: credentials, interfaces, rights, bucket, quota, template."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from tunepipe.backends.palm.parameters import template_uri
from tunepipe.backends.palm.template import read_template
from tunepipe.catalog.accelerators import machine_of
from tunepipe.catalog.catalog import Catalog, load_catalog
from tunepipe.catalog.schema import Model
from tunepipe.errors import CloudError, LimitError, TunepipeError, UsageError
from tunepipe.gcp import rest
from tunepipe.gcp.explanations import RefusedError
from tunepipe.stores import storage
from tunepipe.stores.cloud_storage import user_project

OK, PROBLEM, UNKNOWN = "ok", "problem", "unknown"


@dataclass(frozen=True)
class Place:
    """The resources that a run would use, where "" is the default, or no dataset.

    A run that is `under_way` acts as its own account, instead of someone who is to submit it. Of
    the options the machines of the backend custom count here.
    """

    model: Model
    dataset: str = ""
    format: str = "auto"
    project: str = ""
    region: str = ""
    bucket: str = ""
    service_account: str = ""
    template: str = ""
    image: str = ""
    under_way: bool = False
    catalog: Catalog = field(default_factory=load_catalog)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckResult:
    """What a check found, in one sentence: a state of ok, problem or unknown.

    `fix` is the command that fixes it, and `exit_code` what a run would have ended with.
    """

    check: str
    state: str
    found: str
    fix: str = ""
    exit_code: int = 0


Check = Callable[[Place], Iterator[CheckResult]]


def tried(name: str, check: Check, place: Place) -> Iterator[CheckResult]:
    """Name a check's results, and make one of what it raises; a missing right leaves it unknown."""
    try:
        for result in check(place):
            yield replace(result, check=name)
    except TunepipeError as error:
        text = f"{error.where}: {error.found}" if error.where else error.found
        if getattr(error, "code", 0) == 403:
            yield CheckResult(name, UNKNOWN, f"our rights do not let us see it: {text}", error.fix)
        else:
            yield CheckResult(name, PROBLEM, text, error.fix, error.exit_code)


# `tried` names the check.
ok, unknown = partial(CheckResult, "", OK), partial(CheckResult, "", UNKNOWN)


def problem(found: str, fix: str, error: type[TunepipeError] = CloudError) -> CheckResult:
    """Return a problem, with the error that a run would have ended with."""
    return CheckResult("", PROBLEM, found, fix, error.exit_code)


_PROJECTS = "https://cloudresourcemanager.googleapis.com/v3/projects"
_USAGE = "https://serviceusage.googleapis.com"
_ACCOUNTS = "https://iam.googleapis.com/v1/projects/-/serviceAccounts"
_BUCKETS = "https://storage.googleapis.com/storage/v1/b"
# A policy with conditions is not given in an older form.
_POLICY_OPTIONS = {"options": {"requestedPolicyVersion": 3}}
_INTERFACES = ("aiplatform.googleapis.com", "storage.googleapis.com")
_JOB_RIGHTS = (
    *("aiplatform.pipelineJobs.create", "aiplatform.pipelineJobs.get"),
    *("aiplatform.pipelineJobs.list", "aiplatform.pipelineJobs.cancel"),
)
_CUSTOM_RIGHTS = ("aiplatform.customJobs.create", "aiplatform.customJobs.get")
_TUNING_RIGHTS = ("aiplatform.tuningJobs.create", "aiplatform.tuningJobs.get")
_BUCKET_RIGHTS = ("storage.objects.create", "storage.objects.get", "storage.objects.list")


def credentials(place: Place) -> Iterator[CheckResult]:
    """Ask for a token, by asking for the project."""
    who = rest.account() or "a user"
    state = rest.call("GET", f"{_PROJECTS}/{place.project}").get("state", "ACTIVE")
    if state not in ("ACTIVE", "STATE_UNSPECIFIED"):
        fix = f"gcloud projects undelete {place.project}"
        raise CloudError(f"the project is {state}", fix=fix)
    yield ok(f"{who} reaches {place.project}")


def interfaces(place: Place) -> Iterator[CheckResult]:
    """Look whether the APIs are enabled."""
    names = [f"projects/{place.project}/services/{name}" for name in _INTERFACES]
    url = f"{_USAGE}/v1/projects/{place.project}/services:batchGet"
    for service in rest.call("GET", url, names=names).get("services", ()):
        name = service["name"].rpartition("/")[2]
        if service.get("state") == "ENABLED":
            yield ok(f"{name} is enabled")
        else:
            fix = f"gcloud services enable {name} --project {place.project}"
            yield problem(f"{name} is not enabled", fix)


def rights(place: Place) -> Iterator[CheckResult]:
    """Look whether the caller may do what a run does: tune, ask, and before that submit."""
    template = place.model.backend == "large-model"
    tuning = _CUSTOM_RIGHTS if place.model.backend == "custom" else _TUNING_RIGHTS
    needed = (
        *(_JOB_RIGHTS if template or not place.under_way else ()),
        *(() if template else tuning),
        *(() if place.under_way else ("aiplatform.schedules.create",)),
        "aiplatform.endpoints.predict",
    )
    if missing := _missing(f"{_PROJECTS}/{place.project}:testIamPermissions", needed):
        fix = _grant(f"projects add-iam-policy-binding {place.project}", "roles/aiplatform.user")
        raise CloudError(f"missing: {', '.join(missing)}", fix=fix)
    yield ok(f"{len(needed)} of {len(needed)} are granted")


def acting(place: Place) -> Iterator[CheckResult]:
    """Look whether the caller may act as the run's service account."""
    if place.under_way and not place.service_account and place.model.backend != "large-model":
        return  # a managed job of no account acts as Google's own agent
    account = _account(place)
    if _missing(f"{_ACCOUNTS}/{account}:testIamPermissions", ("iam.serviceAccounts.actAs",)):
        fix = _grant(
            f"iam service-accounts add-iam-policy-binding {account} --project {place.project}",
            "roles/iam.serviceAccountUser",
        )
        raise CloudError(f"you may not act as {account}", fix=fix)
    yield ok(f"you may act as {account}")


def roles(place: Place) -> Iterator[CheckResult]:
    """Look what the run's account and Google's service agents may do in the project."""
    agents = f"service-{_number(place)}@gcp-sa-"
    enough: dict[str, tuple[str, ...]] = {
        f"{agents}aiplatform.iam.gserviceaccount.com": ("roles/aiplatform.serviceAgent",),
        _account(place): ("roles/aiplatform.user", "roles/aiplatform.admin", "roles/editor"),
    }
    if place.model.backend == "open-model":
        # It writes the weights, and reads rows and pictures.
        tuner = f"{agents}vertex-moss-ft.iam.gserviceaccount.com"
        enough[tuner] = ("roles/aiplatform.tuningServiceAgent", "roles/storage.objectUser")
    policy = rest.call("POST", f"{_PROJECTS}/{place.project}:getIamPolicy", _POLICY_OPTIONS)
    for who, needed in enough.items():
        member = f"serviceAccount:{who}"
        bindings = policy.get("bindings", ())
        granted = {row["role"] for row in bindings if member in row.get("members", ())}
        if granted & {*needed, "roles/owner"}:
            yield ok(f"{who} has {', '.join(sorted(granted))}")
        else:
            fix = (
                f"gcloud projects add-iam-policy-binding {place.project} "
                f"--member {member} --role {needed[0]}"
            )
            # A role may also come from a folder, an organisation, a group or a custom role.
            yield unknown(f"the project gives {who} no {needed[0]}", fix)


def bucket(place: Place) -> Iterator[CheckResult]:
    """Look whether the bucket is there, in the region, and open to us."""
    if not place.bucket:
        raise UsageError("none was named", fix="--bucket gs://BUCKET")
    name = storage.parse(place.bucket).bucket
    payer = {"userProject": user_project()} if user_project() else {}
    # 1. Is it there?
    try:
        known = rest.call("GET", f"{_BUCKETS}/{name}", **payer)
    except RefusedError as error:
        if error.code == 400 and "requester pays" in error.found:
            known = {"location": place.region, "billing": {"requesterPays": True}}
        elif error.code == 404:
            raise CloudError(f"gs://{name} is not there", fix=_create(name, place)) from error
        else:
            raise
    # 2. Do its region and its rules suit a run?
    if known.get("billing", {}).get("requesterPays"):
        fix = "managed tuning jobs cannot name a project that pays: use another bucket"
        raise CloudError(f"gs://{name} lets the requester pay", fix=fix)
    location = str(known["location"]).lower()
    if location == place.region:
        yield ok(f"gs://{name} lies in {location}")
    else:
        text = f"gs://{name} lies in {location}, and the run in {place.region}"
        yield problem(text, _create(f"{name}-{place.region}", place), LimitError)
    if retention := known.get("retentionPolicy"):
        days = int(retention["retentionPeriod"]) / 86400
        fix = "a run writes new objects alone, and its results stay that long; nothing to do"
        yield ok(f"gs://{name} keeps every object for {days:g} days", fix)
    if known.get("versioning", {}).get("enabled"):
        fix = "a run replaces next to nothing; a lifecycle rule ends what deleted ones cost"
        yield ok(f"gs://{name} keeps the old versions of objects", fix)
    if known.get("iamConfiguration", {}).get("uniformBucketLevelAccess", {}).get("enabled"):
        yield ok(f"gs://{name} has uniform access: roles alone decide")
    # 3. May we write to it?
    url = f"{_BUCKETS}/{name}/iam/testPermissions"
    granted = rest.call("GET", url, permissions=_BUCKET_RIGHTS, **payer).get("permissions", ())
    if missing := sorted({*_BUCKET_RIGHTS} - {*granted}):
        fix = _grant(
            f"storage buckets add-iam-policy-binding gs://{name}", "roles/storage.objectAdmin"
        )
        yield problem(f"missing on gs://{name}: {', '.join(missing)}", fix)


def quota(place: Place) -> Iterator[CheckResult]:
    """Look whether the region's quota is enough for one tuning, on all of its machines."""
    page = f"https://console.cloud.google.com/iam-admin/quotas?project={place.project}"
    if place.model.backend == "custom":
        name, need = machine_of(place.options, place.catalog).quota(place.options)
    elif row := place.catalog.hardware_of(place.model, place.region):
        name, need = row.quota, row.quota_multiple
    else:
        name, need = place.model.quota, 1
    limit = _quota_limit(place, name)
    if limit is None:
        yield unknown(f"{name}: not listed", page)
    elif limit < need:
        text = f"{name}: {limit} in {place.region}, and a tuning needs {need}"
        raise CloudError(text, fix=f"ask for {need}: {page}")
    else:
        yield ok(f"{name}: {limit} in {place.region}, {need} needed")


def template(place: Place) -> Iterator[CheckResult]:
    """Fetch the template as the service would, and tell its digest."""
    if place.model.backend != "large-model":
        return
    uri = template_uri(place.model.name, place.template)
    try:
        fetched = read_template(uri)
    except CloudError as error:
        if getattr(error, "code", 0) == 404:
            raise
        # Vertex AI's own agent fetches it, by another way and with other rights.
        yield unknown(f"{uri}: {error.found}", error.fix)
    else:
        yield ok(f"{fetched.source} is sha256:{fetched.sha256}")


CHECKS: dict[str, Check] = {
    "credentials": credentials,
    "apis": interfaces,
    "your rights": rights,
    "service account": acting,
    "roles": roles,
    "bucket": bucket,
    "quota": quota,
    "template": template,
}


def _missing(url: str, needed: Sequence[str]) -> list[str]:
    granted = rest.call("POST", url, {"permissions": list(needed)})
    return sorted({*needed} - {*granted.get("permissions", ())})


def _number(place: Place) -> str:
    project = rest.call("GET", f"{_PROJECTS}/{place.project}")
    return str(project["name"]).rpartition("/")[2]


def _account(place: Place) -> str:
    """Return the run's account; without one of its own the project's default."""
    return place.service_account or f"{_number(place)}-compute@developer.gserviceaccount.com"


def _quota_limit(place: Place, name: str) -> int | None:
    """Return a quota's limit in the region; None if it is not listed."""
    url = (
        f"{_USAGE}/v1beta1/projects/{place.project}/services/aiplatform.googleapis.com"
        "/consumerQuotaMetrics"
    )
    query: dict[str, str] = {}
    while True:
        page = rest.call("GET", url, **query)
        named = [
            metric
            for metric in page.get("metrics", ())
            if metric.get("displayName", "").lower() == name.lower()
        ]
        for limit in (limit for metric in named for limit in metric.get("consumerQuotaLimits", ())):
            buckets = {
                bucket.get("dimensions", {}).get("region", ""): int(bucket.get("effectiveLimit", 0))
                for bucket in limit.get("quotaBuckets", ())
            }
            # The bucket without dimensions holds in every region that has none of its own.
            if (value := buckets.get(place.region, buckets.get(""))) is not None:
                return value if value >= 0 else 1 << 62  # -1: without limit
        if not page.get("nextPageToken"):
            return None
        query = {"pageToken": page["nextPageToken"]}


def _grant(command: str, role: str) -> str:
    member = rest.account() or "user:YOU"
    return f"gcloud {command} --member {shlex.quote(member)} --role {role}"


def _create(name: str, place: Place) -> str:
    return (
        f"gcloud storage buckets create gs://{name} --location {place.region} "
        f"--project {place.project} --uniform-bucket-level-access"
    )


def check_step(ports: Mapping[str, Any]) -> str:
    """Look at everything, print what was found, and stop the run at the first problem.

    The ports are those of `components.families.checking`; the options service_account and
    template_version count here. Return how many checks passed, and how many the account has no
    right to see.
    """
    catalog, options = load_catalog(ports["tables"]), ports["options"]
    place = Place(
        model=catalog.find_model(ports["base_model"], ports["backend"]),
        project=ports["project"],
        region=ports["region"],
        bucket=ports["root"],
        service_account=str(options.get("service_account", "")),
        template=str(options.get("template_version", "")),
        under_way=True,
        catalog=catalog,
        options=options,
    )
    names = [name for name in CHECKS if not (ports["inlined"] and name == "template")]
    results = [result for name in names for result in tried(name, CHECKS[name], place)]
    for result in results:
        print(f"{result.state:8} {result.check}: {result.found}")
    if problems := [result for result in results if result.state == PROBLEM]:
        first, *more = problems
        others = f" (and {', '.join(result.check for result in more)})" if more else ""
        errors = {kind.exit_code: kind for kind in (UsageError, LimitError)}
        kind = errors.get(first.exit_code, CloudError)
        raise kind(f"{first.found}{others}", where=first.check, fix=first.fix)
    states = [result.state for result in results]
    return ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
