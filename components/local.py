"""The step that asks a model every held-out question."""

from typing import NamedTuple

from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output

from tunepipe.packaging.component import component


@component
def evaluate_model(
    model: Input[Model],
    eval: Input[Dataset],
    predictions: Output[Artifact],
    base_predictions: Output[Artifact],
    champion_predictions: Output[Artifact],
    first_predictions: Output[Artifact],
    guard_predictions: Output[Artifact],
    guard_base_predictions: Output[Artifact],
    metrics: Output[Metrics],
    base: Input[Model] = None,
    champion: str = "",
    first: str = "",
    guard: Input[Dataset] = None,
    guard_uri: str = "",
    guard_fingerprint: str = "",
    max_output_tokens: int = 256,
    settings: dict = {},  # noqa: B006
    work_dir: str = "",
) -> NamedTuple("Outputs", [("rows", int), ("unanswered", int)]):
    """Ask models on this machine every held-out row, one model after the other.

    Unanswered rows are counted, and never scored as wrong. A model that is not given is not asked,
    and its predictions are an empty file. All models share one limit on requests.

    Args:
        model: The tuned model: a folder in Hugging Face layout or a hub id.
        settings: batch_size, engine, device, precision, four_bit, threads.
    """
    from tunepipe.backends.local import backend
    from tunepipe.steps.evaluation import evaluate_step

    models = {"tuned": model, "base": base, "champion": champion, "first": first}
    answers = {"tuned": predictions, "base": base_predictions, "champion": champion_predictions}
    answers |= {"first": first_predictions, "guard_tuned": guard_predictions}
    answers["guard_base"] = guard_base_predictions
    rows = {"eval": eval, "guard": guard, "guard_uri": guard_uri}
    rows["guard_fingerprint"] = guard_fingerprint
    settings = {"max_output_tokens": max_output_tokens, **settings}
    step = {"models": models, "rows": rows, "answers": answers, "metrics": metrics}
    return evaluate_step(backend, "local", **step, settings=settings, work_dir=work_dir)


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
        eval: The rows held out; they choose the checkpoint and never teach.
        batch_size: Rows a step.
        base_model: A folder in Hugging Face layout or a hub id; empty trains a tiny model from
            nothing.
        seed: Two runs with one seed on one machine give the same weights.
        options: What this backend alone knows: tuning_mode, lora_rank, processes, threads.
        work_dir: A folder for checkpoints; a killed run goes on from there. Empty keeps none.

    Returns:
        model: The tuned model in Hugging Face layout.
        tuning: What was measured, as JSON.
    """
    from tunepipe.backends.local import backend
    from tunepipe.steps.tuning import tune

    rows = {"train": train.path, "eval": eval.path}
    settings = {"base_model": base_model, "train_steps": train_steps, "batch_size": batch_size}
    settings |= {"learning_rate_multiplier": learning_rate_multiplier, "seed": seed}
    options = {"checkpoint_dir": work_dir, **options}
    tune(backend, rows, model, base, tuning.path, options=options, **settings)
