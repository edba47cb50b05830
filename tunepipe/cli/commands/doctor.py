"""What would fail a run an hour later, looked at now; nothing is changed.

Each check gives findings: `ok`, `problem` with the command that fixes it, or `unknown` where our
rights, or the machine, do not let us see.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from tunepipe.catalog import models
from tunepipe.catalog.accelerators import machine_of
from tunepipe.catalog.ageing import age_warnings, tables_version
from tunepipe.catalog.tables import load
from tunepipe.cli import options
from tunepipe.cli.inputs import dataset_format, validated_files
from tunepipe.cli.output import Output
from tunepipe.data.source import refuse_streams
from tunepipe.distribution import content_hash
from tunepipe.errors import DataError, LimitError, UsageError, plural
from tunepipe.extras import install_command
from tunepipe.gcp.images import read_image
from tunepipe.steps import cloud_checks
from tunepipe.steps.cloud_checks import OK, PROBLEM, UNKNOWN, Check, CheckResult, Place, tried

if TYPE_CHECKING:
    from packaging.requirements import Requirement


def examine(place: Place) -> Iterator[CheckResult]:
    """Look at everything that the backend needs, the near before the far."""
    checks: dict[str, Check] = {"clients": clients, "model": model, "dataset": dataset}
    if place.model.backend != "local":
        checks |= {"tables": tables_age, **cloud_checks.CHECKS}
    if place.model.backend == "custom":
        checks["containers"] = containers
    if place.image:
        checks["image"] = image
    reached = True
    for name, check in checks.items():
        if not reached:
            yield CheckResult(name, UNKNOWN, "not looked at: the project is out of reach")
            continue
        for result in tried(name, check, place):
            yield result
            reached &= (result.check, result.state) != ("credentials", PROBLEM)


def clients(place: Place) -> Iterator[CheckResult]:
    """Compare the installed packages with what this package asks for."""
    from importlib import metadata

    extra = "local" if place.model.backend == "local" else "vertex"
    requirements = _requirements(extra)
    wrong = []
    for requirement in requirements:
        try:
            version = metadata.version(requirement.name)
            fits = requirement.specifier.contains(version, prereleases=True)
        except metadata.PackageNotFoundError:
            version, fits = "not installed", False
        if not fits:
            wrong.append(f"{requirement.name} {version}, wanted {requirement.specifier}")
    if wrong:
        yield cloud_checks.problem("; ".join(wrong), install_command(extra), UsageError)
    else:
        yield cloud_checks.ok(f"{len(requirements)} packages have versions that work")


def _requirements(extra: str) -> list[Requirement]:
    """Return what this package requires with an extra, and with the extras that this one names."""
    from importlib import metadata

    from packaging.requirements import Requirement

    requirements: dict[str, Requirement] = {}
    for requirement in map(Requirement, metadata.requires("tunepipe") or ()):
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        if requirement.name == "tunepipe":
            for name in requirement.extras:
                requirements |= {each.name: each for each in _requirements(name)}
        else:
            requirements[requirement.name] = requirement
    return list(requirements.values())


def model(place: Place) -> Iterator[CheckResult]:
    """Look the model up: does it live, and is it tuned in the region?"""
    today = datetime.now(UTC).date()
    if place.model.backend != "local":
        models.check_region(place.model, place.region)
    warnings = "; ".join(models.lifecycle_warnings(place.model, today))
    if models.is_retired(place.model, today):
        fix = f"--base-model {place.model.successor}" if place.model.successor else ""
        yield cloud_checks.problem(warnings, fix, LimitError)
    else:
        where = f" in {place.region}" if place.region else ""
        yield cloud_checks.ok(warnings or f"{place.model.name} is tuned{where}")


def tables_age(place: Place) -> Iterator[CheckResult]:
    """Look for old facts in the tables that a tuning of the model relies on."""
    hardware = place.catalog.hardware_of(place.model, place.region)
    accelerator = hardware.accelerator_type if hardware else ""
    if place.model.backend == "custom":
        accelerator = machine_of(place.options, place.catalog).accelerator
    old = age_warnings(place.catalog, place.model, datetime.now(UTC).date(), accelerator)
    if old:
        yield cloud_checks.unknown("; ".join(old), "tunepipe tables --check")
    else:
        yield cloud_checks.ok(f"no fact is old in the tables {tables_version(place.catalog)}")


def containers(place: Place) -> Iterator[CheckResult]:
    """Look for a custom job's containers that are named by a tag: another run may get another."""
    table = load("backends/custom/parameters.toml")
    for name in ("image", "prediction_image"):
        container = place.options.get(name) or table[name]
        if "@sha256:" in container:
            yield cloud_checks.ok(f"{container} is named by its digest")
        else:
            text = f"{container} is a tag, which may be moved"
            yield cloud_checks.unknown(text, f"--option {name}=NAME@sha256:…")


def dataset(place: Place) -> Iterator[CheckResult]:
    """Read and validate the dataset."""
    if not place.dataset:
        yield cloud_checks.unknown("none was named", "--dataset DATASET")
        return
    report = validated_files([place.dataset], format=place.format, model=place.model.name)
    if report.errors:
        codes = ", ".join(f"{code} {count:,}" for code, count in report.counts.items())
        fix = f"tunepipe validate {place.dataset} --model {place.model.name}"
        yield cloud_checks.problem(f"does not pass: {codes}", fix, DataError)
    else:
        yield cloud_checks.ok(f"{plural(report.rows, 'row')} without an error")


def image(place: Place) -> Iterator[CheckResult]:
    """Read what an image says of itself; what is installed in it shows only when it is run."""
    from tunepipe.packaging.installed import CODE_LABEL

    if "@sha256:" not in place.image:
        fix = "name it by its digest: NAME@sha256:…"
        yield cloud_checks.unknown(f"{place.image} is a tag, which may be moved", fix)
    config = read_image(place.image)
    ask = f"docker run --rm {place.image} python3 -m tunepipe.packaging.installed"
    settings = dict(each.split("=", 1) for each in config.get("Env") or ())
    version = ".".join(settings.get("PYTHON_VERSION", "").split(".")[:2])
    if version in ("3.11", "3.12", "3.13"):
        yield cloud_checks.ok(f"it has Python {version}")
    elif version:
        yield cloud_checks.problem(
            f"it has Python {version}", "build it on Python 3.11 to 3.13", UsageError
        )
    else:
        yield cloud_checks.unknown("it does not say which Python it has", ask)
    code, here = (config.get("Labels") or {}).get(CODE_LABEL, ""), content_hash()
    if code == here:
        yield cloud_checks.ok("it was built from the code of this command")
    elif code:
        message = f"it was built from other code: {code[:16]}, and here is {here[:16]}"
        yield cloud_checks.problem(
            message, "build it again from this commit: make image", UsageError
        )
    else:
        yield cloud_checks.unknown(f"it has no label {CODE_LABEL}: ask it what it lacks", ask)


_STYLES = {"ok": "green", "problem": "red bold", "unknown": "yellow"}


@dataclass(frozen=True, kw_only=True)
class PlaceOptions:
    """What a run would use.

    Options:
        dataset (DATASET): Read and validate these rows too.
        bucket (gs://BUCKET): Where a run keeps everything.
        service_account (EMAIL): The account that a run acts as.
        template (VERSION): The template's version, sha256:… or URI.
        image (IMAGE): The image that the steps are to run on.
    """

    dataset: str = ""
    format: str = "auto"
    region: str = ""
    project: str = ""
    bucket: str = ""
    service_account: str = ""
    template: str = ""
    image: str = ""


def doctor(
    context: typer.Context,
    *,
    place: PlaceOptions,
    backend: str = "",
    base_model: options.BaseModel = "",
    accelerator: str = "",
    backend_options: Annotated[list[str] | None, typer.Option("--option")] = None,
    tables: str = "",
    user_project: options.UserProject = "",
    out: Output,
) -> int:
    """Find what would fail a run, with the command that fixes it.

    Changes nothing.

    What the account in use may not see is said to be unknown. The exit code is that of the first
    problem, and 0 where there is none.

    Options:
        backend_options (K=V): As of `run`; machines=2 and provisioning=spot decide which quota
            counts. Repeatable.
    """
    refuse_streams([place.dataset], "dataset")
    catalog = options.catalog(context, tables)
    if place.dataset and not base_model:
        base_model = catalog.default_model(dataset_format([place.dataset], place.format), backend)
    chosen = catalog.find_model(base_model, backend)
    if chosen.backend != "local":
        options.require_values(project=place.project, region=place.region)
    machine = {"accelerator": accelerator} if accelerator else {}
    settings = machine | options.pairs(backend_options, "--option")
    examined = Place(chosen, **vars(place), catalog=catalog, options=settings)
    results = []
    for result in examine(examined):
        results.append(result)
        state = out.styled(f"{result.state:8}", _STYLES[result.state])
        out.line(f"{state} {result.check}: {result.found}")
        if result.fix and result.state != OK:
            out.line(f"         {out.styled('fix', 'cyan')}: {result.fix}")
    states = [result.state for result in results]
    problems, unseen = states.count(PROBLEM), states.count(UNKNOWN)
    findings = [asdict(result) for result in results]
    out.result({"findings": findings, "problems": problems, "unknown": unseen})
    out.line(f"{plural(problems, 'problem')}, {unseen} not visible to this account", "bold")
    return next((result.exit_code for result in results if result.state == PROBLEM), 0)
