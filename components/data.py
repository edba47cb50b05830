"""The first step of every run: what exactly are the data?"""

from typing import NamedTuple

from kfp.dsl import Artifact, Dataset, Input, Output

from tunepipe.packaging.component import component


@component
def fingerprint_dataset(
    dataset_uri: str,
) -> NamedTuple("Outputs", [("fingerprint", str), ("generation", str), ("files", int)]):
    """Turn a dataset's address into the identity of its content. Never cache this step.

    Args:
        dataset_uri: A path, a gs:// URI, or a glob of either.

    Returns:
        fingerprint: Hex SHA-256 of the bytes; of several files, over their own, sorted.
        generation: The generation in Cloud Storage, or the time of the last change of a local
            file; of several files, joined by commas.
        files: How many files the address means.
    """
    from tunepipe.gcp.generations import identity

    found = identity(dataset_uri)
    return (found.fingerprint, found.generation, found.files)


@component
def load_rows(rows: Output[Dataset], dataset_uri: str = ""):
    """Bring a dataset into the pipeline as an artifact. Never cache this step.

    Each row is read once, so that one that no model could be asked stops the run here.

    Args:
        dataset_uri: A path, a gs:// URI, or a glob of either; empty brings no rows.

    Returns:
        rows: The rows of all files, one file after the other.
    """
    from tunepipe.data.rows import read_examples
    from tunepipe.gcp.storage import load_step

    load_step(dataset_uri, rows.path)
    read = sum(1 for _ in read_examples(rows.path)) if dataset_uri else 0
    print(f"{read:,} rows")


@component
def find_changes(
    dataset_uri: str,
    fingerprint: str,
    registry: str = "",
    series: str = "",
    min_new_rows: int = 0,
    format: str = "auto",
) -> str:
    """Say whether data are new to a series of runs. Never cache this step.

    Args:
        dataset_uri: A path, a gs:// URI, or a glob of either.
        fingerprint: The data's identity, from fingerprint_dataset.
        registry: The folder or gs:// prefix where the series is recorded.
        series: The series, such as a schedule; empty has no past, so everything is new to it.
        min_new_rows: Fewer rows than these, added or changed, are not worth a run.
        format: The rows' format, or auto.

    Returns:
        Output: changed or unchanged.
    """
    from tunepipe.registry.data_history import decide

    return decide(dataset_uri, fingerprint, registry, series, min_new_rows, format)


@component
def report_unchanged(registry: str, series: str, run_id: str = "", job: str = "") -> str:
    """Say which run has seen the data already. Never cache this step.

    Args:
        registry: The folder or gs:// prefix where the series is recorded.
        series: The series.
        run_id: The run that ends with this; empty takes the job.
        job: The job that the run is.

    Returns:
        Output: The sentence, such as: unchanged since run R.
    """
    from tunepipe.registry.data_history import unchanged_step

    return unchanged_step(registry, series, run_id or job)


@component
def compare_data(
    dataset_uri: str,
    fingerprint: str,
    problems: Input[Artifact],
    changes: Output[Artifact],
    registry: str = "",
    format: str = "auto",
):
    """Compare data with those that the champion was tuned on. Never cache this step.

    Args:
        dataset_uri: A path, a gs:// URI, or a glob of either.
        fingerprint: The data's identity, from fingerprint_dataset.
        problems: What validate_jsonl found.
        registry: The folder or gs:// prefix that holds champion.json.
        format: The rows' format, or auto.

    Returns:
        changes: Rows that were added, changed, removed since, and the drift of lengths, labels and
            languages, as JSON; an empty object where there is no champion.
    """
    from tunepipe.files import write_json
    from tunepipe.registry.data_history import since_champion, stats_of

    found = since_champion(dataset_uri, registry, format, stats_of(problems.path))
    write_json(found, changes.path)


@component
def remember_data(
    dataset_uri: str,
    fingerprint: str,
    problems: Input[Artifact],
    registry: str = "",
    series: str = "",
    run_id: str = "",
    job: str = "",
    format: str = "auto",
) -> str:
    """Record which data a run went over: rows as hashes, lengths, labels and languages.

    Args:
        dataset_uri: A path, a gs:// URI, or a glob of either.
        fingerprint: The data's identity, from fingerprint_dataset.
        problems: What validate_jsonl found.
        registry: The folder or gs:// prefix where it is recorded; empty records nothing.
        series: The series that the run belongs to; empty for none.
        run_id: The run; empty takes the job.
        job: The job that the run is.
        format: The rows' format, or auto.

    Returns:
        Output: The run that was recorded.
    """
    from tunepipe.registry.data_history import remember, stats_of

    run, stats = run_id or job, stats_of(problems.path)
    remember(dataset_uri, fingerprint, registry, series, run, format, stats)
    return run
