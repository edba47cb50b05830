"""The step that stops a run whose data would not pass."""

from typing import List, NamedTuple  # noqa: UP035

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
    from tunepipe.steps.validation import conclude
    from tunepipe.stores import storage
    from tunepipe.validation.validate import validate

    files = storage.list_files(dataset_of(dataset_uri, dataset))
    store = {"opener": storage.open_file, "size_of": storage.size_of}
    report = validate(files, format=format, model=model, **store)
    conclude(report, problems, page, fingerprint)
    # Of valid data all problems are warnings.
    counts = {"rows": report.rows, "tokens": report.tokens, "warnings": report.problems_total}
    for name, value in counts.items():
        metrics.log_metric(name, value)
    return (report.rows, report.format, report.tokens)


@component
def list_shards(dataset_uri: str) -> List[str]:  # noqa: UP006
    """List the files of a dataset, sorted. Never cache this step.

    Returns:
        Output: The files, to loop over.
    """
    from tunepipe.stores.storage import list_files

    return list_files(dataset_uri)


@component
def validate_shard(shard_uri: str, format: str, part: Output[Artifact], model: str = ""):
    """Check one file of a dataset; merge_validations puts the parts together.

    Files are not compared before the merge, so that the format cannot be auto.

    Args:
        shard_uri: A path or a gs:// URI of JSON Lines.
        format: palm, palm-chat, gemini, messages, prompt-completion or preference.
        model: The model whose limits apply; empty takes the format's first model.

    Returns:
        part: What was found, with a hash a row, so that repeats across files are seen.
    """
    from tunepipe.stores.storage import open_file, size_of
    from tunepipe.validation.shard import write_part

    store = {"opener": open_file, "size_of": size_of}
    write_part([shard_uri], part.path, format=format, model=model, **store)


@component
def merge_validations(
    parts: Input[List[Artifact]],  # noqa: UP006
    problems: Output[Artifact],
    page: Output[HTML],
) -> NamedTuple("Outputs", [("rows", int), ("format", str), ("tokens", int)]):
    """Put the parts together, and stop the run at any error; the report is that of one process.

    Args:
        parts: What validate_shard found, a part a file.

    Returns:
        problems: The whole report as JSON, as `tunepipe validate --json` prints it.
        page: The same as an HTML page.
        rows: How many rows there are.
        format: The format.
        tokens: Tokens of all rows, by estimate.
    """
    from tunepipe.steps.validation import conclude
    from tunepipe.validation.merge import merge

    report = merge([part.path for part in parts])
    conclude(report, problems, page)
    return (report.rows, report.format, report.tokens)
