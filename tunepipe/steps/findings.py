"""What a look at a run's place finds: each thing sound, broken with its remedy, or out of sight."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tunepipe.catalog.models import Model
from tunepipe.errors import CloudError, TunepipeError

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
        under_way: Whether the run is under way, and acts as its own account, instead of somebody
            who is to submit it.
        tables: The user's values for the tables.
    """

    model: Model
    dataset: str = ""
    format: str = "auto"
    project: str = ""
    region: str = ""
    bucket: str = ""
    service_account: str = ""
    template: str = ""
    under_way: bool = False
    tables: Mapping[str, Any] = field(default_factory=dict)


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


def of_cloud(check: str, found: str, fix: str) -> Finding:
    """Make a finding of what the cloud would refuse."""
    return Finding(check, PROBLEM, found, fix, CloudError.exit_code)
