"""The steps that tune open models, and ask an endpoint that serves one."""

from typing import NamedTuple

from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output, OutputPath

from tunepipe.packaging.component import component


@component
def tune_open_model(
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
    base_model: str = "qwen/qwen3@qwen3-4b",
    learning_rate_multiplier: float = 1.0,
    display_name: str = "tunepipe",
    options: dict = {},  # noqa: B006
    tables: dict = {},  # noqa: B006
):
    """Tune an open model (Llama, Gemma, Qwen…) through a managed tuning job.

    The job leaves weights in Cloud Storage. Serving them takes GPUs that are paid by the hour, so
    no endpoint is made; one that the options name is evaluated.

    Args:
        train: The rows to learn from, on gs://, in any format; converted where need be.
        eval: The rows held out, at most 5,000 and a quarter of the training file's bytes.
        project: The project that pays.
        region: Where the job runs; the option location may say global.
        train_steps: Optimizer steps of the plan; they make the whole epochs that the job is given.
        batch_size: Rows a step, as the plan took it; the service chooses its own.
        base_model: The exact, versioned name, such as meta/llama3_1@llama-3.1-8b.
        learning_rate_multiplier: Times the recommended rate; 1.0 is recommended.
        display_name: The name of the model, at most 128 characters.
        options: location, tuning_mode, adapter_size, learning_rate, output_uri, endpoint,
            base_endpoint, custom_base_model, encryption_spec_key_name, service_account,
            description, dropped_fraction_max, again, poll_seconds, patience_seconds.
        tables: Values that replace those of the package's dated tables.

    Returns:
        model: The endpoint that the options name, else the folder of the weights.
        base: The base model's endpoint, else its name.
        tuning: What is known of the tuning, as JSON.
        gcp_resources: The tuning job, in the form that Google's own components use.
    """
    from tunepipe.steps.open_model import tune_step

    rows, place = {"train": train, "eval": eval}, {"project": project, "region": region}
    settings = {"base_model": base_model, "train_steps": train_steps, "batch_size": batch_size}
    more = {"learning_rate_multiplier": learning_rate_multiplier, "display_name": display_name}
    more = {**more, "options": options, "tables": tables}
    tune_step(rows, model, base, tuning.path, gcp_resources, **place, **settings, **more)


@component
def evaluate_open_model(
    model: Input[Model],
    eval: Input[Dataset],
    predictions: Output[Artifact],
    metrics: Output[Metrics],
    max_output_tokens: int = 256,
    settings: dict = {},  # noqa: B006
    work_dir: str = "",
) -> NamedTuple("Outputs", [("rows", int), ("unanswered", int)]):
    """Ask an endpoint every held-out row; a row without an answer is counted, never wrong.

    Args:
        model: The endpoint to ask. Weights that no endpoint serves leave every row unanswered.
        eval: The rows held out.
        max_output_tokens: The longest answer, in tokens.
        settings: temperature, request_format (chat or prompt), workers, requests_per_minute,
            attempts.
        work_dir: A folder where answers are kept as they come; a killed step goes on from there
            and pays for no row twice. Empty keeps none.

    Returns:
        predictions: A JSON object a line: id, input, reference, prediction.
        metrics: Rows, unanswered rows, exact matches.
        rows: How many rows were asked.
        unanswered: How many of them gave no answer.
    """
    from tunepipe.steps.open_model import evaluate_step

    settings = {**settings, "max_output_tokens": max_output_tokens}
    found = evaluate_step(model, eval.path, predictions.path, work_dir, settings)
    for name, value in found.items():
        metrics.log_metric(name, value)
    return (found["rows"], found["unanswered"])
