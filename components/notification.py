"""The steps at a run's end: what it came to, and who is told."""

from kfp.dsl import HTML, Artifact, Input, PipelineTaskFinalStatus

from tunepipe.packaging.component import component


@component
def record_outcome(
    comparison: Input[Artifact],
    registry: str = "",
    report: Input[HTML] = None,
    run_id: str = "",
    job: str = "",
) -> str:
    """Keep a run's verdict and where its report lies, beside the champion. Never cache this step.

    Args:
        comparison: What compare_models found.
        registry: The folder or gs:// prefix where it is kept; empty keeps nothing.
        report: The run's report.
        run_id: The run; empty takes the job.
        job: The job that the run is.

    Returns:
        Output: The verdict.
    """
    from tunepipe.steps.notification import record_step

    return record_step(comparison.path, report.uri if report else "", registry, run_id or job)


@component
def send_notice(
    status: PipelineTaskFinalStatus,
    notify: str = "",
    registry: str = "",
    run_id: str = "",
    job: str = "",
) -> str:
    """Tell a webhook how a run ended: the exit task of a pipeline. Never cache this step.

    Args:
        status: How the steps ended; the pipeline's host fills it in.
        notify: Where the webhook's address is kept, which is a secret: projects/P/secrets/NAME of
            Secret Manager, a gs:// URI, or a file; empty tells nobody.
        registry: Where record_outcome has kept what the run came to.
        run_id: The run; empty takes the job.
        job: The job that the run is.

    Returns:
        Output: sent, not sent, or why it could not be sent, which fails no run.
    """
    from tunepipe.steps.notification import notice_step

    return notice_step(status, notify, registry, run_id or job)
