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
        region: Where the job runs; the option location may say global.
        train_steps: Optimizer steps of the plan; they make the whole epochs that the job is given.
        batch_size: Rows a step, as the plan took it; the service chooses its own.
        base_model: The exact, versioned name, such as meta/llama3_1@llama-3.1-8b.
        options: location, fallback_locations, tuning_mode, adapter_size, learning_rate,
            batch_size, output_uri, endpoint, base_endpoint, custom_base_model,
            encryption_spec_key_name, service_account, description, dropped_fraction_max, again,
            poll_seconds, patience_seconds.

    Returns:
        model: The endpoint that the options name, else the folder of the weights.
        base: The base model's endpoint, else its name.
    """
    from tunepipe.backends.managed import open_model
    from tunepipe.steps.tuning import tune

    rows = {"train": train.uri, "eval": eval.uri}
    settings = {"base_model": base_model, "train_steps": train_steps, "batch_size": batch_size}
    settings |= {"project": project, "region": region, "display_name": display_name}
    settings["learning_rate_multiplier"] = learning_rate_multiplier
    options = {"resources_path": gcp_resources, **options}
    settings |= {"options": options, "tables": tables}
    tune(open_model, rows, model, base, tuning.path, **settings)


@component
def evaluate_open_model(
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
    """Ask the endpoints of open models every held-out row, side by side.

    Unanswered rows are counted, and never scored as wrong. A model that is not given is not asked,
    and its predictions are an empty file. All models share one limit on requests.

    Args:
        model: The tuned model's endpoint. Weights without one leave every row unanswered.
        settings: temperature, request_format (chat or prompt), workers, requests_per_minute,
            attempts.
    """
    from tunepipe.backends.managed import open_model_prediction
    from tunepipe.steps.evaluation import evaluate_step

    models = {"tuned": model, "base": base, "champion": champion, "first": first}
    answers = {"tuned": predictions, "base": base_predictions, "champion": champion_predictions}
    answers |= {"first": first_predictions, "guard_tuned": guard_predictions}
    answers["guard_base"] = guard_base_predictions
    rows = {"eval": eval, "guard": guard, "guard_uri": guard_uri}
    rows["guard_fingerprint"] = guard_fingerprint
    settings = {"max_output_tokens": max_output_tokens, **settings}
    step = {"models": models, "rows": rows, "answers": answers, "metrics": metrics}
    return evaluate_step(
        open_model_prediction, "open-model", **step, settings=settings, work_dir=work_dir
    )
