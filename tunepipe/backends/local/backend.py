"""The local backend: real training and real answers on this machine's CPU or GPU, no account.

With no base model named, a tiny one is made and trained from nothing (`tiny_training`); with a
folder or a hub id, that model is tuned by TRL, by LoRA or in full (`trainer`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from tunepipe import extras
from tunepipe.backends.base import Answer, Prompt, TuningRequest, TuningResult
from tunepipe.backends.local.options import PredictionOptions, TuningOptions, read_options
from tunepipe.data.fingerprint import fingerprint
from tunepipe.data.formats import Example
from tunepipe.data.rows import read_examples
from tunepipe.errors import DataError, LimitError, UsageError
from tunepipe.files import replacing, unreadable
from tunepipe.progress import Progress

BASE = "base"
TINY = "tiny"  # the name of the model that is trained from scratch
_RECORD = "tuning.json"
_EVALUATIONS = 10
_TINY_RATE = 1.5e-3
_RATES = {"lora": 2e-4, "qlora": 2e-4, "full": 2e-5}
_PREFERENCE_RATES = {"lora": 1e-5, "qlora": 1e-5, "full": 1e-6}  # TRL's, ten times it for LoRA
_WEIGHT_DECAYS = {"lora": 0.0, "qlora": 0.0, "full": 0.01}
_SAMPLE = 64  # rows that represent the training set if none are held out
_TINY_OPTIONS = (
    *("learning_rate", "max_tokens", "evaluate_every", "checkpoint_every"),
    *("checkpoint_dir", "device", "threads"),
)


def tune(request: TuningRequest, output_dir: str, progress: Progress) -> TuningResult:
    """Tune a model and write it to `output_dir` in Hugging Face layout.

    A finished run of the same request is returned as it is; a killed one goes on from its last
    checkpoint. A model from nothing leaves its untrained self in base/.

    Args:
        request: What to tune; `options` are those of `TuningOptions`.
        output_dir: The folder of the result, and of the checkpoints unless an option moves them.
        progress: Receives every report of the training.

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
    request = replace(request, base_model=_absolute(request.base_model))
    options = read_options(TuningOptions, request.options)
    folder, identity = Path(output_dir), _identity(request)
    if result := _finished(folder, identity):
        return result
    if request.base_model:
        statistics = _tune_base(request, options, folder, identity, progress)
    else:
        _refuse_for_tiny(request.options)
        statistics = _tune_tiny(request, options, folder, identity, progress)
    if not statistics:  # the first of several machines measures and writes
        return TuningResult(str(folder))
    with replacing(folder / _RECORD) as file:
        json.dump({"identity": identity, "statistics": statistics}, file, indent=1)
    _discard(_checkpoint(options, folder, identity))
    return _result(folder, statistics)


def check(base_model: str, options: Mapping[str, Any]) -> None:
    """Refuse what `tune` would refuse, in the first seconds of a run.

    Args:
        base_model: A folder, a hub id, or "tiny" or "" for the tiny model.
        options: Those of the user.

    Raises:
        UsageError: A package is missing, an option is wrong, or the base model is not a model.
    """
    extras.require("local")
    base_model = "" if base_model == TINY else base_model
    settled = read_options(TuningOptions, options)
    if not base_model:
        _refuse_for_tiny(options)
        return
    from tunepipe.backends.local.base_model import check_base_model, require_bitsandbytes
    from tunepipe.backends.local.launching import configuration_file

    if settled.tuning_mode == "qlora":
        require_bitsandbytes("tuning_mode")
    if settled.accelerate_config:
        configuration_file(settled.accelerate_config, _prepare(settled.device, settled.threads))
    check_base_model(base_model)


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
    from tunepipe.backends.local import generation, vllm

    is_open = not (options.engine or options.four_bit)
    if options.engine == "vllm" or (
        is_open and vllm.is_worth_its_start(model, len(prompts), device)
    ):
        return vllm.generate(model, prompts, options, device)
    return generation.generate(model, prompts, options, device)


def reason_unserved(model: str) -> str:
    """Return "": a model on this machine is loaded when it is asked."""
    return ""


def cancel(job: str) -> None:
    """Do nothing: a local run is a process of the user's, and ends with it."""


def _absolute(base_model: str) -> str:
    """Return "" for the tiny model, and a folder's absolute path: an adapter names its base."""
    if base_model == TINY:
        return ""
    is_folder = base_model and Path(base_model).is_dir()
    return str(Path(base_model).resolve()) if is_folder else base_model


def _refuse_for_tiny(options: Mapping[str, Any]) -> None:
    """Refuse options that mean nothing for the tiny model."""
    known = {field.name: field.default for field in fields(TuningOptions)}
    for name, value in options.items():
        if name not in _TINY_OPTIONS and value != known[name]:
            raise UsageError(
                "the option is for a base model, and none is named",
                where=name,
                fix=f"name a base_model, or leave it out; the tiny model takes "
                f"{', '.join(_TINY_OPTIONS)}",
            )


def _tune_tiny(
    request: TuningRequest,
    options: TuningOptions,
    folder: Path,
    identity: str,
    progress: Progress,
) -> dict[str, Any]:
    device = _prepare(options.device or "cpu", options.threads)
    from tunepipe.backends.local import tiny_model, tiny_training
    from tunepipe.backends.local.pretrained import save
    from tunepipe.backends.local.rows import encode

    examples, held_out = _read(request.train_uri), _read(request.eval_uri)
    _require_rows(examples, request.train_uri)
    tokenizer = tiny_model.learn_tokenizer(examples)
    config = tiny_model.tiny_config(tokenizer)
    most = options.max_tokens or tiny_model.MAX_TOKENS
    rows, judged = (encode(tokenizer, part, most) for part in (examples, held_out))
    model = tiny_model.untrained_model(config, request.seed)
    save(model, tokenizer, folder / BASE, merge=False)
    every = max(1, request.train_steps // _EVALUATIONS)
    settings = tiny_training.Settings(
        steps=request.train_steps,
        batch_size=request.batch_size,
        rate=(options.learning_rate or _TINY_RATE) * request.learning_rate_multiplier,
        seed=request.seed,
        evaluate_every=options.evaluate_every or every,
        checkpoint_every=options.checkpoint_every or every,
    )
    outcome = tiny_training.train(
        model.to(device),
        rows,
        judged or rows[:_SAMPLE],
        tokenizer.pad_token_id,
        settings,
        _checkpoint(options, folder, identity),
        progress,
    )
    statistics = outcome.statistics()
    save(model, tokenizer, folder, merge=False)
    counts = _parameters(model)
    note = (
        f"A tiny model of {counts['parameters']:,} parameters, trained from nothing on "
        f"{len(rows):,} rows: it knows this one task and no language beyond it. It shows that the "
        "pipeline works, not what a large model would do."
    )
    return statistics | counts | {"device": device, "processes": 1, "base_model": "", "note": note}


def _tune_base(
    request: TuningRequest,
    options: TuningOptions,
    folder: Path,
    identity: str,
    progress: Progress,
) -> dict[str, Any]:
    """Tune in this process, or through `accelerate launch` where there are to be several."""
    device = _prepare(options.device, options.threads)
    import torch

    from tunepipe.backends.local.launching import machines, process_count, tune_in_processes

    count = process_count(options, device, request.batch_size)
    # TRL trains on one GPU a process, and sees all that CUDA_VISIBLE_DEVICES leaves.
    is_alone = device == "cpu" or torch.cuda.device_count() == 1
    if count * machines().count == 1 and is_alone and not options.accelerate_config:
        return tune_here(
            request, options, folder, identity, device=device, processes=1, progress=progress
        )
    return tune_in_processes(
        request,
        options,
        str(folder),
        identity,
        processes=count,
        device=device,
        progress=progress,
    )


def tune_here(
    request: TuningRequest,
    options: TuningOptions,
    folder: Path,
    identity: str,
    *,
    device: str,
    processes: int,
    progress: Progress,
) -> dict[str, Any]:
    """Do this process's part of tuning a base model, and return the statistics.

    Args:
        request: What to tune.
        options: Those of the user.
        folder: Where the model goes.
        identity: Names the checkpoints.
        device: Where this process computes.
        processes: How many train together, on all machines.
        progress: Receives every report.

    Raises:
        DataError, UsageError, LimitError: See `tune`.
    """
    _prepare(device, options.threads)
    import torch

    from tunepipe.backends.local.base_model import (
        load_config,
        load_tokenizer,
        max_tokens_of,
        quantization_of,
        whole_model_of,
    )
    from tunepipe.backends.local.memory import fit, free_bytes, size_of
    from tunepipe.backends.local.options import dtype_of
    from tunepipe.backends.local.pretrained import adapt, load_base, save
    from tunepipe.backends.local.rows import encode
    from tunepipe.backends.local.trainer import Settings, micro_batch_size, train

    # Rows, as tokens.
    examples, held_out = _read(request.train_uri), _read(request.eval_uri)
    _require_rows(examples, request.train_uri)
    config = load_config(whole_model_of(request.base_model))
    tokenizer = load_tokenizer(request.base_model)
    if quantization_of(config):
        options = _for_quantized(options)
    most = options.max_tokens or max_tokens_of(config)
    rows, judged = (encode(tokenizer, part, most) for part in (examples, held_out))
    by_preference = bool(rows[0].rejected)
    # How they pass through the model: as many at once as the memory holds.
    dtype = dtype_of(options.precision, device)
    every = max(1, request.train_steps // _EVALUATIONS)
    options = replace(
        options,
        micro_batch_size=options.micro_batch_size or request.batch_size // processes,
        evaluate_every=options.evaluate_every or every,
        checkpoint_every=options.checkpoint_every or every,
    )
    options, memory_bytes = fit(
        size_of(config, options.lora_rank),
        options,
        longest=max(map(len, (*rows, *judged))) * (2 if by_preference else 1),
        free_bytes=free_bytes(device) // (processes if device == "cpu" else 1),
        number_bytes=dtype.itemsize,
    )
    micro = micro_batch_size(request.batch_size, processes, options.micro_batch_size)
    options = replace(options, micro_batch_size=micro)
    # The model, and its training.
    rates = _PREFERENCE_RATES if by_preference else _RATES
    rate = options.learning_rate or rates[options.tuning_mode]
    settings = Settings(
        steps=request.train_steps,
        batch_size=request.batch_size,
        processes=processes,
        rate=rate * request.learning_rate_multiplier,
        weight_decay=_WEIGHT_DECAYS[options.tuning_mode],
        seed=request.seed,
        dtype=dtype,
        device=device.partition(":")[0],
    )
    placed = not options.accelerate_config
    model = load_base(request.base_model, tokenizer, options, device, placed=placed)
    if options.tuning_mode != "full":
        model = adapt(model, request.base_model, options, request.seed)
    counts = _parameters(model)
    checkpoints = _checkpoint(options, folder, identity)
    try:
        trainer, outcome = train(
            model,
            tokenizer,
            rows,
            judged or rows[:_SAMPLE],
            settings,
            options,
            checkpoints,
            progress,
        )
    except torch.OutOfMemoryError as error:  # a GPU's; others use its memory too
        raise LimitError(
            f"the memory of {device} ran out, which the estimate of "
            f"{memory_bytes / 2**30:.1f} GiB did not foresee",
            where="micro_batch_size",
            fix=f"lower it (it was {micro}), set gradient_checkpointing, or end "
            "what else uses the GPU; the run goes on from its last checkpoint",
        ) from error
    statistics = outcome.statistics()
    whole = _gathered(trainer)
    if trainer.is_world_process_zero():
        save(whole, tokenizer, folder, merge=options.merge)
    method = "DPO, " if by_preference else ""
    note = (
        f"{request.base_model} tuned on {len(rows):,} rows ({method}{options.tuning_mode}): "
        f"{counts['trained_parameters']:,} parameters were trained."
    )
    if len(tokenizer) > config.get_text_config().vocab_size:
        note += f" Its embedding was enlarged to the {len(tokenizer):,} tokens of its tokenizer."
    return {
        **statistics,
        **counts,
        "memory_estimated_bytes": memory_bytes,
        "micro_batch_size": micro,
        "gradient_checkpointing": options.gradient_checkpointing,
        "device": device,
        "processes": processes,
        "base_model": request.base_model,
        "note": note,
    }


def _for_quantized(options: TuningOptions) -> TuningOptions:
    """Set the mode of a model that is in 4 bits already."""
    if options.tuning_mode == "full" or options.merge:
        raise UsageError(
            "its weights are in 4 bits: they are neither tuned in full nor merged",
            where="merge" if options.merge else "tuning_mode",
            fix="leave it out: an adapter is trained over them",
        )
    return replace(options, tuning_mode="qlora")


def _gathered(trainer: Any) -> Any:
    """Return the trained model whole, where its processes hold it in shards (FSDP, ZeRO-3)."""
    accelerator = trainer.accelerator
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        state = accelerator.get_state_dict(trainer.model_wrapped)
        model = accelerator.unwrap_model(trainer.model_wrapped)
        save_pretrained = model.save_pretrained
        model.save_pretrained = lambda *names, **settings: save_pretrained(
            *names, state_dict=state, **settings
        )
        return model
    return accelerator.unwrap_model(trainer.model)


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


def _require_rows(examples: Sequence[Example], path: str) -> None:
    if not examples:
        raise DataError(
            "there is no row to learn from", where=path, fix="name a file with training rows"
        )


def _read(path: str) -> list[Example]:
    return list(read_examples(path)) if path else []


def _parameters(model: Any) -> dict[str, int]:
    if hasattr(model, "get_nb_trainable_parameters"):  # under LoRA; it knows what 4 bits pack
        trained, whole = model.get_nb_trainable_parameters()
    else:
        trained = whole = sum(p.numel() for p in model.parameters())
    return {"parameters": whole, "trained_parameters": trained}


def _identity(request: TuningRequest) -> str:
    """Return a digest of all that decides the weights: the same digest, the same run."""
    parts = {
        "base_model": request.base_model,
        "train_uri": _fingerprint(request.train_uri),
        "eval_uri": _fingerprint(request.eval_uri),
        "train_steps": request.train_steps,
        "batch_size": request.batch_size,
        "learning_rate_multiplier": request.learning_rate_multiplier,
        "seed": request.seed,
        "options": {k: v for k, v in request.options.items() if k != "checkpoint_dir"},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _fingerprint(path: str) -> str:
    try:
        with open(path or os.devnull, "rb") as file:
            return fingerprint(file)
    except OSError as error:
        raise unreadable(path, error) from error


def _checkpoint(options: TuningOptions, folder: Path, identity: str) -> Path:
    return Path(options.checkpoint_dir or folder) / f"checkpoints-{identity[:16]}"


def _discard(checkpoint: Path) -> None:
    if checkpoint.is_dir():
        shutil.rmtree(checkpoint, ignore_errors=True)
    else:
        checkpoint.unlink(missing_ok=True)


def _finished(folder: Path, identity: str) -> TuningResult | None:
    """Return the result of an earlier call that came to its end."""
    record = folder / _RECORD
    if not record.exists():
        return None
    content = json.loads(record.read_text(encoding="utf-8"))
    return _result(folder, content["statistics"]) if content["identity"] == identity else None


def _result(folder: Path, statistics: Mapping[str, Any]) -> TuningResult:
    base = statistics["base_model"] or str(folder / BASE)
    statistics = {**statistics, "base_model": base}
    return TuningResult(str(folder), statistics=statistics, cost_usd=0.0, base=base)
