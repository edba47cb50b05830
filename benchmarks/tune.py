"""Our local tuning and TRL's SFTTrainer as it comes: the same model, rows, steps and batch.

    python benchmarks/tune.py                                # a Llama of 10 M parameters, on a CPU
    python benchmarks/tune.py --device cuda --base-model DIR # a model of yours, on a GPU
    python benchmarks/tune.py --words 200 600                # longer rows

Ours is TRL with settings of our own, so this measures them: TRL is run in its defaults, gradient
checkpointing among them, and without that; on a CPU its default of bfloat16 is off, as ours is. All
get the same LoRA, rate and chat template, and see every row equally often. Each run is a process of
its own, in turn; on a GPU the first of each is not counted. Tokens are those of the rows, without
padding. Seconds run from the end of the first step to that of the last; with one thread on a CPU
they are the process's own CPU seconds, which busy neighbours do not change. The loss is that of
the held-out answers after training, computed alike for all. Needs the extra `local`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

SEED = 20261125
BATCH, ROWS, HELD_OUT, EPOCHS = 8, 256, 32, 2
STEPS = ROWS * EPOCHS // BATCH
LORA_RANK, LORA_ALPHA = 16, 32
RATES = {"lora": 2e-4, "full": 2e-5}
OURS, TRL, TRL_PLAIN = "tunepipe", "TRL, defaults", "TRL, no gradient checkpointing"
SIDES = (OURS, TRL, TRL_PLAIN)
WORDS = (
    *("order", "parcel", "return", "invoice", "address", "delivery", "monday", "friday", "please"),
    *("customer", "refund", "receipt", "confirm", "cancel", "number", "street", "colour", "green"),
)


def write_rows(folder: Path, shortest: int, longest: int) -> None:
    """Write rows of N words whose answers repeat some of them."""
    chance = random.Random(SEED)
    for name, count in (("train.jsonl", ROWS), ("eval.jsonl", HELD_OUT)):
        with (folder / name).open("w", encoding="utf-8") as file:
            for _ in range(count):
                words = chance.choices(WORDS, k=chance.randint(shortest, longest))
                row = {"input_text": " ".join(words), "output_text": " ".join(words[::3])}
                file.write(json.dumps(row) + "\n")


def write_base(folder: Path) -> None:
    """Write a Llama of 10 M parameters that has learnt nothing, with a tokenizer of the rows."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tunepipe.backends.local.tiny_model import learn_tokenizer
    from tunepipe.data.rows import read_examples

    tokenizer = learn_tokenizer(list(read_examples(folder / "train.jsonl")))
    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=8192,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=4096,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")


def tune_ours(
    base: str, folder: Path, mode: str, device: str, threads: int, tick: Callable[[], None]
) -> Any:
    """Tune with tunepipe, tick at the end of each step, and give the tuned model."""
    from tunepipe.backends.base import TuningRequest
    from tunepipe.backends.local import backend
    from tunepipe.backends.local.pretrained import load_tuned

    options = {
        "tuning_mode": mode,
        "learning_rate": RATES[mode],
        "lora_rank": LORA_RANK,
        "lora_alpha": LORA_ALPHA,
        "evaluate_every": STEPS,
        "checkpoint_every": STEPS,
        "device": device,
        "threads": threads,
        "processes": 1,
    }
    files = (str(folder / "train.jsonl"), str(folder / "eval.jsonl"))
    request = TuningRequest(base, *files, STEPS, BATCH, options=options)
    with tempfile.TemporaryDirectory(dir=folder) as out:
        return load_tuned(
            backend.tune(request, out, lambda event: tick() if "loss" in event else None).model,
            device,
        )


def tune_trl(
    base: str,
    folder: Path,
    mode: str,
    device: str,
    threads: int,
    tick: Callable[[], None],
    plain: bool,
) -> Any:
    """Tune with TRL, tick at the end of each step, and give the tuned model."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from transformers.utils import logging
    from trl import SFTConfig, SFTTrainer

    from tunepipe.data.rows import read_examples

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *arguments: Any, **named: Any) -> None:
            tick()

    logging.disable_progress_bar()
    torch.set_num_threads(threads)
    rows = [
        {
            "prompt": list(map(dict, one.messages)),
            "completion": [{"role": "assistant", "content": one.reference}],
        }
        for one in read_examples(folder / "train.jsonl")
    ]
    lora = LoraConfig(
        r=LORA_RANK, lora_alpha=LORA_ALPHA, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    changed: dict[str, Any] = {"use_cpu": True, "bf16": False} if device == "cpu" else {}
    if plain:
        changed["gradient_checkpointing"] = False
    with tempfile.TemporaryDirectory(dir=folder) as out:
        config = SFTConfig(
            output_dir=out,
            max_steps=STEPS,
            per_device_train_batch_size=BATCH,
            learning_rate=RATES[mode],
            seed=SEED,
            disable_tqdm=True,
            **changed,
        )
        trainer = SFTTrainer(
            model=base,
            args=config,
            train_dataset=Dataset.from_list(rows),
            peft_config=lora if mode == "lora" else None,
            callbacks=[Clock()],
        )
        trainer.train()
    return trainer.model


def one_run(side: str, base: str, folder: Path, mode: str, device: str, threads: int) -> None:
    """Tune once in this process and print what was measured, as JSON."""
    import torch

    from tunepipe.backends.local.base_model import load_tokenizer
    from tunepipe.backends.local.rows import encode
    from tunepipe.data.rows import read_examples

    clock = time.process_time if (device, threads) == ("cpu", 1) else time.perf_counter
    moments: list[float] = []

    def tick() -> None:
        if device != "cpu":
            torch.cuda.synchronize()
        moments.append(clock())

    how = (base, folder, mode, device, threads, tick)
    model = tune_ours(*how) if side == OURS else tune_trl(*how, side == TRL_PLAIN)
    assert len(moments) == STEPS
    seconds = moments[-1] - moments[0]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if device != "cpu":
        peak = torch.cuda.max_memory_allocated()
    tokenizer = load_tokenizer(base)
    taught, held_out = (
        encode(tokenizer, read_examples(folder / name), max_tokens=4096)
        for name in ("train.jsonl", "eval.jsonl")
    )
    tokens = EPOCHS * sum(map(len, taught)) * (STEPS - 1) / STEPS
    loss = loss_of(model.eval(), held_out)
    print(json.dumps({"speed": tokens / seconds, "peak": peak / 2**20, "loss": loss}))


def loss_of(model: Any, rows: Sequence[Any]) -> float:
    """Return the mean loss of the rows' answers, in nats a token."""
    import torch

    total = 0.0
    for row in rows:
        ids = torch.tensor([row.prompt + row.completion], device=model.device)
        with torch.no_grad():
            scores = model(input_ids=ids).logits[0, :-1].float().log_softmax(-1)
        losses = -scores.gather(1, ids[0, 1:, None])
        total += losses[-len(row.completion) :].sum().item()
    return total / sum(len(row.completion) for row in rows)


def measured(side: str, arguments: argparse.Namespace, mode: str) -> Mapping[str, float]:
    """Tune once in a process of its own.

    Raises:
        SystemExit: It failed; the message is its own.
    """
    options = {
        "--side": side,
        "--mode": mode,
        "--folder": arguments.folder,
        "--base-model": arguments.base_model,
        "--device": arguments.device,
        "--threads": arguments.threads,
    }
    done = subprocess.run(
        [sys.executable, __file__, *(str(part) for pair in options.items() for part in pair)],
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "0"},
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{side}: {done.stderr.strip()[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(arguments: argparse.Namespace) -> None:
    """Measure all sides in turn and print the medians as a table."""
    print(f"{STEPS} steps of {BATCH} rows, {arguments.repeats} repeats, medians\n")
    print("| tuning | program | tokens a second | times ours | peak MiB | loss after |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for mode in arguments.modes:
        runs: dict[str, list[Mapping[str, float]]] = {side: [] for side in SIDES}
        is_cold = arguments.device != "cpu"  # CUDA's kernels come from the disk at first
        for number in range(arguments.repeats + is_cold):
            for side in SIDES:
                run = measured(side, arguments, mode)
                if number or not is_cold:
                    runs[side].append(run)
        ours = _median(runs[OURS], "speed")
        for side in SIDES:
            speed, peak, loss = (_median(runs[side], key) for key in ("speed", "peak", "loss"))
            ratio = f"{speed / ours:.2f}"
            print(f"| {mode} | {side} | {speed:,.0f} | {ratio} | {peak:,.0f} | {loss:.3f} |")


def _median(runs: Sequence[Mapping[str, float]], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--words", type=int, nargs=2, default=(10, 80), metavar="N")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--modes", nargs="+", default=["lora", "full"], choices=["lora", "full"])
    parser.add_argument("--base-model", default="", help="a folder in place of our small Llama")
    for hidden in ("--side", "--mode", "--folder"):
        parser.add_argument(hidden, default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        place = (arguments.base_model, Path(arguments.folder))
        how = (arguments.mode, arguments.device, arguments.threads)
        one_run(arguments.side, *place, *how)
        return
    with tempfile.TemporaryDirectory() as folder:
        arguments.folder = folder
        write_rows(Path(folder), *arguments.words)
        if not arguments.base_model:
            write_base(Path(folder))
            arguments.base_model = str(Path(folder) / "base")
        compare(arguments)


if __name__ == "__main__":
    main()
