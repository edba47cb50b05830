"""The exit step: tell people how a run ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunepipe.errors import TunepipeError
from tunepipe.notifications import webhook
from tunepipe.notifications.message import Notice, run_page
from tunepipe.registry import champions, records
from tunepipe.registry.records import RunOutcome
from tunepipe.stores.failures import failure_of_run

if TYPE_CHECKING:
    from kfp.dsl import PipelineTaskFinalStatus

# What Vertex AI and kfp.local call a run's end.
_STATES = {"SUCCEEDED": "succeeded", "CANCELLED": "cancelled"}


def notice_step(status: PipelineTaskFinalStatus, place: str, registry: str, run: str) -> str:
    """Send a notification of how a run ended; return "sent", "not sent", or why it could not be.

    A failed notification does not fail the run. Without a `place`, where the webhook's address is
    kept, nothing is sent.
    """
    if not place:
        return "not sent"
    try:
        notice = _notice(status, registry, run)
        address = webhook.read_address(place)
        webhook.post(address, notice.message(address))
    except TunepipeError as error:
        print(f"the notice was not sent: {error}")
        return error.found
    except Exception as error:
        # A run that is over must not fail here; and the error's own words may hold the address.
        print(f"the notice was not sent: {type(error).__name__}")
        return type(error).__name__
    print(notice.text)
    return "sent"


def _notice(status: PipelineTaskFinalStatus, registry: str, run: str) -> Notice:
    state = _STATES.get(status.state, "failed")
    page = run_page(status.pipeline_job_resource_name)
    if state != "succeeded":
        failure = failure_of_run()
        reason = failure.found if failure else status.error_message or ""
        return Notice(run, state, reason=reason, page=page)
    outcome, service = records.read_outcome(registry, run) or RunOutcome("", ""), ""
    if outcome.verdict:
        champion = champions.champion(registry)
        service = f"Champion {champion.version} stays." if champion else "There is no champion."
        if champion and champion.run == run:
            service = f"It is the champion now, version {champion.version}."
    return Notice(
        run,
        state,
        verdict=outcome.verdict,
        reason=outcome.reason,
        champion=service,
        page=page,
        report=outcome.report,
    )
