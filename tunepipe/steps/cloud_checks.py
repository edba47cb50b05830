"""What check_cloud does: look, as the run's own account, at what would fail it an hour later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tunepipe.catalog import models
from tunepipe.errors import CloudError, LimitError, TunepipeError, UsageError
from tunepipe.steps.cloud_checks_2 import CHECKS
from tunepipe.steps.findings import PROBLEM, Finding, Place, tried

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
        options: What the backend alone knows; its service_account and template_version count here.
        tables: Values that replace those of the package's tables.
        inlined: Whether the template is a part of the pipeline, so that nobody fetches it.

    Returns:
        How many things are sound, and how many our rights do not let us see.

    Raises:
        TunepipeError: The first problem, with the command that mends it.
    """
    place = Place(
        model=models.find(base_model, backend, tables or None),
        project=project,
        region=region,
        bucket=root,
        service_account=str(options.get("service_account", "")),
        template=str(options.get("template_version", "")),
        under_way=True,
        tables=tables,
    )
    found = list(_looked(place, inlined))
    for one in found:
        print(f"{one.state:8} {one.check}: {one.found}")
    problems = [one for one in found if one.state == PROBLEM]
    if problems:
        raise _error(problems)
    states = [one.state for one in found]
    return ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))


def _looked(place: Place, inlined: bool) -> Iterator[Finding]:
    for name, check in CHECKS.items():
        if not (inlined and name == "template"):
            yield from tried(name, check, place)


def _error(problems: list[Finding]) -> TunepipeError:
    first, *more = problems
    others = f" (and {', '.join(one.check for one in more)})" if more else ""
    kind = _ERRORS.get(first.exit_code, CloudError)
    return kind(f"{first.found}{others}", where=first.check, fix=first.fix)
