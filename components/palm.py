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


@component
def prepare_template(
    train: Input[Dataset],
    eval: Input[Dataset],
    project: str,
    region: str,
    train_steps: int,
    template_sha256: str,
    batch_size: int = 1,
    base_model: str = "text-bison@001",
    learning_rate_multiplier: float = 1.0,
    display_name: str = "tunepipe",
    options: dict = {},  # noqa: B006
) -> NamedTuple(
    "Outputs",
    [
        ("location", str),
        ("accelerator_type", str),
        ("dataset_uri", str),
        ("evaluation_data_uri", str),
        ("evaluation_interval", int),
        ("enable_early_stopping", bool),
        ("enable_checkpoint_selection", str),
        ("default_context", str),
        ("tensorboard_resource_id", str),
        ("encryption_spec_key_name", str),
        ("tpu_training_skip_cmek", bool),
        ("tuning_method", str),
    ],
):
    """Check what goes into the template before an hour of accelerators is paid for.

    Args:
        train: The rows to learn from, on gs://.
        eval: The rows held out, 10 to 256.
        project: The project that pays.
        region: us-central1 trains on GPUs, europe-west4 on TPUs; nothing runs elsewhere.
        train_steps: Optimizer steps.
        template_sha256: The template that the pipeline was compiled with.
        batch_size: Rows a step; the template chooses its own.
        base_model: text-bison, code-bison, chat-bison or codechat-bison, with or without a version.
        learning_rate_multiplier: Times the recommended rate; 1.0 is recommended.
        display_name: The name of the model and of its endpoint, at most 128 characters.
        options: The template's other parameters by name.

    Returns:
        location: Where the model is served.
        accelerator_type: GPU or TPU.
        dataset_uri: The rows to learn from.
        evaluation_data_uri: The rows held out, or empty for a chat model.
        evaluation_interval: Steps between two evaluations.
        enable_early_stopping: Whether tuning stops when it no longer helps.
        enable_checkpoint_selection: true, false or default.
        default_context: What a chat model is told first.
        tensorboard_resource_id: Where losses are drawn.
        encryption_spec_key_name: The customer-managed key.
        tpu_training_skip_cmek: Whether TPU training goes without the key.
        tuning_method: tune_v2 or tune.
    """
    from tunepipe.steps.template_step import prepare_step

    names = ("location", "accelerator_type", "dataset_uri", "evaluation_data_uri")
    names += ("evaluation_interval", "enable_early_stopping", "enable_checkpoint_selection")
    names += ("default_context", "tensorboard_resource_id", "encryption_spec_key_name")
    names += ("tpu_training_skip_cmek", "tuning_method")
    place = {"project": project, "region": region, "display_name": display_name}
    what = {"base_model": base_model, "train_steps": train_steps, "batch_size": batch_size}
    rows, rate = {"train": train, "eval": eval}, learning_rate_multiplier
    return prepare_step(
        rows, names, options=options, learning_rate_multiplier=rate, **place, **what
    )


@component
def keep_template_model(
    model: Output[Model],
    base: Output[Model],
    tuning: Output[Artifact],
    model_resource_name: str,
    endpoint_resource_name: str,
    project: str,
    region: str,
    train_steps: int,
    template_sha256: str,
    base_model: str = "text-bison@001",
):
    """Hand the template's model on as the artifacts that the steps behind it take.

    Args:
        model_resource_name: The tuned model.
        endpoint_resource_name: Where it answers.
        project: The project that pays.
        region: Where everything runs.
        train_steps: Optimizer steps, for the report.
        template_sha256: The template that the pipeline was compiled with, for the report.
        base_model: The model before tuning.

    Returns:
        model: The endpoint of the tuned model.
        base: The model before tuning.
        tuning: What is known of the tuning, as JSON.
    """
    from tunepipe.steps.template_step import keep_step

    told = {"train_steps": train_steps, "template_sha256": template_sha256}
    names = (model_resource_name, endpoint_resource_name)
    place = {"base_model": base_model, "project": project, "region": region}
    keep_step(model, base, tuning.path, names=names, statistics=told, **place)
