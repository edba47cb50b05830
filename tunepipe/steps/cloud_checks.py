"""Checks what a cloud run needs: credentials, interfaces, rights, bucket, quota, template."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tunepipe.backends.palm.parameters import template_uri
from tunepipe.backends.palm.template import read_template
from tunepipe.catalog.accelerators import machine_of
from tunepipe.catalog.catalog import Catalog, load_catalog
from tunepipe.catalog.schema import Model
from tunepipe.errors import CloudError, LimitError, TunepipeError, UsageError
from tunepipe.gcp import rest
from tunepipe.stores import storage
from tunepipe.stores.cloud_storage import user_project

OK, PROBLEM, UNKNOWN = "ok", "problem", "unknown"


@dataclass(frozen=True)
class Place:
    """The resources that a run would use.

    Args:
        model: The model to tune.
        dataset: A path, a gs:// URI or a glob of either; "" looks at none.
        format: The rows' format.
        project: The project that pays.
        region: Where everything runs.
        bucket: gs://BUCKET, or a folder in it.
        service_account: The account that the run acts as; "" for the project's default.
        template: The template's version or URI, if one tunes; "" for the package's own.
        image: The image that the steps run on; "" for the default one.
        under_way: Whether the run is under way, and acts as its own account, instead of somebody
            who is to submit it.
        catalog: The dated tables.
        options: Those of the backend; the machines of `custom` count here.
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
    """The result of a check.

    Args:
        check: What was looked at.
        state: ok, problem or unknown.
        found: In one sentence.
        fix: The command that fixes it, or what to do.
        exit_code: What a run would have ended with.
    """

    check: str
    state: str
    found: str
    fix: str = ""
    exit_code: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


Check = Callable[[Place], Iterator[CheckResult]]


def tried(name: str, check: Check, place: Place) -> Iterator[CheckResult]:
    """Turn what a check raises into a finding; a missing right leaves the thing unknown."""
    try:
        yield from check(place)
    except TunepipeError as error:
        code = getattr(error, "code", 0)
        found = f"{error.where}: {error.found}" if error.where else error.found
        if code == 403:
            yield CheckResult(name, UNKNOWN, f"our rights do not let us see it: {found}", error.fix)
        else:
            yield CheckResult(name, PROBLEM, found, error.fix, error.exit_code)


def of_cloud(check: str, found: str, fix: str) -> CheckResult:
    """Make a finding of what the cloud would refuse."""
    return CheckResult(check, PROBLEM, found, fix, CloudError.exit_code)


_PROJECTS = "https://cloudresourcemanager.googleapis.com/v3/projects"
_USAGE = "https://serviceusage.googleapis.com"
_ACCOUNTS = "https://iam.googleapis.com/v1/projects/-/serviceAccounts"
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
    who = rest.account()
    project = rest.call("GET", f"{_PROJECTS}/{place.project}")
    if project.get("state", "ACTIVE") not in ("ACTIVE", "STATE_UNSPECIFIED"):
        fix = f"gcloud projects undelete {place.project}"
        yield of_cloud("credentials", f"the project is {project['state']}", fix)
    else:
        yield CheckResult("credentials", OK, f"{who or 'a user'} reaches {place.project}")


def interfaces(place: Place) -> Iterator[CheckResult]:
    """Look whether the APIs are enabled."""
    names = [f"projects/{place.project}/services/{one}" for one in _INTERFACES]
    url = f"{_USAGE}/v1/projects/{place.project}/services:batchGet"
    answer = rest.call("GET", url, names=names)
    for service in answer.get("services", ()):
        name = service["name"].rpartition("/")[2]
        if service.get("state") == "ENABLED":
            yield CheckResult("apis", OK, f"{name} is enabled")
        else:
            fix = f"gcloud services enable {name} --project {place.project}"
            yield of_cloud("apis", f"{name} is not enabled", fix)


def rights(place: Place) -> Iterator[CheckResult]:
    """Look whether the caller may do what a run does."""
    needed = _wanted_rights(place)
    url = f"{_PROJECTS}/{place.project}:testIamPermissions"
    missing = _missing(url, needed)
    if missing:
        fix = _grant(f"projects add-iam-policy-binding {place.project}", "roles/aiplatform.user")
        yield of_cloud("your rights", f"missing: {', '.join(missing)}", fix)
    else:
        yield CheckResult("your rights", OK, f"{len(needed)} of {len(needed)} are granted")


def acting(place: Place) -> Iterator[CheckResult]:
    """Look whether the caller may act as the run's service account."""
    if place.under_way and not place.service_account and place.model.backend != "large-model":
        return  # a managed job of no account acts as Google's own agent
    account = place.service_account or f"{_number(place)}-compute@developer.gserviceaccount.com"
    missing = _missing(f"{_ACCOUNTS}/{account}:testIamPermissions", ("iam.serviceAccounts.actAs",))
    if missing:
        fix = _grant(
            f"iam service-accounts add-iam-policy-binding {account} --project {place.project}",
            "roles/iam.serviceAccountUser",
        )
        yield of_cloud("service account", f"you may not act as {account}", fix)
    else:
        yield CheckResult("service account", OK, f"you may act as {account}")


def roles(place: Place) -> Iterator[CheckResult]:
    """Look what the run's account and Google's service agent may do in the project."""
    number = _number(place)
    account = place.service_account or f"{number}-compute@developer.gserviceaccount.com"
    agent = f"service-{number}@gcp-sa-aiplatform.iam.gserviceaccount.com"
    policy = rest.call("POST", f"{_PROJECTS}/{place.project}:getIamPolicy", _POLICY_OPTIONS)
    tuner = f"service-{number}@gcp-sa-vertex-moss-ft.iam.gserviceaccount.com"
    accounts = (
        (agent, ("roles/aiplatform.serviceAgent",)),
        *(
            # It writes the weights of open models, and reads rows and pictures.
            [(tuner, ("roles/aiplatform.tuningServiceAgent", "roles/storage.objectUser"))]
            if place.model.backend == "open-model"
            else []
        ),
        (account, ("roles/aiplatform.user", "roles/aiplatform.admin", "roles/editor")),
    )
    for who, enough in accounts:
        granted = _roles_of(f"serviceAccount:{who}", policy)
        if granted & {*enough, "roles/owner"}:
            yield CheckResult("roles", OK, f"{who} has {', '.join(sorted(granted))}")
        else:
            fix = (
                f"gcloud projects add-iam-policy-binding {place.project} "
                f"--member serviceAccount:{who} --role {enough[0]}"
            )
            # A role may also come from a folder, an organisation, a group or a custom role.
            yield CheckResult("roles", UNKNOWN, f"the project gives {who} no {enough[0]}", fix)


def bucket(place: Place) -> Iterator[CheckResult]:
    """Look whether the bucket is there, in the region, and open to us."""
    if not place.bucket:
        yield CheckResult("bucket", PROBLEM, "none was named", "--bucket gs://BUCKET", 2)
        return
    name = storage.parse(place.bucket).bucket
    url = f"https://storage.googleapis.com/storage/v1/b/{name}"
    payer = {"userProject": user_project()} if user_project() else {}
    try:
        found = rest.call("GET", url, **payer)
    except rest.RefusedError as error:
        if error.code == 400 and "requester pays" in error.found:
            yield _requester_pays(name)
            return
        if error.code != 404:
            raise
        yield of_cloud("bucket", f"gs://{name} is not there", _create(name, place))
        return
    lies = str(found["location"]).lower()
    if lies != place.region:
        told = f"gs://{name} lies in {lies}, and the run in {place.region}"
        fix = _create(f"{name}-{place.region}", place)
        yield CheckResult("bucket", PROBLEM, told, fix, LimitError.exit_code)
    else:
        yield CheckResult("bucket", OK, f"gs://{name} lies in {lies}")
    yield from _bucket_rules(name, found)
    url = f"{url}/iam/testPermissions"
    granted = rest.call("GET", url, permissions=_BUCKET_RIGHTS, **payer)
    missing = sorted({*_BUCKET_RIGHTS} - {*granted.get("permissions", ())})
    if missing:
        fix = _grant(
            f"storage buckets add-iam-policy-binding gs://{name}", "roles/storage.objectAdmin"
        )
        yield of_cloud("bucket", f"missing on gs://{name}: {', '.join(missing)}", fix)


def _bucket_rules(name: str, bucket: Mapping[str, Any]) -> Iterator[CheckResult]:
    """Report the rules of a bucket that affect a run."""
    if retention := bucket.get("retentionPolicy"):
        days = int(retention["retentionPeriod"]) / 86400
        found = f"gs://{name} keeps every object for {days:g} days"
        fix = "a run writes new objects alone, and its results stay that long; nothing to do"
        yield CheckResult("bucket", OK, found, fix)
    if bucket.get("billing", {}).get("requesterPays"):
        yield _requester_pays(name)


def _requester_pays(name: str) -> CheckResult:
    fix = "managed tuning jobs cannot name a project that pays: use another bucket"
    return of_cloud("bucket", f"gs://{name} lets the requester pay", fix)


def quota(place: Place) -> Iterator[CheckResult]:
    """Look whether the region's quota is enough for one tuning."""
    if place.model.backend == "custom":
        yield from _accelerator_quota(place)
        return
    row = place.catalog.hardware_of(place.model, place.region)
    if row is None:
        unknown = "managed tuning has a quota of tuning jobs at a time, which no interface tells us"
        yield CheckResult("quota", UNKNOWN, unknown, _quota_page(place))
        return
    yield _quota_finding(place, row.quota, row.quota_multiple)


def _accelerator_quota(place: Place) -> Iterator[CheckResult]:
    """Look whether the region's quota of an accelerator is enough for all machines of a job."""
    options = place.options
    machine = machine_of(options, place.catalog)
    need = machine.count * int(options.get("machines") or 1)
    is_spot = options.get("provisioning", "standard") != "standard"
    name = machine.row.spot_quota if is_spot else machine.row.quota
    yield _quota_finding(place, name, need)


def _quota_finding(place: Place, name: str, need: int) -> CheckResult:
    url = (
        f"{_USAGE}/v1beta1/projects/{place.project}/services/aiplatform.googleapis.com"
        "/consumerQuotaMetrics"
    )
    limit = _limit(_pages(url), name, place.region)
    if limit is None:
        return CheckResult("quota", UNKNOWN, f"{name}: not listed", _quota_page(place))
    if limit < need:
        found = f"{name}: {limit} in {place.region}, and a tuning needs {need}"
        return of_cloud("quota", found, f"ask for {need}: {_quota_page(place)}")
    return CheckResult("quota", OK, f"{name}: {limit} in {place.region}, {need} needed")


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
        yield CheckResult("template", UNKNOWN, f"{uri}: {error.found}", error.fix)
    else:
        yield CheckResult("template", OK, f"{fetched.source} is sha256:{fetched.sha256}")


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


def _wanted_rights(place: Place) -> tuple[str, ...]:
    """Return the permissions that the caller needs: to tune, to ask, and before that to submit."""
    template = place.model.backend == "large-model"
    tuning = _CUSTOM_RIGHTS if place.model.backend == "custom" else _TUNING_RIGHTS
    return (
        *(_JOB_RIGHTS if template or not place.under_way else ()),
        *(() if template else tuning),
        *(() if place.under_way else ("aiplatform.schedules.create",)),
        "aiplatform.endpoints.predict",
    )


def _missing(url: str, wanted: Sequence[str]) -> list[str]:
    granted = rest.call("POST", url, {"permissions": list(wanted)})
    return sorted({*wanted} - {*granted.get("permissions", ())})


def _number(place: Place) -> str:
    project = rest.call("GET", f"{_PROJECTS}/{place.project}")
    return str(project["name"]).rpartition("/")[2]


def _roles_of(member: str, policy: Any) -> set[str]:
    return {
        str(binding["role"])
        for binding in policy.get("bindings", ())
        if member in binding.get("members", ())
    }


def _pages(url: str) -> Iterator[Any]:
    query: dict[str, str] = {}
    while True:
        page = rest.call("GET", url, **query)
        yield from page.get("metrics", ())
        if not page.get("nextPageToken"):
            return
        query = {"pageToken": page["nextPageToken"]}


def _limit(metrics: Iterator[Any], name: str, region: str) -> int | None:
    """Return a metric's limit in a region; None if the metric is not listed.

    The bucket without dimensions holds in every region that has no bucket of its own.
    """
    for metric in metrics:
        if metric.get("displayName", "").lower() != name.lower():
            continue
        for limit in metric.get("consumerQuotaLimits", ()):
            buckets = {
                bucket.get("dimensions", {}).get("region", ""): int(bucket.get("effectiveLimit", 0))
                for bucket in limit.get("quotaBuckets", ())
            }
            if buckets.keys() & {region, ""}:
                value = buckets.get(region, buckets.get("", 0))
                return value if value >= 0 else 1 << 62  # -1: without limit
    return None


def _grant(command: str, role: str) -> str:
    member = rest.account() or "user:YOU"
    return f"gcloud {command} --member {shlex.quote(member)} --role {role}"


def _create(name: str, place: Place) -> str:
    return (
        f"gcloud storage buckets create gs://{name} --location {place.region} "
        f"--project {place.project} --uniform-bucket-level-access"
    )


def _quota_page(place: Place) -> str:
    return f"https://console.cloud.google.com/iam-admin/quotas?project={place.project}"


_ERRORS = {kind.exit_code: kind for kind in (UsageError, LimitError)}


def check_step(
    *,
    backend: str,
    base_model: str,
    project: str,
    region: str,
    root: str,
    options: Mapping[str, Any],
    tables: Mapping[str, Any],
    inlined: bool,
) -> str:
    """Look at everything, print what was found, and stop the run at a problem.

    Args:
        backend: What tunes.
        base_model: The model to tune.
        project: The project that pays.
        region: Where everything runs.
        root: Where the run's results go, gs://BUCKET/….
        options: Backend-specific options; its service_account and template_version count here.
        tables: Values that replace those of the package's tables.
        inlined: Whether the template is a part of the pipeline, so that it is not fetched.

    Returns:
        How many checks passed, and how many the account has no right to see.

    Raises:
        TunepipeError: The first problem, with the command that fixes it.
    """
    catalog = load_catalog(tables)
    place = Place(
        model=catalog.find_model(base_model, backend),
        project=project,
        region=region,
        bucket=root,
        service_account=str(options.get("service_account", "")),
        template=str(options.get("template_version", "")),
        under_way=True,
        catalog=catalog,
        options=options,
    )
    findings = list(_looked(place, inlined))
    for one in findings:
        print(f"{one.state:8} {one.check}: {one.found}")
    problems = [one for one in findings if one.state == PROBLEM]
    if problems:
        raise _error(problems)
    states = [one.state for one in findings]
    return ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))


def _looked(place: Place, inlined: bool) -> Iterator[CheckResult]:
    for name, check in CHECKS.items():
        if not (inlined and name == "template"):
            yield from tried(name, check, place)


def _error(problems: list[CheckResult]) -> TunepipeError:
    first, *more = problems
    others = f" (and {', '.join(one.check for one in more)})" if more else ""
    kind = _ERRORS.get(first.exit_code, CloudError)
    return kind(f"{first.found}{others}", where=first.check, fix=first.fix)
