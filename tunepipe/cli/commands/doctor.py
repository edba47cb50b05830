"""What would fail a run an hour later, looked at now; nothing is changed.

Each check gives findings: `ok`, `problem` with the command that fixes it, or `unknown` where our
rights, or the machine, do not let us see.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from tunepipe.cli import options
from tunepipe.cli.inputs import dataset_format
from tunepipe.cli.output import Output
from tunepipe.errors import UsageError, plural
from tunepipe.extras import install_command
from tunepipe.steps.cloud_checks import OK, PROBLEM, UNKNOWN, Check, CheckResult, Place, tried

if TYPE_CHECKING:
    from packaging.requirements import Requirement


def examine(place: Place) -> Iterator[CheckResult]:
    """Look at everything that the backend needs, the near before the far.

    Args:
        place: What a run would use.

    Yields:
        Findings, as they come.
    """
    checks: dict[str, Check] = {"clients": clients, "model": model, "dataset": dataset}
    if place.model.backend != "local":
        from tunepipe.steps import cloud_checks

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
        for one in tried(name, check, place):
            yield one
            reached &= (one.check, one.state) != ("credentials", PROBLEM)


def clients(place: Place) -> Iterator[CheckResult]:
    """Compare the installed packages with what this package asks for."""
    from importlib import metadata

    extra = "local" if place.model.backend == "local" else "vertex"
    requirements = _requirements(extra)
    wrong = []
    for one in requirements:
        try:
            version = metadata.version(one.name)
        except metadata.PackageNotFoundError:
            version = "not installed"
        if version == "not installed" or not one.specifier.contains(version, prereleases=True):
            wrong.append(f"{one.name} {version}, wanted {one.specifier}")
    if wrong:
        fix = install_command(extra)
        yield CheckResult("clients", PROBLEM, "; ".join(wrong), fix, UsageError.exit_code)
    else:
        yield CheckResult("clients", OK, f"{len(requirements)} packages have versions that work")


def _requirements(extra: str) -> list[Requirement]:
    """Return what this package requires with an extra, and with the extras that this one names."""
    from importlib import metadata

    from packaging.requirements import Requirement

    requirements: dict[str, Requirement] = {}
    for text in metadata.requires("tunepipe") or ():
        one = Requirement(text)
        if one.marker and not one.marker.evaluate({"extra": extra}):
            continue
        if one.name == "tunepipe":
            for name in one.extras:
                requirements |= {each.name: each for each in _requirements(name)}
        else:
            requirements[one.name] = one
    return list(requirements.values())


def model(place: Place) -> Iterator[CheckResult]:
    """Look the model up: does it live, and is it tuned in the region?"""
    from tunepipe.catalog import models

    today = datetime.now(UTC).date()
    if place.model.backend != "local":
        models.check_region(place.model, place.region)
    warnings = "; ".join(models.lifecycle_warnings(place.model, today))
    if models.is_retired(place.model, today):
        fix = f"--base-model {place.model.successor}" if place.model.successor else ""
        yield CheckResult("model", PROBLEM, warnings, fix, 3)
    else:
        where = f" in {place.region}" if place.region else ""
        yield CheckResult("model", OK, warnings or f"{place.model.name} is tuned{where}")


def tables_age(place: Place) -> Iterator[CheckResult]:
    """Look for old facts in the tables that a tuning of the model relies on."""
    from tunepipe.catalog.accelerators import machine_of
    from tunepipe.catalog.ageing import age_warnings, tables_version

    hardware = place.catalog.hardware_of(place.model, place.region)
    accelerator = hardware.accelerator_type if hardware else ""
    if place.model.backend == "custom":
        accelerator = machine_of(place.options, place.catalog).accelerator
    old = age_warnings(place.catalog, place.model, datetime.now(UTC).date(), accelerator)
    if old:
        yield CheckResult("tables", UNKNOWN, "; ".join(old), "tunepipe tables --check")
    else:
        yield CheckResult(
            "tables", OK, f"no fact is old in the tables {tables_version(place.catalog)}"
        )


def containers(place: Place) -> Iterator[CheckResult]:
    """Look for a custom job's containers that are named by a tag: another run may get another."""
    from tunepipe.catalog.tables import load

    table = load("backends/custom/parameters.toml")
    for name in ("image", "prediction_image"):
        if "@sha256:" in table[name]:
            yield CheckResult("containers", OK, f"{table[name]} is named by its digest")
        else:
            found = f"{table[name]} is a tag, which may be moved"
            yield CheckResult("containers", UNKNOWN, found, f"--option {name}=NAME@sha256:…")


def dataset(place: Place) -> Iterator[CheckResult]:
    """Read and validate the dataset."""
    if not place.dataset:
        yield CheckResult("dataset", UNKNOWN, "none was named", "--dataset DATASET")
        return
    from tunepipe.cli.inputs import local_copies
    from tunepipe.validation.validate import validate

    with local_copies([place.dataset]) as files:
        report = validate(list(files), format=place.format, model=place.model.name)
    if report.errors:
        codes = ", ".join(f"{code} {count:,}" for code, count in report.as_json()["counts"].items())
        fix = f"tunepipe validate {place.dataset} --model {place.model.name}"
        yield CheckResult("dataset", PROBLEM, f"does not pass: {codes}", fix, 1)
    else:
        rows = report.as_json()["rows"]
        yield CheckResult("dataset", OK, f"{plural(rows, 'row')} without an error")


def image(place: Place) -> Iterator[CheckResult]:
    """Read what an image says of itself; what is installed in it shows only when it is run."""
    from tunepipe.distribution import content_hash
    from tunepipe.gcp.images import read_image
    from tunepipe.packaging.installed import CODE_LABEL

    if "@sha256:" not in place.image:
        fix = "name it by its digest: NAME@sha256:…"
        yield CheckResult("image", UNKNOWN, f"{place.image} is a tag, which may be moved", fix)
    config = read_image(place.image)
    ask = f"docker run --rm {place.image} python3 -m tunepipe.packaging.installed"
    settings = dict(each.split("=", 1) for each in config.get("Env") or ())
    version = ".".join(settings.get("PYTHON_VERSION", "").split(".")[:2])
    if version in ("3.11", "3.12", "3.13"):
        yield CheckResult("image", OK, f"it has Python {version}")
    elif version:
        fix = "build it on Python 3.11 to 3.13"
        yield CheckResult("image", PROBLEM, f"it has Python {version}", fix, UsageError.exit_code)
    else:
        yield CheckResult("image", UNKNOWN, "it does not say which Python it has", ask)
    code = (config.get("Labels") or {}).get(CODE_LABEL, "")
    if code == content_hash():
        yield CheckResult("image", OK, "it was built from the code of this command")
    elif code:
        fix = "build it again from this commit: make image"
        message = f"it was built from other code: {code[:16]}, and here is {content_hash()[:16]}"
        yield CheckResult("image", PROBLEM, message, fix, UsageError.exit_code)
    else:
        yield CheckResult(
            "image", UNKNOWN, f"it has no label {CODE_LABEL}: ask it what it lacks", ask
        )


_STYLES = {"ok": "green", "problem": "red bold", "unknown": "yellow"}


def doctor(
    context: typer.Context,
    *,
    dataset: str = "",
    backend: options.Backend = "",
    base_model: options.BaseModel = "",
    format: options.Format = "auto",
    region: options.Region = "",
    project: options.Project = "",
    bucket: str = "",
    accelerator: options.Accelerator = "",
    backend_options: Annotated[list[str] | None, typer.Option("--option")] = None,
    service_account: str = "",
    template: str = "",
    image: str = "",
    tables: options.Tables = "",
    user_project: options.UserProject = "",
    json: options.Json = False,
) -> int:
    """Find what would fail a run, with the command that fixes it.

    Changes nothing.

    What the account in use may not see is said to be unknown. The exit code is that of the first
    problem, and 0 where there is none.

    Options:
        dataset (DATASET): Read and validate these rows too.
        bucket (gs://BUCKET): Where a run keeps everything.
        backend_options (K=V): As of `run`; machines=2 and provisioning=spot decide which quota
            counts. Repeatable.
        service_account (EMAIL): The account that a run acts as.
        template (VERSION): The template's version, sha256:… or URI.
        image (IMAGE): The image that the steps are to run on.
    """
    from tunepipe.steps.cloud_checks import OK, PROBLEM, UNKNOWN, Place

    catalog = options.catalog(context, tables)
    if dataset and not base_model:
        base_model = catalog.default_model(dataset_format([dataset], format), backend)
    model = catalog.find_model(base_model, backend)
    if model.backend != "local":
        options.require_values(project=project, region=region)
    place = Place(
        model,
        dataset,
        format,
        project,
        region,
        bucket,
        service_account,
        template,
        image,
        catalog=catalog,
        options={
            **({"accelerator": accelerator} if accelerator else {}),
            **options.pairs(backend_options, "--option"),
        },
    )
    out = Output(json)
    findings = []
    for one in examine(place):
        findings.append(one)
        out.line(f"{out.styled(f'{one.state:8}', _STYLES[one.state])} {one.check}: {one.found}")
        if one.fix and one.state != OK:
            out.line(f"         {out.styled('fix', 'cyan')}: {one.fix}")
    counts = {state: sum(one.state == state for one in findings) for state in (PROBLEM, UNKNOWN)}
    out.result(
        {
            "findings": [asdict(one) for one in findings],
            "problems": counts[PROBLEM],
            "unknown": counts[UNKNOWN],
        }
    )
    out.line(
        f"{plural(counts[PROBLEM], 'problem')}, {counts[UNKNOWN]} not visible to this account",
        "bold",
    )
    return next((one.exit_code for one in findings if one.state == PROBLEM), 0)
