"""The step that stops a run whose data would not pass."""

from typing import NamedTuple

from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Output

from tunepipe.packaging.component import component


@component
def validate_jsonl(
    problems: Output[Artifact],
    page: Output[HTML],
    metrics: Output[Metrics],
    dataset_uri: str = "",
    dataset: Input[Dataset] = None,
    fingerprint: str = "",
    format: str = "auto",
    model: str = "",
) -> NamedTuple("Outputs", [("rows", int), ("format", str), ("tokens", int)]):
    """Check every row, report every problem with its line, and stop the run at any error.

    Args:
        dataset_uri: A path, a gs:// URI, or a glob of either, of JSON Lines.
        fingerprint: What fingerprint_dataset found; data that changed since are refused. Empty
            takes the data as they are.
        format: palm, palm-chat, gemini, messages, prompt-completion, preference, or auto.
        model: The model whose limits apply; empty takes the format's first model.

    Returns:
        problems: The whole report as JSON, as `tunepipe validate --json` prints it.
        page: The same as an HTML page.
        metrics: Rows, tokens and warnings.
        rows: How many rows there are.
        format: The format found.
        tokens: Tokens of all rows, by estimate.
    """
    from tunepipe.steps.artifacts import dataset_of
    from tunepipe.steps.validation import validate_step

    place = dataset_of(dataset_uri, dataset)
    report = validate_step(place, problems, page, fingerprint, format, model)
    for name in ("rows", "tokens", "warnings"):
        metrics.log_metric(name, getattr(report, name))
    return (report.rows, report.format, report.tokens)
