"""The last steps of a run: judge, conclude from the comparison, and notify."""

from kfp.dsl import Artifact, Input, PipelineTaskFinalStatus

from tunepipe.components.families import concluding, reporting
from tunepipe.packaging.component import component, thin
from tunepipe.packaging.families import with_ports


@thin
@with_ports(reporting, concluding)
def conclude_run(
    **ports,
) -> str:
    """Judge, report, and put the tuned model into service if it is better. Never cache this step.

    It also keeps the verdict for send_notice, deletes the endpoint of a model that is worse, and
    remembers the data for the next run. A second call for the same run repeats nothing. A run whose
    cost, tuning and judging together, would be above max_cost_usd asks no judge.

    Returns:
        judgement: The judge's replies with prompt and cost, as JSON; empty without a judge.
        Output: What was decided about the champion, in one sentence.
    """
    from tunepipe.steps.conclusion import conclude_step

    return conclude_step(ports)


@component
@with_ports(reporting)
def write_report(judge: Input[Artifact] = None, **ports):
    """Write the report, its summary and a model card; missing inputs are left out of them.

    Args:
        base: Predictions of the model before tuning.
        champion: Predictions of the model in service.
        judge: The judgement of judge_models.
        registry: Where verdict and report are recorded for send_notice; empty records nothing.
    """
    from tunepipe.steps.reporting import record_step, report_step

    report_step(ports, judge)
    record_step(ports)


@component
def send_notice(
    status: PipelineTaskFinalStatus,
    notify: str = "",
    registry: str = "",
    run_id: str = "",
    job: str = "",
) -> str:
    """Notify a webhook of a run's end: the exit task of a pipeline. Never cache this step.

    Args:
        status: How the steps ended; the pipeline's host fills it in.
        notify: Where the webhook's address is kept, which is a secret: projects/P/secrets/NAME of
            Secret Manager, a gs:// URI, or a file; empty sends nothing.
        registry: Where conclude_run keeps the run's verdict.

    Returns:
        Output: sent, not sent, or why it could not be sent, which fails no run.
    """
    from tunepipe.steps.notification import notice_step

    return notice_step(status, notify, registry, run_id or job)
