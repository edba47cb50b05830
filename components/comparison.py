"""The step that says whether the tuned model is better."""

from kfp.dsl import Artifact, ClassificationMetrics, Input, Metrics, Output

from tunepipe.packaging.component import component


@component
def compare_models(
    tuned: Input[Artifact],
    base: Input[Artifact],
    comparison: Output[Artifact],
    tuned_metrics: Output[Metrics],
    base_metrics: Output[Metrics],
    confusion: Output[ClassificationMetrics],
    champion: Input[Artifact] = None,
    guard_tuned: Input[Artifact] = None,
    guard_base: Input[Artifact] = None,
    task: str = "auto",
    margin: float = 0.0,
    guard_margin: float = 0.0,
    seed: int = 0,
) -> str:
    """Compare models on the same rows with paired statistics.

    Args:
        tuned: Predictions of the tuned model.
        base: Predictions of the model before tuning.
        champion: Predictions of the model in service; none, or an empty file, leaves it out.
        guard_tuned: The tuned model's predictions on prompts that must not get worse; none, or an
            empty file, guards nothing.
        guard_base: The base model's on the same prompts.
        task: text, classification, json, or auto.
        margin: How much worse than the champion still counts as no worse, 0 to 1.
        guard_margin: The loss on the guarded prompts that would still be borne, 0 to 1; 0 refuses
            only a loss that is shown.
        seed: Seeds the resampling.

    Returns:
        comparison: Scores, comparisons, verdict, reason and flips as JSON.
        tuned_metrics: The tuned model's metrics with their intervals.
        base_metrics: The base model's.
        confusion: The confusion matrix of a classification.
        Output: better, worse or not-enough-evidence.
    """
    from tunepipe.steps.comparison import compare_step

    predictions = {"tuned": tuned, "base": base, "champion": champion}
    guard = {"guard_tuned": guard_tuned, "guard_base": guard_base}
    settings = {"task": task, "margin": margin, "guard_margin": guard_margin, "seed": seed}
    found = compare_step({**predictions, **guard}, comparison.path, **settings)
    found.log(tuned_metrics, base_metrics, confusion)
    return found.verdict
