"""The step that tunes: any backend between the pipeline's artifacts.

With the option `select_checkpoint` a part of the training rows is set apart, each checkpoint that
the job exports is asked these rows, and the best of them is the tuned model. The held-out rows
have no part in the choice, so that the verdict stays a fair one.
"""

from __future__ import annotations

import hashlib
import shutil
import traceback
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tunepipe import progress
from tunepipe.backends.base import Predictor, Prompt, Tuner, TuningRequest, TuningResult
from tunepipe.catalog.backends import find_backend
from tunepipe.catalog.catalog import load_catalog
from tunepipe.data.conversations import Example
from tunepipe.data.rows import read_examples
from tunepipe.errors import DataError, TunepipeError, UnreachableError
from tunepipe.evaluation.ask import ask_all
from tunepipe.files import write_json
from tunepipe.planning.costs import selection_rows
from tunepipe.steps.artifacts import point_at
from tunepipe.stores.storage import local_files, work_folder, write_file

_SELECTION_ROWS_MIN = 8


def tune(
    tuner: Tuner,
    ports: Mapping[str, Any],
    *,
    predictor: Predictor | None = None,
    checkpoint_dir: str = "",
    **settings: Any,
) -> None:
    """Tune a model and write what is known of the tuning, as JSON.

    The ports are those of `components.families.tuning`, and with a job in the cloud those of
    `tuning_in_cloud`; the settings are the fields of `TuningRequest` that differ from backend to
    backend. `model` and `base` refer to the models afterwards: their own folder, an endpoint, or
    weights. The predictor asks the checkpoints, if one of them is to be selected. A fault that is
    not the user's ends the process with the code that tells a pipeline so.
    """
    model, base, tables = ports["model"], ports["base"], ports.get("tables")
    resources = ports.get("gcp_resources", "")
    # A service reads the rows itself.
    rows = [
        ports[name].uri if tables is not None else ports[name].path for name in ("train", "eval")
    ]
    options = {"checkpoint_dir": checkpoint_dir, "resources_path": resources, **ports["options"]}
    shared = ("train_steps", "learning_rate_multiplier", "project", "region", "display_name")
    request = TuningRequest(
        train_uri=rows[0],
        eval_uri=rows[1],
        options={name: value for name, value in options.items() if value not in (None, "")},
        catalog=load_catalog(tables),
        **{name: ports[name] for name in shared if name in ports},
        **settings,
    )
    try:
        if predictor and request.options.get("select_checkpoint"):
            result = _tune_and_select(tuner, predictor, request, model.path)
        else:
            result = _tune(tuner, request, model.path)
    except UnreachableError as error:
        traceback.print_exc()
        raise SystemExit(error.step_exit_code) from error
    tuned = result.endpoint or result.model
    if tuned != model.path:
        point_at(model, tuned)
    if Path(result.base).is_relative_to(model.path):
        # On a cluster the next step has another disk: what the tuner made goes as an artifact.
        shutil.copytree(result.base, base.path, dirs_exist_ok=True)
    else:
        point_at(base, result.base)
    write_json(asdict(result), ports["tuning"].path)


def _tune(tuner: Tuner, request: TuningRequest, output_dir: str) -> TuningResult:
    """Tune; checkpoints of a folder in an object store are copied back and forth."""
    folder = str(request.options.get("checkpoint_dir", ""))
    with work_folder(folder, "checkpoints", request.train_uri) as checkpoints:
        if checkpoints != folder:
            options = {**request.options, "checkpoint_dir": checkpoints}
            request = replace(request, options=options)
        return tuner.tune(request, output_dir, _report)


def _tune_and_select(
    tuner: Any, predictor: Predictor, request: TuningRequest, output_dir: str
) -> TuningResult:
    """Tune on a part of the rows, ask each checkpoint the others, and take the best."""
    learn, chosen_by = _set_apart(request)
    result: TuningResult = tuner.tune(learn, output_dir, _report)
    prompts = [Prompt(row.id, row.messages, row.fields, row.format) for row in chosen_by]
    pacing = find_backend("gemini").pacing
    settings, scores = {"base_model": request.base_model}, []
    for checkpoint in result.statistics.get("checkpoints", ()):
        if not checkpoint.get("endpoint"):
            continue
        answers = {
            answer.id: answer.text or ""
            for answer in ask_all(predictor, checkpoint["endpoint"], prompts, settings, pacing)
        }
        score = sum(_overlap(answers.get(row.id, ""), row.reference) for row in chosen_by)
        scores.append({**checkpoint, "rows": len(prompts), "score": score / len(prompts)})
    if not scores:
        return result
    # Of equals the earlier one, which has seen the rows less often.
    best = max(scores, key=lambda each: (each["score"], -int(each.get("epoch") or 0)))
    selected, notes = best["checkpoint_id"], [str(result.statistics.get("note", ""))]
    try:
        tuner.set_default_checkpoint(result.model, str(selected))
    except TunepipeError as error:  # noted, as the tuning is paid
        notes.append(f"the default checkpoint was not moved to {selected}: {error.found}")
    statistics = {**result.statistics, "selection": scores, "selected": selected}
    statistics["note"] = "; ".join(filter(None, notes))
    return replace(result, endpoint=best["endpoint"], statistics=statistics)


def _set_apart(request: TuningRequest) -> tuple[TuningRequest, list[Example]]:
    """Write the training rows without those of the selection next to them.

    Rows with the same input stay together, in an order that their hashes give; those that are too
    many to fit are passed over.
    """
    learn_uri = f"{request.train_uri}.learn.jsonl"
    with local_files(request.train_uri) as paths, TemporaryDirectory() as folder:
        (path,) = paths
        examples = list(read_examples(path))
        room, chosen = selection_rows(len(examples)), set[bytes]()
        for rank, alike in sorted(Counter(map(_rank, examples)).items()):
            if alike <= room:
                chosen.add(rank)
                room -= alike
        apart = {row.line: row for row in examples if _rank(row) in chosen}
        if len(apart) < _SELECTION_ROWS_MIN:
            raise DataError(
                f"{len(apart)} of {len(examples)} training rows would be set apart to select a "
                f"checkpoint, and {_SELECTION_ROWS_MIN} are needed",
                where="select_checkpoint",
                fix="add rows, or leave the option out",
            )
        written = Path(folder) / "learn.jsonl"
        with open(path, "rb") as file, written.open("wb") as out:
            out.writelines(line for number, line in enumerate(file, 1) if number not in apart)
        write_file(str(written), learn_uri)
    # The epochs stay those of the plan; there are fewer steps in each.
    size, rows = max(request.batch_size, 1), len(examples)
    epochs = max(1, round(request.train_steps / -(-rows // size)))
    steps = epochs * -(-(rows - len(apart)) // size)
    return replace(request, train_uri=learn_uri, train_steps=steps), list(apart.values())


def _rank(row: Example) -> bytes:
    return hashlib.sha256(row.input.encode("utf-8", "surrogatepass")).digest()


def _overlap(answer: str, reference: str) -> float:
    """Return the words that two texts share, 0..1 (F1); for labels this is right or wrong."""
    made, wanted = Counter(answer.split()), Counter(reference.split())
    total = made.total() + wanted.total()
    return 2 * (made & wanted).total() / total if total else 1.0


def _report(event: Mapping[str, Any]) -> None:
    progress.report(stage="tune", **event)
