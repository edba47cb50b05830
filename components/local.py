"""The step that asks a model every held-out question."""

from typing import NamedTuple

from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output

from tunepipe.packaging.component import component


@component
def evaluate_model(
    model: Input[Model],
    eval: Input[Dataset],
    predictions: Output[Artifact],
    metrics: Output[Metrics],
    max_output_tokens: int = 256,
    settings: dict = {},  # noqa: B006
    work_dir: str = "",
) -> NamedTuple("Outputs", [("rows", int), ("unanswered", int)]):
    """Ask a model on this machine every held-out row; an unanswered one is never scored as wrong.

    Args:
        model: The model to ask. One that stands for no model gives no predictions.
        eval: The rows held out.
        max_output_tokens: The longest answer, in tokens.
        settings: Backend-specific options, such as requests_per_minute.
        work_dir: A folder where answers are kept as they come; a killed step goes on from there
            and pays for no row twice. Empty keeps none.

    Returns:
        predictions: A JSON object a line: id, input, reference, prediction.
        metrics: Rows, unanswered rows, exact matches.
        rows: How many rows were asked.
        unanswered: How many of them gave no answer.
    """
    from tunepipe.steps.local import evaluate_step

    settings = {**settings, "max_output_tokens": max_output_tokens}
    found = evaluate_step(model, eval.path, predictions.path, work_dir, settings)
    for name, value in found.items():
        metrics.log_metric(name, value)
    return (found["rows"], found["unanswered"])


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
        options: Options of this backend: tuning_mode, lora_rank, processes, threads.
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
