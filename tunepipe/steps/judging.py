"""A Gemini of Vertex AI as the judge of two predictions files, and what judge_models does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import to_builtins
from msgspec.structs import replace

from tunepipe import progress
from tunepipe.catalog.catalog import Catalog, load_catalog
from tunepipe.data.predictions import Prediction, read
from tunepipe.errors import LimitError, TunepipeError, UsageError, dollars
from tunepipe.evaluation.judge import UnreadableJudgeError, gemini, judge
from tunepipe.evaluation.judge_prompt import PROMPT
from tunepipe.files import read_json, replacing
from tunepipe.gcp import genai
from tunepipe.reporting.facts import Judge
from tunepipe.steps.artifacts import Artifact, paths_of
from tunepipe.stores.storage import work_folder

_ANSWER_SECONDS = 120.0


def location_of(model: str, region: str, catalog: Catalog) -> str:
    """Return the location where a model answers for a region: eu for Gemini 3 in europe-west4."""
    known = catalog.model_table.models.get(model)
    return known.served_in.get(region, region) if known else region


def judge_on_vertex(
    tuned: Sequence[Prediction],
    base: Sequence[Prediction],
    *,
    model: str,
    project: str,
    region: str,
    prompt: str = "",
    catalog: Catalog | None = None,
    **settings: Any,
) -> Judge:
    """Ask a Gemini model to judge; see `evaluation.judge.judge` and `location_of`."""
    if not (project and region):
        raise UsageError(
            "a judge is asked in a project and a region",
            where=model,
            fix="name the project that pays, and the region that the texts may go to",
        )
    catalog = catalog or load_catalog()
    client = genai.client(project, location_of(model, region, catalog), _ANSWER_SECONDS)
    return judge(
        tuned,
        base,
        gemini(client, model),
        model=model,
        prompt=prompt or PROMPT,
        catalog=catalog,
        progress=lambda event: progress.report(stage="judge", **event),
        **settings,
    )


def judge_step(
    predictions: Mapping[str, Artifact | None],
    plan: Artifact | None,
    out: str,
    *,
    model: str = "",
    max_cost_usd: float = 0.0,
    work_dir: str = "",
    must_be_readable: bool = False,
    **settings: Any,
) -> str:
    """Judge the tuned model against the others, and write what came out as JSON.

    What keeps the judge from its work must not fail a run whose tuning is paid: the reason is
    written instead, unless replies that cannot be read are to fail it (`must_be_readable`).

    The JSON holds the judgement against the base model, and under `champion` the one against the
    champion; it is empty without a judge. The ceiling is over tuning, answers and judging. Replies
    are kept in `work_dir`, or next to the JSON. The other settings are those of `judge_on_vertex`.
    Return the verdict against the base model; "" if nothing was judged.
    """
    files = paths_of({**predictions, "plan": plan})
    judgements: dict[str, Judge] = {}
    spent = 0.0
    for name in ("base", "champion"):
        if not (model and "tuned" in files and name in files):
            continue
        try:
            left = _left(max_cost_usd, files.get("plan", ""), spent)
            place = work_dir or str(Path(out).parent)
            rows = read(files["tuned"]), read(files[name])
            with work_folder(place, "replies", files["tuned"]) as folder:
                more = {**settings, "max_cost_usd": left, "work_dir": folder}
                judgements[name] = judge_on_vertex(*rows, model=model, **more)
            spent += judgements[name].estimated_cost_usd or 0.0
        except TunepipeError as error:
            if must_be_readable and isinstance(error, UnreadableJudgeError):
                raise
            judgements[name] = Judge(model=model, refused=str(error))
    judged = judgements.get("base", Judge(model=model))
    if "champion" in judgements:
        judged = replace(judged, champion=judgements["champion"])
    with replacing(out) as file:
        text = json.dumps(to_builtins(judged), ensure_ascii=False, indent=1)
        file.write(text if judgements else "")
    return judged.verdict


def _left(max_cost_usd: float, plan: str, spent: float) -> float:
    """Return what tuning, answers and judging leave of the ceiling; 0 if there is no ceiling."""
    if not max_cost_usd:
        return 0.0
    planned = read_json(plan) if plan else {}
    costs = (planned.get(name) or 0.0 for name in ("estimated_cost_usd", "evaluation_cost_usd"))
    left = max_cost_usd - sum(costs) - spent
    if left <= 0:
        raise LimitError(
            f"tuning and answers leave nothing of the ceiling of {dollars(max_cost_usd)}",
            where="max_cost_usd",
            fix="a higher ceiling",
        )
    return float(left)
