"""What compute_train_steps does: the core's plan, made on the day of the run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tunepipe.core.files import write_json
from tunepipe.core.steps import Plan, plan


def plan_step(path: str, tables: Mapping[str, Any], **settings: Any) -> Plan:
    """Plan a run against today's dates and write the plan as JSON.

    Args:
        path: Where the JSON goes.
        tables: Values that replace those of the package's tables; {} changes nothing.
        settings: The arguments of `tunepipe.core.steps.plan`.

    Returns:
        The plan.

    Raises:
        TunepipeError: What `plan` refuses; then no file is written.
    """
    today = datetime.now(UTC).date()
    found = plan(today=today, overrides=tables or None, **settings)
    write_json(found.as_json(), path)
    return found
