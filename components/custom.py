"""The steps that tune and ask open models on accelerators in the user's project."""

from typing import NamedTuple

from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output, OutputPath

from tunepipe.packaging.component import component


@component
def tune_custom(
    train: Input[Dataset],
    eval: Input[Dataset],
    model: Output[Model],
    base: Output[Model],
    tuning: Output[Artifact],
    gcp_resources: OutputPath(str),
    project: str,
    region: str,
    train_steps: int,
    batch_size: int = 16,
    base_model: str = "Qwen/Qwen3-4B",
    learning_rate_multiplier: float = 1.0,
    seed: int = 0,
    display_name: str = "tunepipe",
    options: dict = {},  # noqa: B006
    tables: dict = {},  # noqa: B006
):
    """Tune any open model by TRL in a custom job, on GPUs in the user's project.

    Args:
        train: The rows to learn from, on gs://, in any format; preference rows are tuned by DPO.
        region: Where the job runs.
        batch_size: Rows a step, over all accelerators.
        base_model: A hub id, or a gs:// folder in Hugging Face layout.
        seed: Seeds the order of rows and the start of LoRA.
        display_name: The name of the job, at most 128 characters.
        options: accelerator, machines, provisioning, max_wait_hours, reservation, image, install,
            service_account, hub_token, disk_gib, usd_per_hour, parameters_billion, again; those
            of tune_local, such as tuning_mode and lora_rank; poll_seconds, max_hours.

    Returns:
        model: The folder of the tuned model.
        base: A placeholder for the model before tuning.
    """
    from tunepipe.backends.custom import tuning as custom
    from tunepipe.steps.tuning import tune

    rows = {"train": train.uri, "eval": eval.uri}
    settings = {"base_model": base_model, "train_steps": train_steps, "batch_size": batch_size}
    settings |= {"project": project, "region": region, "display_name": display_name}
    settings |= {"learning_rate_multiplier": learning_rate_multiplier, "seed": seed}
    options = {"resources_path": gcp_resources, **options}
    settings |= {"options": options, "tables": tables}
    tune(custom, rows, model, base, tuning.path, **settings)


@component
def evaluate_custom(
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
    """Ask tuned models every held-out row, all rows of a model in one custom job through vLLM.

    Unanswered rows are counted, and never scored as wrong. A model that is not given is not asked,
    and its predictions are an empty file.

    Args:
        model: The folder that tune_custom wrote.
        settings: batch_size, engine, precision, four_bit.
    """
    from tunepipe.backends.custom import prediction
    from tunepipe.steps.evaluation import evaluate_step

    models = {"tuned": model, "base": base, "champion": champion, "first": first}
    answers = {"tuned": predictions, "base": base_predictions, "champion": champion_predictions}
    answers |= {"first": first_predictions, "guard_tuned": guard_predictions}
    answers["guard_base"] = guard_base_predictions
    rows = {"eval": eval, "guard": guard, "guard_uri": guard_uri}
    rows["guard_fingerprint"] = guard_fingerprint
    settings = {"max_output_tokens": max_output_tokens, **settings}
    step = {"models": models, "rows": rows, "answers": answers, "metrics": metrics}
    return evaluate_step(prediction, "custom", **step, settings=settings, work_dir=work_dir)
