"""The steps of a series of runs: is there anything new to learn, and what was seen."""

from ._shell import component


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
    from tunepipe.backends.data_history import decide

    return decide(dataset_uri, fingerprint, registry, series, min_new_rows, format)


@component
def report_unchanged(registry: str, series: str) -> str:
    """Say which run has seen the data already. Never cache this step.

    Args:
        registry: The folder or gs:// prefix where the series is recorded.
        series: The series.

    Returns:
        Output: The sentence, such as: unchanged since run R.
    """
    from tunepipe.backends.data_history import last

    seen = last(registry, series)
    said = f"unchanged since run {seen.run}" if seen else "unchanged"
    print(said)
    return said


@component
def remember_data(
    dataset_uri: str,
    fingerprint: str,
    registry: str = "",
    series: str = "",
    run_id: str = "",
    job: str = "",
    format: str = "auto",
) -> str:
    """Record which data a run of a series went over, as hashes of rows.

    Args:
        dataset_uri: A path, a gs:// URI, or a glob of either.
        fingerprint: The data's identity, from fingerprint_dataset.
        registry: The folder or gs:// prefix where the series is recorded; empty records nothing.
        series: The series; empty records nothing.
        run_id: The run; empty takes the job.
        job: The job that the run is.
        format: The rows' format, or auto.

    Returns:
        Output: The run that was recorded.
    """
    from tunepipe.backends.data_history import remember

    remember(dataset_uri, fingerprint, registry, series, run_id or job, format)
    return run_id or job
