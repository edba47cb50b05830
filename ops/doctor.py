"""What would fail a run an hour later, looked at now; nothing is changed.

Each check gives findings: `ok`, `problem` with the command that mends it, or `unknown` where our
rights, or the machine, do not let us see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from tunepipe.core.errors import CloudError, TunepipeError, UsageError
from tunepipe.core.models import Model

OK, PROBLEM, UNKNOWN = "ok", "problem", "unknown"


@dataclass(frozen=True)
class Place:
    """What a run would use.

    Args:
        model: The model to tune.
        dataset: A path, a gs:// URI or a glob of either; "" looks at none.
        format: The rows' format.
        project: The project that pays.
        region: Where everything runs.
        bucket: gs://BUCKET, or a folder in it.
        service_account: The account that the run acts as; "" for the project's default.
        template: The template's version or URI, where one tunes; "" for ours.
    """

    model: Model
    dataset: str = ""
    format: str = "auto"
    project: str = ""
    region: str = ""
    bucket: str = ""
    service_account: str = ""
    template: str = ""


@dataclass(frozen=True)
class Finding:
    """What a check has found.

    Args:
        check: What was looked at.
        state: ok, problem or unknown.
        found: In one sentence.
        fix: The command that mends it, or what to do.
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


Check = Callable[[Place], Iterator[Finding]]


def examine(place: Place) -> Iterator[Finding]:
    """Look at everything that the backend needs, the near before the far.

    Args:
        place: What a run would use.

    Yields:
        Findings, as they come.
    """
    checks: dict[str, Check] = {"clients": clients, "model": model, "dataset": dataset}
    if place.model.backend != "local":
        from . import doctor_cloud

        checks |= doctor_cloud.CHECKS
    reached = True
    for name, check in checks.items():
        if not reached:
            yield Finding(name, UNKNOWN, "not looked at: the project is out of reach")
            continue
        for one in tried(name, check, place):
            yield one
            reached &= (one.check, one.state) != ("credentials", PROBLEM)


def tried(name: str, check: Check, place: Place) -> Iterator[Finding]:
    """Turn what a check raises into a finding; a missing right leaves the thing unknown."""
    try:
        yield from check(place)
    except TunepipeError as error:
        code = getattr(error, "code", 0)
        found = f"{error.where}: {error.found}" if error.where else error.found
        if code == 403:
            yield Finding(name, UNKNOWN, f"our rights do not let us see it: {found}", error.fix)
        else:
            yield Finding(name, PROBLEM, found, error.fix, error.exit_code)


def clients(place: Place) -> Iterator[Finding]:
    """Compare the installed packages with what this package asks for."""
    from importlib import metadata

    from packaging.requirements import Requirement

    wanted = [Requirement(text) for text in metadata.requires("tunepipe") or ()]
    extra = "local" if place.model.backend == "local" else ""
    wanted = [one for one in wanted if not one.marker or one.marker.evaluate({"extra": extra})]
    wrong = []
    for one in wanted:
        try:
            version = metadata.version(one.name)
        except metadata.PackageNotFoundError:
            version = "not installed"
        if version == "not installed" or not one.specifier.contains(version, prereleases=True):
            wrong.append(f"{one.name} {version}, wanted {one.specifier}")
    package = "'tunepipe[local]'" if extra else "tunepipe"
    if wrong:
        fix = f"pip install --upgrade {package}"
        yield Finding("clients", PROBLEM, "; ".join(wrong), fix, UsageError.exit_code)
    else:
        yield Finding("clients", OK, f"{len(wanted)} packages have versions that work")


def model(place: Place) -> Iterator[Finding]:
    """Look the model up: does it live, and is it tuned in the region?"""
    from tunepipe.core import models

    today = datetime.now(UTC).date()
    if place.model.backend != "local":
        models.check_region(place.model, place.region)
    told = "; ".join(models.lifecycle_warnings(place.model, today))
    if models.is_retired(place.model, today):
        fix = f"--base-model {place.model.successor}" if place.model.successor else ""
        yield Finding("model", PROBLEM, told, fix, 3)
    else:
        where = f" in {place.region}" if place.region else ""
        yield Finding("model", OK, told or f"{place.model.name} is tuned{where}")


def dataset(place: Place) -> Iterator[Finding]:
    """Read and validate the dataset."""
    if not place.dataset:
        yield Finding("dataset", UNKNOWN, "none was named", "--dataset DATASET")
        return
    from tunepipe.core.validation import validate

    from .inputs import local_copies

    with local_copies([place.dataset]) as files:
        found = validate(list(files), format=place.format, model=place.model.name)
    if found.errors:
        codes = ", ".join(f"{code} {count:,}" for code, count in found.as_json()["counts"].items())
        fix = f"tunepipe validate {place.dataset} --model {place.model.name}"
        yield Finding("dataset", PROBLEM, f"does not pass: {codes}", fix, 1)
    else:
        rows = found.as_json()["rows"]
        yield Finding("dataset", OK, f"{rows:,} rows pass, none with an error")


def of_cloud(check: str, found: str, fix: str) -> Finding:
    """Make a finding of what the cloud would refuse."""
    return Finding(check, PROBLEM, found, fix, CloudError.exit_code)
