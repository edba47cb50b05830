"""Options of the local backend, for tuning and for prediction."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil
from typing import Annotated, Literal

from msgspec import Meta, Struct

TuningMode = Literal["lora", "qlora", "full"]
Precision = Literal["", "float32", "bfloat16"]
Count = Annotated[int, Meta(ge=1)]
CountOrAuto = Annotated[int, Meta(ge=0)]  # 0: choose for me
# The environment variable that replaces the device "" where an accelerator is paid for.
DEVICE = "TUNEPIPE_DEVICE"
_GPU_RESOURCES = ("nvidia.com/", "amd.com/")  # both are "cuda" to torch


class TrainJobOptions(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A TrainJob of Kubeflow Trainer that trains in place of the step.

    Args:
        nodes: How many nodes train together.
        image: An image that holds `tunepipe[local]`.
        work_uri: The folder of an object store where rows, checkpoints and models go.
        resources: What each node asks for, such as {"nvidia.com/gpu": 8}.
        namespace: Where the job is created; "" takes the step's own.
        runtime: The ClusterTrainingRuntime, of the kind torch.
        secrets: Secret -> environment variable -> key of the secret, for the store and the
            hub's token.
        poll_seconds: Between two looks at the job, and between two copies of its checkpoints.
    """

    image: str
    work_uri: Annotated[str, Meta(pattern=r"^\w+://.+", description="gs://… or s3://…")]
    nodes: Annotated[int, Meta(ge=1, le=1024)] = 2
    resources: dict[str, int | str] = {}
    namespace: str = ""
    runtime: str = "torch-distributed"
    secrets: dict[str, dict[str, str]] = {}
    poll_seconds: Annotated[float, Meta(gt=0)] = 10.0


class LocalOptions(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The options of `tune`; 0 and "" mean "choose for me".

    Args:
        tuning_mode: "lora", "qlora" (4-bit base; needs bitsandbytes) or "full". The tiny
            model from scratch is always trained in full.
        lora_rank: The rank of LoRA's matrices, >= 1.
        lora_alpha: LoRA's scale; the update is multiplied by alpha / rank.
        target_modules: The modules that LoRA adapts, separated by commas, or "all-linear".
        merge: Write the tuned model whole instead of an adapter, which is then in adapter/.
        learning_rate: The recommended rate, before the multiplier; 0 takes the mode's own.
        max_tokens: The most tokens a row may have; 0 takes what the model can read, up to 4096.
        micro_batch_size: Most rows through the model at once; 0 takes what fits into memory.
        packing: Lay short rows one after the other instead of padding them.
        gradient_checkpointing: Compute activations twice instead of keeping them; where memory asks
            for it, it is the default.
        beta: How closely DPO keeps to the model before tuning, > 0; for preference rows alone.
        early_stopping: Stop after this many evaluations without a better loss, and keep the best
            weights; 0 trains to the end.
        evaluate_every: Steps between evaluations; 0 takes a tenth of the run.
        checkpoint_every: Steps between checkpoints; 0 takes a tenth of the run.
        checkpoint_dir: Where they go; "" takes the output folder.
        device: "cpu", "cuda" or "cuda:N"; "" takes a GPU if there is one.
        precision: "float32" or "bfloat16"; "" takes bfloat16 on a GPU that computes in it.
        processes: Processes that share the rows of each step; 0 takes one a GPU, and one on a CPU.
        accelerate_config: How they share the model: an accelerate YAML file, or one of those that
            come with TRL (fsdp2, zero2, zero3); "" gives each process the whole model.
        threads: CPU threads; more than one is slower for small models on a busy machine.
        train_job: The nodes of a cluster that train, instead of this machine.
    """

    tuning_mode: TuningMode = "lora"
    lora_rank: Count = 16
    lora_alpha: Count = 32
    target_modules: str = "all-linear"
    merge: bool = False
    learning_rate: Annotated[float, Meta(ge=0, le=1)] = 0.0
    max_tokens: CountOrAuto = 0
    micro_batch_size: CountOrAuto = 0
    packing: bool = False
    gradient_checkpointing: bool = False
    beta: Annotated[float, Meta(gt=0, le=100)] = 0.1
    early_stopping: CountOrAuto = 0
    evaluate_every: CountOrAuto = 0
    checkpoint_every: CountOrAuto = 0
    checkpoint_dir: str = ""
    device: str = ""
    precision: Precision = ""
    processes: CountOrAuto = 0
    accelerate_config: str = ""
    threads: Count = 1
    train_job: TrainJobOptions | None = None


class PredictionOptions(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The settings of `predict`.

    Args:
        max_output_tokens: The longest answer, >= 1.
        batch_size: Prompts at once.
        engine: "transformers" or "vllm"; "" takes vLLM if it is installed and worth its start.
        four_bit: Hold the weights in 4 bits, as "qlora" does; needs bitsandbytes.
    """

    max_output_tokens: Count = 256
    batch_size: Count = 32
    engine: Literal["", "transformers", "vllm"] = ""
    device: str = ""
    precision: Precision = ""
    four_bit: bool = False
    threads: Count = 1


def device_environment(resources: Iterable[str]) -> list[dict[str, str]]:
    """Return the container's `env` that has a program use its GPU or end; [] where it has none.

    Without it, a program whose GPU torch cannot use, as for an old driver, computes on the CPU for
    days, and the GPU is paid.

    Args:
        resources: The names of what the container asks a cluster for.
    """
    has_gpu = any(name.startswith(_GPU_RESOURCES) for name in resources)
    return [{"name": DEVICE, "value": "cuda"}] if has_gpu else []


def disk_gib_of(options: LocalOptions, billions: float) -> int:
    """Estimate what a model takes on disk, to be downloaded, tuned and asked, in GiB.

    The hub's weights are 16-bit. Merging writes them again. Full tuning writes 32-bit weights, with
    AdamW's two moments in each checkpoint; the new one is whole before the old one is deleted.
    """
    bytes_each = 2.0 + 2 * options.merge
    if options.tuning_mode == "full":
        bytes_each = 2.0 + 4 + 2 * (4 + 8)
    return ceil(billions * 1e9 * bytes_each / 2**30)
