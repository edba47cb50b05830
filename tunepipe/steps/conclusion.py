"""The last step of a run: judge, report, registry, promotion, and memory of the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunepipe.catalog.catalog import load_catalog
from tunepipe.data.predictions import read
from tunepipe.distribution import describe_code
from tunepipe.files import read_json
from tunepipe.registry import data_history
from tunepipe.registry.evaluations import import_step
from tunepipe.steps.artifacts import address_of, model_of, paths_of
from tunepipe.steps.judging import judge_step
from tunepipe.steps.promotion import decide_step
from tunepipe.steps.reporting import record_step, report_step


def conclude_step(ports: Mapping[str, Any]) -> str:
    """Draw the conclusions from a comparison; return what was decided about the champion.

    The ports are those of `components.families.reporting` and `concluding`. A second call for the
    same run repeats nothing. Where Google refuses to import the evaluation, everything else is done
    by then.
    """
    ports = {**ports, "run": {**ports["run"], "code": describe_code()}}
    registry, run = ports["registry"], ports["run_id"] or ports["job"]
    dataset_uri, format = ports["dataset_uri"], ports["format"]
    comparison = ports["comparison"].path
    # 1. The judge is asked first: its answers are part of the report, and decide nothing.
    answers = {name: ports[name] for name in ("tuned", "base", "champion")}
    catalog = load_catalog(ports["tables"])
    judge = {name: ports[name] for name in ("project", "region", "max_cost_usd", "work_dir")}
    judge |= {**ports["judging"], "catalog": catalog}
    judge_step(answers, ports["plan"], ports["judgement"].path, **judge)
    # 2. What the champion was tuned on is compared before the champion may change.
    paths = paths_of({**answers, "problems": ports["problems"]})
    problems = paths.get("problems")
    stats = read_json(problems)["stats"] if problems else {}
    changes = {}
    if dataset_uri:
        changes = data_history.since_champion(dataset_uri, registry, format, stats)
    report_step(ports, ports["judgement"], {"data_changes": changes} if changes else {})
    record_step(ports, address_of(ports["model"]))
    # 3. Only a model that is better goes into service, and the rows have decided once more.
    decision = decide_step(model_of(ports["model"]), comparison, registry, run)
    # 4. The next run of the series starts from these data.
    if dataset_uri:
        seen = (dataset_uri, ports["fingerprint"], registry, ports["series"], run)
        held_out = (
            {row.hash for row in read(paths["tuned"]) if row.hash} if "tuned" in paths else ()
        )
        data_history.remember(*seen, format, stats, held_out)
    if ports["pipeline_job"]:
        print(import_step(ports["tuning"].path, comparison, ports["pipeline_job"]))
    return decision
