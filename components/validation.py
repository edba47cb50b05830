"""The step that stops a run whose data would not pass."""

from typing import NamedTuple

from kfp.dsl import HTML, Artifact, Output

from tunepipe.packaging.component import component


@component
def validate_jsonl(
    dataset_uri: str,
    problems: Output[Artifact],
    page: Output[HTML],
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
        page: The same for people.
        rows: How many rows there are.
        format: The format found.
        tokens: Tokens of all rows, by estimate.
    """
    from tunepipe.steps.validation import validate_step

    report = validate_step(dataset_uri, problems.path, page.path, fingerprint, format, model)
    return (report.rows, report.format, report.tokens)
