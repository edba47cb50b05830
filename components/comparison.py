"""The step that says whether the tuned model is better, and shows why."""

from kfp.dsl import HTML, Artifact, ClassificationMetrics, Input, Markdown, Metrics, Output

from ._shell import component


@component
def compare_models(
    tuned: Input[Artifact],
    base: Input[Artifact],
    report: Output[HTML],
    summary: Output[Markdown],
    model_card: Output[Markdown],
    comparison: Output[Artifact],
    tuned_metrics: Output[Metrics],
    base_metrics: Output[Metrics],
    confusion: Output[ClassificationMetrics],
    champion: Input[Artifact] = None,
    problems: Input[Artifact] = None,
    split: Input[Artifact] = None,
    plan: Input[Artifact] = None,
    tuning: Input[Artifact] = None,
    task: str = "auto",
    margin: float = 0.0,
    seed: int = 0,
    run: dict = {},  # noqa: B006
) -> str:
    """Compare models on the same rows with paired statistics, and write the report.

    Args:
        tuned: Predictions of the tuned model.
        base: Predictions of the model before tuning.
        champion: Predictions of the model in service; none, or an empty file, leaves it out.
        problems: The report of validate_jsonl, to be shown.
        split: The report of split_dataset, to be shown.
        plan: The plan of compute_train_steps, to be shown.
        tuning: What the tuning step measured, to be shown.
        task: text, classification, json, or auto.
        margin: How much worse than the champion still counts as no worse, 0 to 1.
        seed: Seeds the resampling.
        run: Texts that name the run: id, backend, base_model, region, title.

    Returns:
        report: One page that opens anywhere.
        summary: The same in short, for chats and pull requests.
        model_card: A card in the shape that model hubs read.
        comparison: Scores, comparisons, verdict and reason as JSON.
        tuned_metrics: The tuned model's metrics with their intervals.
        base_metrics: The base model's.
        confusion: The confusion matrix of a classification.
        Output: better, worse or not-enough-evidence.
    """
    from tunepipe.backends.comparison_step import compare_step

    steps = {"problems": problems, "split": split, "plan": plan, "tuning": tuning}
    pages = {"report": report, "summary": summary, "model_card": model_card}
    predictions = {"tuned": tuned, "base": base, "champion": champion}
    found = compare_step(predictions, steps, pages, comparison.path, task, margin, seed, run)
    found.log(tuned_metrics, base_metrics, confusion)
    return found.verdict
