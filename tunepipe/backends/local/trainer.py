"""Tuning a base model by TRL: SFTTrainer, and DPOTrainer for preference rows.

This module adds what TRL does not promise: the rows arrive as tokens, so nothing is cut and the
loss is on the answer alone; they are read in an order that depends on the seed alone, so a killed
run goes on as if it had not been; and the evaluation loss is the mean over tokens, however they are
batched.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from datasets import Dataset
from peft.helpers import disable_input_dtype_casting
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from tunepipe.backends.local.base_model import weights_fault
from tunepipe.backends.local.options import LocalOptions
from tunepipe.backends.local.rows import TokenRow, reading_order
from tunepipe.backends.local.training import TrainingOutcome, TrainingTask, require_number
from tunepipe.errors import UsageError
from tunepipe.progress import Progress

_WEIGHT_DECAYS = {"lora": 0.0, "qlora": 0.0, "full": 0.01}
_WARM_UP = 0.05
_REPORTS = 100
_IGNORED = -100  # the label of a token that no loss is taken of
# Of the largest logit. Kept apart, rows change nothing but where experts sum in another order;
# what was seen of others, even untrained, is 40 times as much.
_TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 1e-3}


def train(
    model: Any,
    tokenizer: Any,
    rows: Sequence[TokenRow],
    held_out: Sequence[TokenRow],
    task: TrainingTask,
    progress: Progress,
) -> tuple[Any, TrainingOutcome]:
    """Train `model`, going on from the last whole checkpoint.

    Args:
        model: A causal language model, or one under LoRA; what requires a gradient is trained.
        rows: The training rows; with rejected answers they are tuned by preference (DPO).
        held_out: Rows for the evaluation loss, >= 1.
        task: With settled options: no 0 or "" is left where a choice is needed.
        progress: Receives `done`, `total`, `seconds_left` and `loss` or `eval_loss`.

    Returns:
        The trainer, which can save the model, and how it went.

    Raises:
        UsageError: The model cannot tell packed rows apart.
    """
    request, options = task.request, task.options
    by_preference = bool(rows[0].rejected)
    is_packed = _is_packed(model, rows[0], options)
    last = last_checkpoint(task.checkpoints)
    order = reading_order(
        [len(row) for row in rows],
        request.batch_size,
        request.train_steps,
        request.seed,
        alike=task.device == "cpu",  # a GPU is slowed by the extra shapes
    )
    arguments = _arguments(task) | {"eval_on_start": not last}
    if by_preference:
        kind, config = _Dpo, DPOConfig
        # In full tuning the reference is the model itself before the first step: no second copy.
        is_full = options.tuning_mode == "full"
        arguments |= {"beta": options.beta, "precompute_ref_log_probs": is_full}
    else:
        kind, config = _Sft, SFTConfig
        arguments |= {"padding_free": is_packed, "dataset_kwargs": {"skip_prepare_dataset": True}}
    settings = config(**arguments)  # which resets the state of accelerate
    if task.device == "cpu" and os.environ.get("ACCELERATE_USE_FSDP") == "true":
        # accelerate shards over GPUs alone; torch does so over CPUs just as well.
        PartialState().distributed_type = DistributedType.MULTI_GPU
    clock = _Clock(progress)
    patience = options.early_stopping
    with _precise_adapters(model):
        trainer = kind(
            model=model,
            args=settings,
            train_dataset=_columns(rows).select(order),
            eval_dataset=_columns(held_out),
            processing_class=tokenizer,
            callbacks=[clock, *([EarlyStoppingCallback(patience)] if patience else [])],
        )
    trainer.remove_callback(PrinterCallback)
    # In 16 bits autocast does all casting: peft would cast to 32 what is cast back at once.
    with disable_input_dtype_casting(model, active=options.precision == "bfloat16"):
        trainer.train(resume_from_checkpoint=last or None)
    state = trainer.state
    outcome = TrainingOutcome(
        loss_curve=_curve(state.log_history),
        train_steps=state.global_step,
        resumed_from_step=_step_of(last),
        tokens=sum(len(rows[n]) for n in order[: state.global_step * request.batch_size]),
        seconds=clock.seconds,
        keeps_best=bool(patience),
    )
    return trainer, outcome


def _is_packed(model: Any, row: TokenRow, options: LocalOptions) -> bool:
    """Return True if rows are packed: on request, or with flash attention."""
    is_flash = getattr(model.config, "_attn_implementation", "") == "flash_attention_2"
    if not (options.packing or is_flash):
        return False
    dtype = torch.bfloat16 if options.precision == "bfloat16" else torch.float32
    if not row.rejected and tells_packed_apart(model, row, dtype):
        return True
    if not options.packing:
        return False
    raise UsageError(
        "preference rows cannot be packed"
        if row.rejected
        else "the model cannot tell packed rows apart: one changes what it says of the next",
        where="packing",
        fix="leave it out" + ("" if row.rejected else ", or take another base model"),
    )


def last_checkpoint(folder: Path) -> str:
    """Return the newest checkpoint that is whole; "" if there is none.

    The trainer's state is the last file of a checkpoint: one without it was not written to its end.
    One that is cut, empty or foreign is renamed to damaged-… and reported, and the one before it is
    taken.
    """
    checkpoints = {state.parent for state in folder.glob("checkpoint-*/trainer_state.json")}
    for checkpoint in sorted(checkpoints, key=lambda checkpoint: -_step_of(str(checkpoint))):
        try:
            step = json.loads((checkpoint / "trainer_state.json").read_bytes())["global_step"]
            is_own = step == _step_of(str(checkpoint))
            problem = weights_fault(checkpoint) if is_own else "of another step"
        except (ValueError, LookupError):
            problem = "its state cannot be read"
        if not problem:
            return str(checkpoint)
        aside = checkpoint.with_name(f"damaged-{checkpoint.name}")
        with suppress(OSError):  # another process of this training has renamed it
            checkpoint.rename(aside)
        print(f"{checkpoint}: {problem}; kept as {aside.name}", file=sys.stderr, flush=True)
    return ""


def micro_batch_size(batch_size: int, processes: int, most: int) -> int:
    """Return the most rows at once, up to `most`, that divide a process's share of a step."""
    share = batch_size // processes
    return max(n for n in range(1, share + 1) if share % n == 0 and n <= max(1, most))


def tells_packed_apart(model: Any, row: TokenRow, dtype: torch.dtype) -> bool:
    """Return True if a model's output on a packed row is independent of the row before it.

    Some take no notice of positions that begin again: those with convolutions or states, and some
    of attention alone (gpt-oss, OPT, Bloom in transformers 5.23).
    """
    ids = row.prompt + row.completion
    vocabulary = model.config.get_text_config().vocab_size
    other = [(token + 1) % vocabulary for token in ids]
    same, changed = (_logits(model, [first, ids], dtype)[-len(ids) :] for first in (ids, other))
    return float((same - changed).abs().max() / same.abs().max()) <= _TOLERANCES[dtype]


def _logits(model: Any, rows: Sequence[Sequence[int]], dtype: torch.dtype) -> torch.Tensor:
    device = model.device
    ids = torch.tensor([[token for row in rows for token in row]], device=device)
    positions = torch.tensor([[n for row in rows for n in range(len(row))]], device=device)
    lower = torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)
    model.eval()
    with torch.no_grad(), lower:
        output = model(input_ids=ids, position_ids=positions, use_cache=False)
    logits: torch.Tensor = output.logits[0].float()
    return logits


def _columns(rows: Sequence[TokenRow]) -> Any:
    """Return the rows as SFTTrainer reads them, or DPOTrainer those with a rejected answer."""
    columns = {
        "input_ids": [row.prompt + row.completion for row in rows],
        "labels": [[_IGNORED] * len(row.prompt) + row.completion for row in rows],
    }
    if rows[0].rejected:
        columns = {
            "prompt_ids": [row.prompt for row in rows],
            "chosen_ids": [row.completion for row in rows],
            "rejected_ids": [row.rejected for row in rows],
        }
    return Dataset.from_dict(columns)


def _arguments(task: TrainingTask) -> dict[str, Any]:
    request, options, device = task.request, task.options, task.device
    micro = options.micro_batch_size
    # The best of the evaluated weights can only be kept if they are written down.
    every = options.evaluate_every if options.early_stopping else options.checkpoint_every
    stopping = {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss"}
    has_liger = importlib.util.find_spec("liger_kernel") is not None
    return {
        "output_dir": str(task.checkpoints),
        "max_steps": request.train_steps,
        "per_device_train_batch_size": micro,
        "per_device_eval_batch_size": micro,
        "gradient_accumulation_steps": request.batch_size // task.processes // micro,
        "learning_rate": options.learning_rate,
        "weight_decay": _WEIGHT_DECAYS[options.tuning_mode],
        "lr_scheduler_type": "cosine",
        "warmup_steps": round(request.train_steps * _WARM_UP),
        "seed": request.seed,
        "use_cpu": device == "cpu",
        "bf16": options.precision == "bfloat16",
        "gradient_checkpointing": options.gradient_checkpointing,
        "use_liger_kernel": device != "cpu" and has_liger,
        "train_sampling_strategy": "sequential",  # the rows come in their order
        "max_length": None,  # rows that are too long were refused
        "eval_strategy": "steps",
        "eval_steps": options.evaluate_every,
        "save_strategy": "steps",
        "save_steps": every,
        "save_total_limit": 2 if options.early_stopping else 1,
        "restore_callback_states_from_checkpoint": True,
        "logging_steps": max(1, request.train_steps // _REPORTS),
        "logging_nan_inf_filter": False,
        "dataloader_pin_memory": device != "cpu",
        "disable_tqdm": True,
        "report_to": "none",
        **(stopping if options.early_stopping else {}),
    }


@contextmanager
def _precise_adapters(model: Any) -> Iterator[None]:
    """Keep LoRA's matrices over 4-bit weights precise: TRL's bfloat16 would lose a small step."""
    is_four_bit = getattr(model, "is_loaded_in_4bit", False)
    trained = [p for p in model.parameters() if p.requires_grad and is_four_bit]
    values = [parameter.detach().clone() for parameter in trained]
    yield
    for parameter, value in zip(trained, values, strict=True):
        parameter.data = value


def _step_of(checkpoint: str) -> int:
    return int(checkpoint.rpartition("-")[2]) if checkpoint else 0


def _curve(log: Sequence[Mapping[str, Any]]) -> list[list[float | None]]:
    """Return [step, training loss, evaluation loss] of a trainer's log, by step."""
    rows: dict[int, list[float | None]] = {}
    for entry in log:
        row = rows.setdefault(entry["step"], [entry["step"], None, None])
        row[1] = entry.get("loss", row[1])
        row[2] = entry.get("eval_loss", row[2])
    return [row for _, row in sorted(rows.items()) if row[1:] != [None, None]]


class _Clock(TrainerCallback):  # type: ignore[misc]
    """Reports progress, refuses a loss that is not a number, and evaluates at the end.

    It also finds the best checkpoint again where the checkpoints have been moved since.
    """

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.seconds = 0.0
        self._started = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        earlier = [entry["seconds"] for entry in state.log_history if "seconds" in entry]
        self.seconds = max(earlier, default=0.0)  # it may have been interrupted after its last step
        self._started = time.monotonic() - self.seconds
        # A state that was saved names the path of then, and the Trainer has just dropped it if it
        # is gone: after the last step nothing would name the best again, and the last be kept.
        best = Path(args.output_dir) / f"checkpoint-{state.best_global_step}"
        if best.is_dir():
            state.best_model_checkpoint = str(best)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == state.max_steps:
            control.should_evaluate = control.should_log = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any, **_: Any) -> None:
        losses = {name: logs[name] for name in ("loss", "eval_loss") if name in logs}
        if not losses:
            return
        for loss in losses.values():
            require_number(loss, state.global_step)
        self.seconds = time.monotonic() - self._started
        state.log_history[-1]["seconds"] = self.seconds
        if state.global_step and state.is_world_process_zero:
            left = self.seconds / state.global_step * (state.max_steps - state.global_step)
            done = {"done": state.global_step, "total": state.max_steps}
            self.progress({**done, "seconds_left": round(left), **losses})


class _Quiet:
    """Disable the Trainer's usage reports to its makers, and its model card."""

    def _send_telemetry(self) -> None:
        pass

    def create_model_card(self, *arguments: Any, **named: Any) -> None:
        pass


class _Sft(_Quiet, SFTTrainer):  # type: ignore[misc]
    """SFTTrainer, whose evaluation loss is the mean over the tokens and not over the batches."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(compute_metrics=_mean_over_tokens, **arguments)

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[Any, Any, Any]:
        """Return the mean loss of a batch, and the sum and number of each row's losses."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            output = model(**inputs, fused_lm_head=True, use_cache=False)
        # Where rows are packed on one line, each token names its row.
        count = inputs["input_ids"].shape[0]
        rows = torch.arange(count, device=output.log_probs.device)[:, None]
        rows = inputs["seq_idx"][:, 1:] if "seq_idx" in inputs else rows
        rows = rows.expand(output.log_probs.shape).flatten().long()
        sums = torch.zeros(int(rows.max()) + 1, 2, device=rows.device)
        values = torch.stack([-output.log_probs.float(), output.label_mask.float()], dim=-1)
        sums.index_add_(0, rows, values.flatten(0, 1))
        return output.loss.detach(), sums, sums[:, 1]


class _Dpo(_Quiet, DPOTrainer):  # type: ignore[misc]
    """DPOTrainer, which takes rows that are tokens already."""

    def _prepare_dataset(self, dataset: Any, *arguments: Any, **named: Any) -> Any:
        return dataset


def _mean_over_tokens(prediction: Any) -> dict[str, float]:
    losses, tokens = prediction.predictions.sum(axis=0)
    return {"loss": float(losses / tokens) if tokens else math.nan}
