"""The steps that tune and ask PaLM models on Vertex AI."""

from typing import NamedTuple

from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output, OutputPath

from tunepipe.packaging.component import component


@component
def tune_large_model(
    train: Input[Dataset],
    eval: Input[Dataset],
    model: Output[Model],
    base: Output[Model],
    tuning: Output[Artifact],
    gcp_resources: OutputPath(str),
    project: str,
    region: str,
    train_steps: int,
    batch_size: int = 1,
    base_model: str = "text-bison@001",
    learning_rate_multiplier: float = 1.0,
    display_name: str = "tunepipe",
    options: dict = {},  # noqa: B006
    tables: dict = {},  # noqa: B006
):
    """Tune a PaLM model through Google's template tune-large-model, as a child pipeline job.

    Google refused new tunings of these models from 2024-10-09 and shut them down on 2025-04-09.

    Args:
        train: The rows to learn from, on gs://.
        eval: The rows held out, 10 to 256; chat models are tuned without them.
        project: The project that pays.
        region: us-central1 trains on GPUs, europe-west4 on TPUs; nothing runs elsewhere.
        train_steps: Optimizer steps.
        batch_size: Rows a step, for the report; the template chooses its own.
        base_model: text-bison, code-bison, chat-bison or codechat-bison, with or without a version.
        learning_rate_multiplier: Times the recommended rate; 1.0 is recommended.
        display_name: The name of the model and of its endpoint, at most 128 characters.
        options: The template's other parameters by name, and template_version, pipeline_root,
            service_account, network, again, poll_seconds, patience_seconds, first_job_seconds.
        tables: Values that replace those of the package's dated tables.

    Returns:
        model: The endpoint of the tuned model.
        base: The model before tuning.
        tuning: What is known of the tuning, as JSON.
        gcp_resources: The child job, in the form that Google's own components use.
    """
    from tunepipe.steps.palm import tune_step

    rows, place = {"train": train, "eval": eval}, {"project": project, "region": region}
    settings = {"base_model": base_model, "train_steps": train_steps, "batch_size": batch_size}
    more = {"learning_rate_multiplier": learning_rate_multiplier, "display_name": display_name}
    more = {**more, "options": options, "tables": tables}
    tune_step(rows, model, base, tuning.path, gcp_resources, **place, **settings, **more)


@component
def evaluate_large_model(
    model: Input[Model],
    eval: Input[Dataset],
    predictions: Output[Artifact],
    metrics: Output[Metrics],
    base_model: str = "text-bison@001",
    max_output_tokens: int = 256,
    settings: dict = {},  # noqa: B006
    work_dir: str = "",
) -> NamedTuple("Outputs", [("rows", int), ("unanswered", int)]):
    """Ask a PaLM model every held-out row; a row without an answer is counted, never wrong.

    Args:
        model: The model to ask. One that stands for no model gives no predictions.
        eval: The rows held out.
        base_model: Says whether the model is a chat model.
        max_output_tokens: The longest answer, in tokens.
        settings: temperature, workers, requests_per_minute, attempts.
        work_dir: A folder where answers are kept as they come; a killed step goes on from there
            and pays for no row twice. Empty keeps none.

    Returns:
        predictions: A JSON object a line: id, input, reference, prediction.
        metrics: Rows, unanswered rows, exact matches.
        rows: How many rows were asked.
        unanswered: How many of them gave no answer.
    """
    from tunepipe.steps.palm import evaluate_step

    settings = {**settings, "max_output_tokens": max_output_tokens}
    found = evaluate_step(model, eval.path, predictions.path, work_dir, base_model, settings)
    for name, value in found.items():
        metrics.log_metric(name, value)
    return (found["rows"], found["unanswered"])
