"""The step that tunes."""

from kfp.dsl import Artifact, Dataset, Input, Model, Output

from tunepipe.packaging.component import component


@component
def tune_local(
    train: Input[Dataset],
    eval: Input[Dataset],
    model: Output[Model],
    base: Output[Model],
    tuning: Output[Artifact],
    train_steps: int,
    batch_size: int = 16,
    base_model: str = "",
    learning_rate_multiplier: float = 1.0,
    seed: int = 0,
    options: dict = {},  # noqa: B006
    work_dir: str = "",
):
    """Tune a language model on this machine's CPU or GPU.

    Args:
        train: The rows to learn from.
        eval: The rows held out; they choose the checkpoint and never teach.
        train_steps: Optimizer steps.
        batch_size: Rows a step.
        base_model: A folder in Hugging Face layout or a hub id; empty trains a tiny model from
            nothing.
        learning_rate_multiplier: Times the recommended rate; 1.0 is recommended.
        seed: Two runs with one seed on one machine give the same weights.
        options: What this backend alone knows: tuning_mode, lora_rank, processes, threads.
        work_dir: A folder for checkpoints; a killed run goes on from there. Empty keeps none.

    Returns:
        model: The tuned model in Hugging Face layout.
        base: The model before tuning.
        tuning: What was measured, as JSON.
    """
    from tunepipe.steps.local import tune_step

    rows = {"train": train.path, "eval": eval.path}
    settings = {"base_model": base_model, "train_steps": train_steps, "batch_size": batch_size}
    rate = {"learning_rate_multiplier": learning_rate_multiplier, "seed": seed}
    tune_step(rows, model, base, tuning.path, work_dir, options=options, **settings, **rate)
