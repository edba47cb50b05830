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
        eval: The held-out rows.
        base: The model before tuning.
        champion: The model in service, by its name.
        first: The first champion, by its name; empty if it is the champion, or none is needed.
        guard_uri: Rows with prompts that must not get worse: a path, a gs:// URI, or a glob.
        guard_fingerprint: Their identity, from prepare_run; rows that changed since are refused.
        max_output_tokens: The longest answer, in tokens.
        settings: batch_size, engine, device, precision, four_bit, threads.
        work_dir: A folder where answers are kept as they come; a killed step goes on from there
            and pays for no row twice. Empty keeps them next to the predictions.

    Returns:
        predictions: A JSON object a line: id, input, reference, prediction.
        base_predictions: The base model's.
        champion_predictions: The champion's.
        first_predictions: The first champion's.
        guard_predictions: The tuned model's on the guarded rows.
        guard_base_predictions: The base model's on them.
        metrics: Rows, unanswered rows and exact matches of each model.
        rows: Number of rows that the tuned model was asked.
        unanswered: Number of them without an answer.
    """
    from tunepipe.backends.local import backend
    from tunepipe.steps.artifacts import model_of
    from tunepipe.steps.evaluation import evaluate

    models = {"tuned": model_of(model), "base": model_of(base), "champion": champion}
    models["first"], guard = first, (guard_uri, guard_fingerprint)
    files = {"tuned": predictions, "base": base_predictions, "champion": champion_predictions}
    files["first"] = first_predictions
    files |= {"guard_tuned": guard_predictions, "guard_base": guard_base_predictions}
    how = {"max_output_tokens": max_output_tokens, **settings}
    found = evaluate(backend, "local", models, eval.path, guard, files, how, work_dir)
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
        options: What this backend alone knows: tuning_mode, lora_rank, processes, threads.
        work_dir: A folder for checkpoints; a killed run goes on from there. Empty keeps none.

    Returns:
        model: The tuned model in Hugging Face layout.
        base: The model before tuning.
        tuning: What was measured, as JSON.
    """
    from tunepipe.backends.local import backend
    from tunepipe.steps.tuning import tune

    rows = {"train": train.path, "eval": eval.path}
    settings = {"base_model": base_model, "train_steps": train_steps, "batch_size": batch_size}
    settings |= {"learning_rate_multiplier": learning_rate_multiplier, "seed": seed}
    options = {"checkpoint_dir": work_dir, **options}
    tune(backend, rows, model, base, tuning.path, options=options, **settings)
