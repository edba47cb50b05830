"""The local backend: real training and real answers on this machine's CPU or GPU, no account.

With no base model named, a tiny one is made and trained from nothing (`local_model`); with a folder
or a hub id, that model is tuned, by LoRA or in full (`local_lora`).
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunepipe.backends.base import Answer, Prompt, TuningRequest, TuningResult
from tunepipe.backends.local.options import PredictionOptions, TuningOptions, read_options
from tunepipe.backends.local.processes import Crew, crew_size, in_crew
from tunepipe.data.fingerprint import fingerprint
from tunepipe.data.formats import Example
from tunepipe.data.rows import read_examples
from tunepipe.errors import DataError, LimitError, UsageError
from tunepipe.files import replacing, unreadable
from tunepipe.progress import Progress

if TYPE_CHECKING:
    from tunepipe.backends.local.batches import Row
    from tunepipe.backends.local.checkpoint import State
    from tunepipe.backends.local.training import Plan

BASE = "base"
_RECORD = "tuning.json"
_MAX_TOKENS = 4096
_EVALUATIONS = 10
_RATES = {"nothing": 1.5e-3, "lora": 2e-4, "qlora": 2e-4, "full": 2e-5}
_WEIGHT_DECAYS = {"nothing": 0.1, "lora": 0.0, "qlora": 0.0, "full": 0.01}
# A model that starts from nothing learns to copy also by predicting the prompt.
_PROMPT_WEIGHTS = {"nothing": 0.1}


def tune(request: TuningRequest, output_dir: str, progress: Progress) -> TuningResult:
    """Tune a model and write it to `output_dir` in Hugging Face layout.

    A finished run of the same request is returned as it is; a killed one goes on from its last
    checkpoint. A model from nothing leaves its untrained self in base/.

    Args:
        request: What to tune; `options` are those of `TuningOptions`.
        output_dir: The folder of the result, and of the checkpoints unless an option moves them.
        progress: Told of every step.

    Returns:
        The folder, and statistics: train_steps, parameters, trained_parameters, seconds, tokens,
        tokens_per_second, loss_curve ([step, training loss, evaluation loss or None]), device,
        processes, untrained_loss, final_loss, best_step, resumed_from_step,
        memory_estimated_bytes, base_model (what `predict` takes to ask the model before tuning) and
        note (what the model is).

    Raises:
        DataError: A row is too long, or the training failed or did not help.
        UsageError: An option, a file or the base model is wrong.
        LimitError: The run would not fit into memory.
    """
    request = replace(request, base_model=_located(request.base_model))
    options = read_options(TuningOptions, request.options)
    folder, identity = Path(output_dir), _identity(request)
    if finished := _finished(folder, identity):
        return finished
    device = _prepare(options.device, options.threads)
    size = crew_size(options.processes, device, request.batch_size if request.base_model else 1)
    work = partial(_tune, request, _settled(options, request, size), folder, identity)
    statistics = in_crew(work, size, device, progress)
    with replacing(folder / _RECORD) as file:
        json.dump({"identity": identity, "statistics": statistics}, file, indent=1)
    _checkpoint(options, folder, identity).unlink(missing_ok=True)
    return _result(folder, statistics)


def _located(base_model: str) -> str:
    """Make a folder's path absolute: an adapter names its base, and is asked from elsewhere."""
    is_folder = base_model and Path(base_model).is_dir()
    return str(Path(base_model).resolve()) if is_folder else base_model


def predict(model: str, prompts: Sequence[Prompt], **settings: Any) -> Iterator[Answer]:
    """Answer prompts greedily, in batches of like length.

    Args:
        model: A folder that `tune` wrote, any folder in Hugging Face layout, or a hub id.
        prompts: The questions; the answers come in another order.
        settings: Those of `PredictionOptions`, such as max_output_tokens.

    Raises:
        UsageError: A setting or the model is wrong.
    """
    options = read_options(PredictionOptions, settings)
    device = _prepare(options.device, options.threads)
    from tunepipe.backends.local import generation as local_generation
    from tunepipe.backends.local import vllm as local_vllm

    unasked = not (options.engine or options.four_bit)
    by_itself = unasked and local_vllm.is_worth_its_start(model, len(prompts), device)
    if options.engine == "vllm" or by_itself:
        return local_vllm.generate(model, prompts, options, device)
    return local_generation.generate(model, prompts, options, device)


def cancel(job: str) -> None:
    """Do nothing: a local run is a process of the user's, and ends with it."""


def _tune(
    request: TuningRequest,
    options: TuningOptions,
    folder: Path,
    identity: str,
    crew: Crew,
    progress: Progress,
) -> dict[str, Any]:
    _prepare(crew.device, options.threads)
    import torch

    from tunepipe.backends.local.batches import encode
    from tunepipe.backends.local.loss import require_apart
    from tunepipe.backends.local.memory import free_bytes, require_room, size_of
    from tunepipe.backends.local.pretrained import save
    from tunepipe.backends.local.training import train

    examples, held_out = _read(request.train_uri), _read(request.eval_uri)
    if not examples:
        raise DataError("there is no row to learn from", where=request.train_uri)
    tokenizer, config = _tokenizer_and_config(request.base_model, examples)
    most = options.max_tokens or min(_MAX_TOKENS, config.get_text_config().max_position_embeddings)
    weight = _PROMPT_WEIGHTS.get(_kind(request, options), 0.0)
    rows, judged = (
        encode(tokenizer, part, prompt_weight=weight, max_tokens=most)
        for part in (examples, held_out)
    )
    plan = _plan(request, options, rows, tokenizer.pad_token_id, crew.device)
    memory = require_room(
        size_of(config, options.lora_rank),
        options,
        longest=max(len(row.ids) for row in (*rows, *judged)),
        free_bytes=free_bytes(crew.device) // (crew.size if crew.device == "cpu" else 1),
        number_bytes=plan.layout.dtype.itemsize,
    )
    model = _model(tokenizer, config, request, options, folder, crew)
    if options.packing:
        require_apart(model, rows[0], plan.layout)
    checkpoint = _checkpoint(options, folder, identity)
    try:
        state = train(model, rows, judged, plan, checkpoint, crew, progress)
    except torch.OutOfMemoryError as error:  # a GPU's; others use its memory too
        raise LimitError(
            f"the memory of {crew.device} ran out, which the estimate of "
            f"{memory / 2**30:.1f} GiB did not foresee",
            where="micro_batch_size",
            fix=f"lower it (it was {options.micro_batch_size}), set gradient_checkpointing, or end "
            "what else uses the GPU; the run goes on from its last checkpoint",
        ) from error
    counts = _parameters(model)
    if crew.is_first:
        save(model, tokenizer, folder, merge=options.merge)
    note = _note(request, options, len(rows), counts)
    measured = _measured(state) | counts | {"memory_estimated_bytes": memory}
    where = {"device": crew.device, "processes": crew.size}
    return measured | where | {"base_model": request.base_model, "note": note}


def _prepare(device: str, threads: int) -> str:
    """Set the process up for torch, and return the device."""
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    # peft and transformers warn each other of names that are to go.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    torch.set_num_threads(threads)
    has_gpu = torch.cuda.is_available()
    if device.startswith("cuda") and not has_gpu:
        raise UsageError("torch finds no GPU here", where="device", fix="leave it out, or use cpu")
    return device or ("cuda" if has_gpu else "cpu")


def _read(path: str) -> list[Example]:
    return list(read_examples(path)) if path else []


def _kind(request: TuningRequest, options: TuningOptions) -> str:
    return options.tuning_mode if request.base_model else "nothing"


def _settled(options: TuningOptions, request: TuningRequest, processes: int) -> TuningOptions:
    """Fill in what the options leave open."""
    every = max(1, request.train_steps // _EVALUATIONS)
    share = -(-request.batch_size // processes)
    return replace(
        options,
        tuning_mode=options.tuning_mode if request.base_model else "full",
        micro_batch_size=min(options.micro_batch_size or share, share),
        evaluate_every=options.evaluate_every or every,
        checkpoint_every=options.checkpoint_every or every,
    )


def _tokenizer_and_config(base_model: str, examples: Sequence[Example]) -> tuple[Any, Any]:
    if base_model:
        from tunepipe.backends.local.pretrained import load_config, load_tokenizer

        return load_tokenizer(base_model), load_config(base_model)
    from tunepipe.backends.local.tiny_model import learn_tokenizer, tiny_config

    tokenizer = learn_tokenizer(examples)
    return tokenizer, tiny_config(tokenizer)


def _plan(
    request: TuningRequest, options: TuningOptions, rows: Sequence[Row], pad: int, device: str
) -> Plan:
    from tunepipe.backends.local.batches import Layout
    from tunepipe.backends.local.options import dtype_of
    from tunepipe.backends.local.training import Plan

    kind = _kind(request, options)
    rate = options.learning_rate or _RATES[kind]
    # A packed line holds as much as a padded micro-batch of the longest rows would.
    line = options.micro_batch_size * max(len(row.ids) for row in rows)
    return Plan(
        steps=request.train_steps,
        batch_size=request.batch_size,
        layout=Layout(
            options.micro_batch_size,
            line if options.packing else 0,
            pad,
            dtype_of(options.precision, device),
        ),
        rate=rate * request.learning_rate_multiplier,
        weight_decay=_WEIGHT_DECAYS[kind],
        muon=kind == "nothing",
        seed=request.seed,
        evaluate_every=options.evaluate_every,
        checkpoint_every=options.checkpoint_every,
        patience=options.early_stopping,
    )


def _model(
    tokenizer: Any,
    config: Any,
    request: TuningRequest,
    options: TuningOptions,
    folder: Path,
    crew: Crew,
) -> Any:
    from tunepipe.backends.local.pretrained import adapt, load_base, save
    from tunepipe.backends.local.tiny_model import untrained_model

    if not request.base_model:
        model = untrained_model(config, request.seed)
        if crew.is_first:
            save(model, tokenizer, folder / BASE, merge=False)
        return model.to(crew.device)
    model = load_base(request.base_model, options, crew.device)
    return model if options.tuning_mode == "full" else adapt(model, options, request.seed)


def _parameters(model: Any) -> dict[str, int]:
    if hasattr(model, "get_nb_trainable_parameters"):  # under LoRA; it knows what 4 bits pack
        trained, whole = model.get_nb_trainable_parameters()
    else:
        trained = whole = sum(p.numel() for p in model.parameters())
    return {"parameters": whole, "trained_parameters": trained}


def _measured(state: State) -> dict[str, Any]:
    return {
        "train_steps": state.step,
        "seconds": round(state.seconds, 2),
        "tokens": state.tokens,
        "tokens_per_second": round(state.tokens / max(state.seconds, 1e-9)),
        "loss_curve": state.curve,
        "untrained_loss": state.untrained_loss,
        "final_loss": state.final_loss,
        "best_step": state.best_step,
        "resumed_from_step": state.resumed_from,
    }


def _note(
    request: TuningRequest, options: TuningOptions, rows: int, counts: Mapping[str, int]
) -> str:
    if not request.base_model:
        return (
            f"A tiny model of {counts['parameters']:,} parameters, trained from nothing on "
            f"{rows:,} rows: it knows this one task and no language beyond it. It shows that the "
            "pipeline works, not what a large model would do."
        )
    return (
        f"{request.base_model} tuned on {rows:,} rows ({options.tuning_mode}): "
        f"{counts['trained_parameters']:,} parameters were trained."
    )


def _identity(request: TuningRequest) -> str:
    """Return a digest of all that decides the weights: the same digest, the same run."""
    wanted = asdict(request)
    for name in ("train_uri", "eval_uri"):
        wanted[name] = _fingerprint(wanted[name])
    for name in ("project", "region", "display_name", "labels", "catalog"):
        del wanted[name]
    wanted["options"].pop("checkpoint_dir", None)
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()


def _fingerprint(path: str) -> str:
    try:
        with open(path or os.devnull, "rb") as file:
            return fingerprint(file)
    except OSError as error:
        raise unreadable(path, error) from error


def _checkpoint(options: TuningOptions, folder: Path, identity: str) -> Path:
    return Path(options.checkpoint_dir or folder) / f"checkpoint-{identity[:16]}.pt"


def _finished(folder: Path, identity: str) -> TuningResult | None:
    """Return the result of an earlier call that came to its end."""
    record = folder / _RECORD
    if not record.exists():
        return None
    content = json.loads(record.read_text(encoding="utf-8"))
    return _result(folder, content["statistics"]) if content["identity"] == identity else None


def _result(folder: Path, statistics: Mapping[str, Any]) -> TuningResult:
    base = statistics["base_model"] or str(folder / BASE)
    return TuningResult(str(folder), statistics={**statistics, "base_model": base}, cost_usd=0.0)
