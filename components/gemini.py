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
    """Tune a Gemini through a managed tuning job, and compare what the job did with the plan.

    Args:
        train: The rows to learn from, on gs://, in any format; converted where need be.
        eval: The rows held out, at most 5,000.
        region: Where the job runs, such as us-central1 or europe-west4.
        train_steps: Optimizer steps of the plan; they make the whole epochs that the job is given.
        batch_size: Rows a step, as the plan took it; the service chooses its own.
        base_model: A model's name, or projects/P/locations/R/models/M@VERSION to tune further.
        options: location, adapter_size, method, beta, export_last_checkpoint_only,
            select_checkpoint, checkpoint_id, encryption_spec_key_name, service_account,
            description, dropped_fraction_max, base_location, base_endpoint, again, poll_seconds,
            patience_seconds.

    Returns:
        model: The endpoint of the tuned model.
    """
    from tunepipe.backends.managed import gemini, gemini_prediction
    from tunepipe.steps.tuning import tune

    rows = {"train": train.uri, "eval": eval.uri}
    settings = {"base_model": base_model, "train_steps": train_steps, "batch_size": batch_size}
    settings |= {"project": project, "region": region, "display_name": display_name}
    settings["learning_rate_multiplier"] = learning_rate_multiplier
    options = {"resources_path": gcp_resources, **options}
    settings |= {"options": options, "tables": tables, "predictor": gemini_prediction}
    tune(gemini, rows, model, base, tuning.path, **settings)


@component
def evaluate_gemini(
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
    base_model: str = "gemini-3.5-flash",
    max_output_tokens: int = 256,
    settings: dict = {},  # noqa: B006
    work_dir: str = "",
) -> NamedTuple("Outputs", [("rows", int), ("unanswered", int)]):
    """Ask Gemini models every held-out row, side by side.

    Unanswered rows are counted, and never scored as wrong. A model that is not given is not asked,
    and its predictions are an empty file. All models share one limit on requests.

    Args:
        base_model: Says how little the tuned model may think before it answers.
        settings: temperature, seed, top_p, thinking_level, thinking_budget, workers,
            requests_per_minute, attempts.
    """
    from tunepipe.backends.managed import gemini_prediction
    from tunepipe.steps.evaluation import evaluate_step

    models = {"tuned": model, "base": base, "champion": champion, "first": first}
    answers = {"tuned": predictions, "base": base_predictions, "champion": champion_predictions}
    answers |= {"first": first_predictions, "guard_tuned": guard_predictions}
    answers["guard_base"] = guard_base_predictions
    rows = {"eval": eval, "guard": guard, "guard_uri": guard_uri}
    rows["guard_fingerprint"] = guard_fingerprint
    settings = {"base_model": base_model, "max_output_tokens": max_output_tokens, **settings}
    step = {"models": models, "rows": rows, "answers": answers, "metrics": metrics}
    return evaluate_step(gemini_prediction, "gemini", **step, settings=settings, work_dir=work_dir)
