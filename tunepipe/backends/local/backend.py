"""The local backend: real training and real answers on this machine's CPU or GPU, no account.

With no base model named, a tiny one is made and trained from scratch (`tiny_model`); with a
folder or a hub id, that model is tuned by TRL, by LoRA or in full (`trainer`).
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any

from msgspec import structs

from tunepipe import extras
from tunepipe.backends.base import Answer, Prompt, TuningRequest, TuningResult
from tunepipe.backends.local.options import DEVICE, LocalOptions, PredictionOptions
from tunepipe.backends.local.training import BASE, TrainingTask
from tunepipe.data.fingerprint import digest_of, fingerprint
from tunepipe.decoding import decode
from tunepipe.errors import UsageError
from tunepipe.files import replacing, unreadable
from tunepipe.progress import Progress

_TINY = "tiny"  # the name of the model that is trained from scratch
_RECORD = "tuning.json"
_TRAIN_JOB = "tunepipe.backends.remote.train_job"
_ELSEWHERE = ("checkpoint_dir", "train_job")  # options that decide no weight
_TINY_OPTIONS = (
    *("learning_rate", "max_tokens", "evaluate_every", "checkpoint_every"),
    *("checkpoint_dir", "device", "threads"),
)


def tune(request: TuningRequest, output_dir: str, progress: Progress) -> TuningResult:
    """Tune a model and write it to `output_dir` in Hugging Face layout.

    A finished run of the same request is returned as it is; a killed one goes on from its last
    checkpoint. The tiny model leaves its untrained self in base/.

    Args:
        request: What to tune; `options` are those of `LocalOptions`.
        output_dir: The folder of the result, and of the checkpoints unless an option moves them.

    Returns:
        The folder, and statistics: those of `Outcome`, parameters, trained_parameters, device,
        processes, memory_estimated_bytes, base_model (what `predict` takes to ask the model before
        tuning) and note (what the model is).
    """
    request = replace(request, base_model=_absolute(request.base_model))
    options = decode(request.options, LocalOptions)
    folder, identity = Path(output_dir), _identity(request)
    record = folder / _RECORD
    if record.exists():
        content = json.loads(record.read_text(encoding="utf-8"))
        if content["identity"] == identity:
            return _result(folder, content["statistics"])
    task = TrainingTask(request, options, output_dir, identity)
    if not request.base_model:
        _refuse_for_tiny(options)
        # Before the import of libraries whose warnings it silences.
        with prepared(options.device or "cpu", options.threads) as device:
            from tunepipe.backends.local.tiny_model import tune_tiny

            statistics = tune_tiny(replace(task, device=device), progress)
    elif options.train_job:
        # Not imported by name: a component that carries its code would carry it too.
        if not find_spec(_TRAIN_JOB):
            raise UsageError(
                "this step carries a part of tunepipe, and a TrainJob needs more of it",
                where="train_job",
                fix="submit the pipeline by tunepipe run, with --image or --code",
            )
        here = {name: value for name, value in request.options.items() if name not in _ELSEWHERE}
        job = replace(request, options=here)
        result: TuningResult = import_module(_TRAIN_JOB).tune(
            job, options.train_job, identity, output_dir, progress
        )
        return result
    else:
        statistics = _tune_base(task, progress)
    if not statistics:  # the first of several machines measures and writes
        return TuningResult(output_dir)
    with replacing(record) as file:
        json.dump({"identity": identity, "statistics": statistics}, file, indent=1)
    if task.checkpoints.is_dir():
        shutil.rmtree(task.checkpoints, ignore_errors=True)
    else:
        task.checkpoints.unlink(missing_ok=True)
    return _result(folder, statistics)


def check(base_model: str, options: Mapping[str, Any]) -> None:
    """Refuse what `tune` would refuse, in the first seconds of a run; "tiny" is no base model."""
    extras.require("local")
    decoded = decode(options, LocalOptions)
    if base_model in ("", _TINY):
        _refuse_for_tiny(decoded)
        return
    from tunepipe.backends.local.base_model import check_base_model, require_bitsandbytes
    from tunepipe.backends.local.launching import configuration_file

    if decoded.tuning_mode == "qlora":
        require_bitsandbytes("tuning_mode")
    if decoded.accelerate_config:
        configuration_file(decoded.accelerate_config)
    with prepared(decoded.device, decoded.threads):
        check_base_model(base_model, decoded)


def predict(model: str, prompts: Sequence[Prompt], **settings: Any) -> Iterator[Answer]:
    """Answer prompts greedily, in batches of like length.

    Args:
        model: A folder that `tune` wrote, any folder in Hugging Face layout, or a hub id.
        prompts: The questions; the answers come in another order.
        settings: Those of `PredictionOptions`, such as max_output_tokens.
    """
    options = decode(settings, PredictionOptions)
    with prepared(options.device, options.threads) as device:
        from tunepipe.backends.local import generation, vllm

        by_vllm = options.engine == "vllm" or (
            not (options.engine or options.four_bit)
            and vllm.is_worth_its_start(model, len(prompts), device)
        )
        generate = vllm.generate if by_vllm else generation.generate
        yield from generate(model, prompts, options, device)


def cancel(job: str) -> None:
    """Do nothing: a local run is a process of the user's, and ends with it."""


@contextmanager
def prepared(device: str, threads: int) -> Iterator[str]:
    """Set the process up for torch while a block runs; yield the device.

    A UsageError where a GPU is asked for, by the device or for the machine, and torch has none.
    """
    import torch
    from transformers.utils import logging

    has_gpu = torch.cuda.is_available()
    wanted = device or os.environ.get(DEVICE, "")
    if wanted.startswith("cuda") and not has_gpu:
        raise UsageError(
            f"torch can use no GPU here: {_why_no_gpu()}",
            where="device" if device else DEVICE,
            fix="leave it out, or use cpu"
            if device
            else "take an image with a torch for this machine's driver (a custom job: with "
            "install=false), or another accelerator: on the CPU, the GPU would be paid and idle",
        )

    def settle(verbosity: int, level: int, count: int, bars: bool = False) -> None:
        logging.set_verbosity(verbosity)
        kernels.setLevel(level)
        torch.set_num_threads(count)
        (logging.enable_progress_bar if bars else logging.disable_progress_bar)()

    kernels = getLogger("bitsandbytes")  # which looks for those that are not needed
    bars = logging.is_progress_bar_enabled()
    before = (logging.get_verbosity(), kernels.level, torch.get_num_threads(), bars)
    # peft and transformers warn each other of deprecated names.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    settle(ERROR, ERROR, threads)
    try:
        yield wanted or ("cuda" if has_gpu else "cpu")
    finally:
        settle(*before)


def _why_no_gpu() -> str:
    """Return torch's own words, such as those on a driver that is too old."""
    import torch

    try:
        torch.cuda.init()
    except (AssertionError, RuntimeError) as error:
        return str(error).partition("\n")[0]
    return "it sees no device"


def parameter_counts(model: Any) -> dict[str, int]:
    """Return how many parameters a model has, and how many of them are trained."""
    if hasattr(model, "get_nb_trainable_parameters"):  # under LoRA; it knows what 4 bits pack
        trained, whole = model.get_nb_trainable_parameters()
    else:
        trained = whole = sum(p.numel() for p in model.parameters())
    return {"parameters": whole, "trained_parameters": trained}


def _absolute(base_model: str) -> str:
    """Return "" for the tiny model, and a folder's absolute path: an adapter names its base."""
    if base_model == _TINY:
        return ""
    is_folder = base_model and Path(base_model).is_dir()
    return str(Path(base_model).resolve()) if is_folder else base_model


def _refuse_for_tiny(options: LocalOptions) -> None:
    """Refuse options that mean nothing for the tiny model."""
    for field in structs.fields(options):
        if field.name not in _TINY_OPTIONS and getattr(options, field.name) != field.default:
            raise UsageError(
                "the option is for a base model, and none is named",
                where=field.name,
                fix=f"name a base_model, or leave it out; the tiny model takes "
                f"{', '.join(_TINY_OPTIONS)}",
            )


def _tune_base(task: TrainingTask, progress: Progress) -> dict[str, Any]:
    """Tune in this process, or through `accelerate launch` where there are to be several."""
    options = task.options
    with prepared(options.device, options.threads) as device:
        import torch

        from tunepipe.backends.local import base_tuning, launching

        count = launching.process_count(options, device, task.request.batch_size)
        # TRL trains on one GPU a process, and sees all that CUDA_VISIBLE_DEVICES leaves.
        is_alone = device == "cpu" or torch.cuda.device_count() == 1
        is_one = (
            count * launching.machines().count == 1 and is_alone and not options.accelerate_config
        )
        tune_it = base_tuning.tune_here if is_one else launching.tune_in_processes
        return tune_it(replace(task, device=device, processes=count), progress)


def _identity(request: TuningRequest) -> str:
    """Return a digest of all that decides the weights: the same digest, the same run."""
    parts = {
        name: getattr(request, name)
        for name in ("base_model", "train_steps", "batch_size", "learning_rate_multiplier", "seed")
    }
    parts["options"] = {k: v for k, v in request.options.items() if k not in _ELSEWHERE}
    for name in ("train_uri", "eval_uri"):
        path = getattr(request, name)
        try:
            with open(path or os.devnull, "rb") as file:
                parts[name] = fingerprint(file)
        except OSError as error:
            raise unreadable(path, error) from error
    return digest_of(parts)


def _result(folder: Path, statistics: Mapping[str, Any]) -> TuningResult:
    base = statistics["base_model"] or str(folder / BASE)
    return TuningResult(
        str(folder), statistics={**statistics, "base_model": base}, cost_usd=0.0, base=base
    )
