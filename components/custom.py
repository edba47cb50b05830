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
        eval: The rows held out.
        project: The project that pays.
        region: Where the job runs.
        train_steps: Optimizer steps.
        batch_size: Rows a step, over all accelerators.
        base_model: A hub id, or a gs:// folder in Hugging Face layout.
        learning_rate_multiplier: Times the recommended rate; 1.0 is recommended.
        seed: Seeds the order of rows and the start of LoRA.
        display_name: The name of the job, at most 128 characters.
        options: accelerator, machines, provisioning, max_wait_hours, reservation, image, install,
            service_account, hub_token, disk_gib, usd_per_hour, parameters_billion, again; those
            of tune_local, such as tuning_mode and lora_rank; poll_seconds, max_hours.
        tables: Values that replace those of the package's dated tables.

    Returns:
        model: The folder of the tuned model.
        base: A placeholder for the model before tuning.
        tuning: What is known of the tuning, as JSON.
        gcp_resources: The custom job, in the form that Google's own components use.
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
        eval: The held-out rows.
        base: The model before tuning.
        champion: The model in service, by its name.
        first: The first champion, by its name; empty if it is the champion, or none is needed.
        guard_uri: Rows with prompts that must not get worse: a path, a gs:// URI, or a glob.
        guard_fingerprint: Their identity, from prepare_run; rows that changed since are refused.
        max_output_tokens: The longest answer, in tokens.
        settings: batch_size, engine, precision, four_bit.
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
    from tunepipe.backends.custom import prediction
    from tunepipe.steps.artifacts import model_of
    from tunepipe.steps.evaluation import evaluate

    models = {"tuned": model_of(model), "base": model_of(base), "champion": champion}
    models["first"], guard = first, (guard_uri, guard_fingerprint)
    files = {"tuned": predictions, "base": base_predictions, "champion": champion_predictions}
    files["first"] = first_predictions
    files |= {"guard_tuned": guard_predictions, "guard_base": guard_base_predictions}
    how = {"max_output_tokens": max_output_tokens, **settings}
    found = evaluate(prediction, "custom", models, eval.path, guard, files, how, work_dir)
    for name, value in found.items():
        metrics.log_metric(name, value)
    return (found["rows"], found["unanswered"])
