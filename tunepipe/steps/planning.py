"""The step that plans: training steps, hours and dollars on the day of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tunepipe.catalog.catalog import load_catalog
from tunepipe.data.rows import read_examples
from tunepipe.data.text_pairs import estimate_tokens
from tunepipe.errors import UsageError
from tunepipe.evaluation import tasks
from tunepipe.evaluation.normalization import STRICT
from tunepipe.files import replacing, write_json
from tunepipe.planning.plan import HeldOut, Plan, plan
from tunepipe.steps.artifacts import Artifact


def plan_step(
    path: str,
    tables: Mapping[str, Any],
    *,
    summary: str = "",
    warnings: Sequence[str] = (),
    held_out: HeldOut | None = None,
    **settings: Any,
) -> Plan:
    """Plan a run against today's dates; write the plan as JSON, and a `summary` as Markdown.

    What `planning.plan.plan` refuses is raised, and then no file is written. The settings are its
    other arguments.
    """
    catalog = load_catalog(tables)
    planned = plan(today=datetime.now(UTC).date(), catalog=catalog, **settings)
    planned = replace(planned, warnings=(*planned.warnings, *warnings))
    if held_out:
        planned = planned.with_held_out(held_out, catalog, float(settings.get("max_cost_usd", 0)))
    if planned.metric:
        print(f"{planned.metric} decides: {planned.metric_reason}")
    write_json(planned.as_json(), path)
    if summary:
        lines = [*planned.explanation, *(f"**Warning**: {warning}" for warning in planned.warnings)]
        with replacing(summary) as file:
            file.writelines(f"- {line}\n" for line in lines)
    return planned


def count_rows(train: Artifact | None) -> int:
    """Count the rows to learn from."""
    if train is None:
        raise UsageError("no rows to plan for", where="rows, train", fix="give one of the two")
    return sum(1 for _ in read_examples(train.path))


def check_held_out(
    eval: Artifact | None,
    scoring: Mapping[str, Any],
    asking: Mapping[str, Any],
    judge: str = "",
    *,
    backend: str = "",
    model: str = "",
    tables: Mapping[str, Any] | None = None,
) -> tuple[tuple[str, ...], HeldOut]:
    """Refuse before the tuning held-out rows that could not be scored after it.

    The references must suit the `task` and the `metric` of the scoring, the rows have the fields of
    its `slice_by`, and the model and the judge take their parts. Return warnings about answers that
    would be cut, and how the rows decide.
    """
    task = str(scoring["task"])
    tasks.check_task(task)
    rows = list(read_examples(eval.path)) if eval else []
    tasks.check_parts(rows, load_catalog(tables).find_model(model, backend), judge)
    references = [row.reference for row in rows]
    tasks.check_references(task, references)
    written = [estimate_tokens(text) for text in references]
    read = [estimate_tokens(row.input) for row in rows]
    metric = ("", "")
    if rows:
        name, normalize = str(scoring.get("metric", "")), str(scoring.get("normalize") or STRICT)
        tasks.check_metric(name, tasks.choose_task(references, task).name, references, normalize)
        tasks.check_slices(scoring.get("slice_by", ()), rows, str(asking.get("group_by", "")))
        metric = tasks.choose_metric(references, task, name)
    guard = asking.get("guard", {})
    different = len({row.input for row in rows})
    held_out = HeldOut(
        different,
        *metric,
        repeats=len(rows) - different,
        models=2 + len(scoring.get("trained", ())),  # the champions
        answers=int(asking.get("answers", 1)),
        tokens_read=sum(read) / max(1, len(rows)),
        tokens_written=sum(written) / max(1, len(rows)),
        guard_tokens=(int(guard.get("read", 0)), int(guard.get("written", 0))),
    )
    return tasks.cut_answers(max(written, default=0), int(asking["max_output_tokens"])), held_out
