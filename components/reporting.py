"""The step that shows a run to people."""

from kfp.dsl import HTML, Artifact, Input, Markdown, Output

from tunepipe.packaging.component import component


@component
def write_report(
    comparison: Input[Artifact],
    report: Output[HTML],
    summary: Output[Markdown],
    model_card: Output[Markdown],
    tuned: Input[Artifact] = None,
    base: Input[Artifact] = None,
    champion: Input[Artifact] = None,
    problems: Input[Artifact] = None,
    split: Input[Artifact] = None,
    plan: Input[Artifact] = None,
    tuning: Input[Artifact] = None,
    judge: Input[Artifact] = None,
    changes: Input[Artifact] = None,
    run: dict = {},  # noqa: B006
):
    """Write the report, its summary and a model card; what is not given is left out of them.

    Args:
        comparison: What compare_models found.
        tuned: Predictions of the tuned model.
        base: Predictions of the model before tuning.
        champion: Predictions of the model in service.
        problems: The report of validate_jsonl.
        split: The report of split_dataset.
        plan: The plan of compute_train_steps.
        tuning: What the tuning step measured.
        judge: What judge_models was told.
        changes: What compare_data found.
        run: Texts that name the run: id, created, backend, base_model, region, title.

    Returns:
        report: One page that opens anywhere and needs nothing else.
        summary: The same in short, for chats and pull requests.
        model_card: A card in the shape that model hubs read.
    """
    from tunepipe.steps.reporting import report_step

    predictions = {"tuned": tuned, "base": base, "champion": champion}
    steps = {"dataset": problems, "split": split, "plan": plan, "tuning": tuning, "judge": judge}
    steps["data_changes"] = changes
    pages = {"report": report, "summary": summary, "model_card": model_card}
    report_step(comparison.path, predictions, steps, pages, run)
