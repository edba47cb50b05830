"""The steps that tune and ask Gemini."""

from typing import NamedTuple

from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output, OutputPath

from tunepipe.packaging.component import component


@component
def tune_gemini(
    train: Input[Dataset],
    eval: Input[Dataset],
    model: Output[Model],
    base: Output[Model],
    tuning: Output[Artifact],
    gcp_resources: OutputPath(str),
    project: str,
    region: str,
    train_steps: int,
    batch_size: int = 8,
    base_model: str = "gemini-3.5-flash",
    learning_rate_multiplier: float = 1.0,
    display_name: str = "tunepipe",
    options: dict = {},  # noqa: B006
    tables: dict = {},  # noqa: B006
):
    """Tune a Gemini through a managed tuning job, and hold what the job did against the plan.

    Args:
        train: The rows to learn from, on gs://, in any format; converted where need be.
        eval: The rows held out, at most 5,000.
        project: The project that pays.
        region: Where the job runs, such as us-central1 or europe-west4.
        train_steps: Optimizer steps of the plan; they make the whole epochs that the job is given.
        batch_size: Rows a step, as the plan took it; the service chooses its own.
        base_model: A model's name, or projects/P/locations/R/models/M@VERSION to tune further.
        learning_rate_multiplier: Times the recommended rate; 1.0 is recommended.
        display_name: The name of the model, at most 128 characters.
        options: location, adapter_size, method, beta, export_last_checkpoint_only,
            checkpoint_id, encryption_spec_key_name, service_account, description,
            dropped_fraction_max, base_location, base_endpoint, again, poll_seconds,
            patience_seconds.
        tables: Values that replace those of the package's dated tables.

    Returns:
        model: The endpoint of the tuned model.
        base: The model before tuning.
        tuning: What is known of the tuning, as JSON.
        gcp_resources: The tuning job, in the form that Google's own components use.
    """
    from tunepipe.steps.gemini import tune_step

    rows, place = {"train": train, "eval": eval}, {"project": project, "region": region}
    settings = {"base_model": base_model, "train_steps": train_steps, "batch_size": batch_size}
    more = {"learning_rate_multiplier": learning_rate_multiplier, "display_name": display_name}
    more = {**more, "options": options, "tables": tables}
    tune_step(rows, model, base, tuning.path, gcp_resources, **place, **settings, **more)


@component
def evaluate_gemini(
    model: Input[Model],
    eval: Input[Dataset],
    predictions: Output[Artifact],
    metrics: Output[Metrics],
    base_model: str = "gemini-3.5-flash",
    max_output_tokens: int = 256,
    settings: dict = {},  # noqa: B006
    work_dir: str = "",
) -> NamedTuple("Outputs", [("rows", int), ("unanswered", int)]):
    """Ask a Gemini every held-out row; a row without an answer is counted, never wrong.

    Args:
        model: The model to ask. One that stands for no model gives no predictions.
        eval: The rows held out.
        base_model: Says how little the model may think before it answers.
        max_output_tokens: The longest answer, in tokens.
        settings: temperature, seed, top_p, thinking_level, thinking_budget, workers,
            requests_per_minute, attempts.
        work_dir: A folder where answers are kept as they come; a killed step goes on from there
            and pays for no row twice. Empty keeps none.

    Returns:
        predictions: A JSON object a line: id, input, reference, prediction.
        metrics: Rows, unanswered rows, exact matches.
        rows: How many rows were asked.
        unanswered: How many of them gave no answer.
    """
    from tunepipe.steps.gemini import evaluate_step

    settings = {**settings, "max_output_tokens": max_output_tokens}
    found = evaluate_step(model, eval.path, predictions.path, work_dir, base_model, settings)
    for name, value in found.items():
        metrics.log_metric(name, value)
    return (found["rows"], found["unanswered"])
