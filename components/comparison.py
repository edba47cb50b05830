"""The step that says whether the tuned model is better."""

from kfp.dsl import Artifact, ClassificationMetrics, Input, Metrics, Output

from ._shell import component


@component
def compare_models(
    tuned: Input[Artifact],
    base: Input[Artifact],
    comparison: Output[Artifact],
    tuned_metrics: Output[Metrics],
    base_metrics: Output[Metrics],
    confusion: Output[ClassificationMetrics],
    champion: Input[Artifact] = None,
    task: str = "auto",
    margin: float = 0.0,
    seed: int = 0,
) -> str:
    """Compare models on the same rows with paired statistics.

    Args:
        tuned: Predictions of the tuned model.
        base: Predictions of the model before tuning.
        champion: Predictions of the model in service; none, or an empty file, leaves it out.
        task: text, classification, json, or auto.
        margin: How much worse than the champion still counts as no worse, 0 to 1.
        seed: Seeds the resampling.

    Returns:
        comparison: Scores, comparisons, verdict, reason and flips as JSON.
        tuned_metrics: The tuned model's metrics with their intervals.
        base_metrics: The base model's.
        confusion: The confusion matrix of a classification.
        Output: better, worse or not-enough-evidence.
    """
    from tunepipe.backends.comparison_step import compare_step

    predictions = {"tuned": tuned, "base": base, "champion": champion}
    found = compare_step(predictions, comparison.path, task=task, margin=margin, seed=seed)
    found.log(tuned_metrics, base_metrics, confusion)
    return found.verdict
