"""The step that asks a model every held-out question."""

from typing import NamedTuple

from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output

from tunepipe.packaging.component import component


@component
def evaluate_model(
    model: Input[Model],
    eval: Input[Dataset],
    predictions: Output[Artifact],
    metrics: Output[Metrics],
    max_output_tokens: int = 256,
    settings: dict = {},  # noqa: B006
    work_dir: str = "",
) -> NamedTuple("Outputs", [("rows", int), ("unanswered", int)]):
    """Ask a model on this machine every held-out row; an unanswered one is never scored as wrong.

    Args:
        model: The model to ask. One that stands for no model gives no predictions.
        eval: The rows held out.
        max_output_tokens: The longest answer, in tokens.
        settings: What the backend alone knows, such as requests_per_minute.
        work_dir: A folder where answers are kept as they come; a killed step goes on from there
            and pays for no row twice. Empty keeps none.

    Returns:
        predictions: A JSON object a line: id, input, reference, prediction.
        metrics: Rows, unanswered rows, exact matches.
        rows: How many rows were asked.
        unanswered: How many of them gave no answer.
    """
    from tunepipe.steps.local import evaluate_step

    settings = {**settings, "max_output_tokens": max_output_tokens}
    found = evaluate_step(model, eval.path, predictions.path, work_dir, settings)
    for name, value in found.items():
        metrics.log_metric(name, value)
    return (found["rows"], found["unanswered"])
