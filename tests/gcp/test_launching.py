"""What a launcher asks of jobs of any kind, in which order, and what it reports."""

import json
import os
import signal
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from google.api_core import exceptions as api

from tunepipe.errors import CloudError, UnreachableError
from tunepipe.gcp import launcher
from tunepipe.gcp.launcher import CancelledError, QuotaError, StepOptions, Termination
from tunepipe.gcp.remote_jobs import JobState, RemoteJobs, Status, WaitingError

QUICK = StepOptions(
    poll_seconds=0.001, pause_seconds=0.001, first_job_seconds=0.001, patience_seconds=60.0
)
NAME = "projects/p/locations/us-central1/customJobs/7"
RUNNING, DONE = Status(JobState.RUNNING), Status(JobState.SUCCEEDED)


class Sigterm(NamedTuple):
    """The step receives SIGTERM during the call, which then answers so."""

    answer: Any


class Script(RemoteJobs):
    """Gives the answers of a list to each kind of call, the last one again and again."""

    kind = "CustomJob"

    def __init__(
        self, *, find=("",), create=(NAME,), status=(DONE,), cancel=(None,), in_doubt=False
    ) -> None:
        self.answers = {
            "find": [*find], "create": [*create], "status": [*status], f"cancel {NAME}": [*cancel],
        }  # fmt: skip
        self.calls: list[str] = []
        self.in_doubt = in_doubt

    def _next(self, call: str):
        self.calls.append(call)
        answers = self.answers[call]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Sigterm):
            os.kill(os.getpid(), signal.SIGTERM)
            answer = answer.answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    def find(self):
        return self._next("find")

    def create(self):
        return self._next("create")

    def status(self, name):
        return self._next("status")

    def remedy_first_job(self):
        self.calls.append("remedy")

    def cancel(self, name):
        self._next(f"cancel {name}")


class Others:
    """The runs that wait for the job."""

    def __init__(self, *names: str) -> None:
        self.names, self.added = list(names), 0

    def add(self):
        self.added += 1

    def others(self):
        return self.names


def launch(script, folder, options=QUICK, waiting=None):
    events: list[dict] = []
    notes = str(folder / "gcp_resources")
    found = launcher.launch(script, notes, options, lambda e: events.append(dict(e)), waiting)
    return found, events


def test_a_job_is_looked_for_created_noted_and_followed(tmp_path):
    pending = Status(JobState.RUNNING, detail="pending")
    script, waiting = Script(status=[pending, pending, RUNNING, DONE]), Others()
    name, events = launch(script, tmp_path, waiting=waiting)
    assert (name, waiting.added) == (NAME, 1)
    assert script.calls == ["find", "create", *["status"] * 4]
    assert events == [  # a state that stays is reported once
        {"job": NAME, "state": "running", "detail": "pending"},
        {"job": NAME, "state": "running", "detail": ""},
        {"job": NAME, "state": "succeeded", "detail": ""},
    ]
    uri = f"https://us-central1-aiplatform.googleapis.com/v1/{NAME}"
    noted = {"resources": [{"resourceType": "CustomJob", "resourceUri": uri}]}
    assert json.loads((tmp_path / "gcp_resources").read_text()) == noted
    again = Script()
    assert launch(again, tmp_path)[0] == NAME
    assert again.calls == ["status"]  # the note is enough
    resumed = Script()
    notes = str(tmp_path / "gcp_resources")
    assert launcher.resume(resumed, notes, QUICK, lambda event: None) == NAME
    assert resumed.calls == ["status"]
    assert launcher.resume(resumed, f"{notes}.none", QUICK, lambda event: None) == ""


def test_a_job_that_is_found_is_not_created_and_one_elsewhere_is_not_noted(tmp_path):
    script = Script(find=["team/train-1"])
    assert launch(script, tmp_path)[0] == "team/train-1"
    assert script.calls == ["find", "status"]
    assert not (tmp_path / "gcp_resources").exists()
    left = Script(find=[NAME])
    assert launcher.start(left, QUICK, lambda event: None) == NAME
    assert left.calls == ["find"]


@pytest.mark.parametrize(
    ("errors", "calls", "kind"),
    [
        ([api.TooManyRequests("slow down")] * 3, 4, None),
        ([api.TooManyRequests("slow down")] * 4, 4, QuotaError),
        ([api.InternalServerError("first job")], 2, None),
        ([api.InternalServerError("first job")] * 2, 2, UnreachableError),
        ([WaitingError("another run creates it")] * 5, 6, None),
        ([api.Forbidden("no")], 1, CloudError),
    ],
)
def test_how_often_a_creation_is_asked_for(tmp_path, errors, calls, kind):
    script = Script(create=[*errors, NAME])
    if kind:
        with pytest.raises(kind) as caught:
            launch(script, tmp_path)
        assert caught.value.where == "CustomJob"
        assert caught.value.fix
        assert not (tmp_path / "gcp_resources").exists()
    else:
        assert launch(script, tmp_path)[0] == NAME
    assert script.calls.count("create") == script.calls.count("find") == calls
    assert script.calls.count("remedy") == isinstance(errors[0], api.InternalServerError)


def test_what_is_waited_for_is_reported_once(tmp_path):
    told = [WaitingError(f"in doubt; {seconds} s") for seconds in (30, 20, 10)]
    script = Script(create=[*told, WaitingError("another run"), NAME])
    waited = [event for event in launch(script, tmp_path)[1] if event["state"] == "waiting"]
    assert [event["detail"] for event in waited] == ["in doubt; 30 s", "another run"]


@pytest.mark.parametrize(
    ("status", "kind", "found", "fix"),
    [
        (Status(JobState.FAILED, "no rows"), CloudError, "no rows", "read the job's log"),
        (Status(JobState.FAILED), CloudError, "the job failed", "read the job's log"),
        (Status(JobState.FAILED, "oops", True), UnreachableError, "oops", "read the job's log"),
        (Status(JobState.CANCELLED), CancelledError, "the job was cancelled", "run again"),
    ],
)
def test_a_job_that_does_not_succeed_is_an_error(tmp_path, status, kind, found, fix):
    with pytest.raises(CloudError) as caught:
        launch(Script(status=[RUNNING, status]), tmp_path)
    assert (type(caught.value), caught.value.found, caught.value.where) == (kind, found, NAME)
    assert caught.value.fix.startswith(fix)


@pytest.mark.parametrize(
    ("hours", "settings", "others", "outcome"),
    [
        (2, {"max_hours": 3.0}, [], ""),
        (2, {}, [], ""),
        (None, {"max_hours": 1.0}, [], ""),
        (2, {"max_hours": 1.5}, [], "it was cancelled"),
        (2, {"max_hours": 1.5, "at_max_hours": "leave"}, [], "it was left running"),
        (2, {"max_hours": 1.5}, ["b"], "it was left running, other runs wait for it: b"),
    ],
)
def test_a_job_may_run_for_so_many_hours_from_its_creation(
    tmp_path, hours, settings, others, outcome
):
    created = None if hours is None else datetime.now(UTC) - timedelta(hours=hours)
    script = Script(status=[Status(JobState.RUNNING, created=created), DONE])
    options = StepOptions(poll_seconds=0.001, **settings)
    if outcome:
        with pytest.raises(CloudError) as caught:
            launch(script, tmp_path, options, Others(*others))
        assert caught.value.found == f"the job has not ended within 1.5 hours; {outcome}"
    else:
        assert launch(script, tmp_path, options, Others(*others))[0] == NAME
    cancelled = [f"cancel {NAME}"] if outcome == "it was cancelled" else []
    assert [call for call in script.calls if call.startswith("cancel")] == cancelled


def test_options_of_a_step_are_parted_from_those_of_its_backend():
    options, others = StepOptions.split({"poll_seconds": 5, "again": 2, "lora_rank": 8})
    assert (options.poll_seconds, options.again, others) == (5.0, 2, {"lora_rank": 8})
    assert options.resources("folder") == "folder/gcp_resources"
    assert StepOptions(resources_path="x").resources("folder") == "x"


NO_JOB = "received SIGTERM; no job is known to have been created"
CANCELLED = "received SIGTERM; the job was cancelled"
GOES_ON = "received SIGTERM; the job goes on, other runs wait for it: b"
LOST = Sigterm(ConnectionError("the answer is lost"))


@pytest.mark.parametrize(
    ("answers", "waiting", "calls", "found"),
    [
        ({"find": [Sigterm("")]}, None, ["find"], NO_JOB),
        ({"find": [Sigterm(NAME)]}, None, ["find", f"cancel {NAME}"], CANCELLED),
        ({"create": [Sigterm(NAME)]}, None, ["find", "create", f"cancel {NAME}"], CANCELLED),
        ({"create": [LOST]}, None, ["find", "create", "find"], NO_JOB),
        ({"create": [LOST], "find": ["", "", "", NAME], "in_doubt": True}, None,
         ["find", "create", "find", "find", "find", f"cancel {NAME}"], CANCELLED),
        ({"status": [Sigterm(RUNNING)]}, None,
         ["find", "create", "status", f"cancel {NAME}"], CANCELLED),
        ({"status": [LOST]}, Others(),
         ["find", "create", "status", f"cancel {NAME}"], CANCELLED),
        ({"status": [Sigterm(RUNNING)]}, Others("b"), ["find", "create", "status"], GOES_ON),
    ],
)  # fmt: skip
def test_sigterm_starts_nothing_and_ends_what_runs(tmp_path, answers, waiting, calls, found):
    script = Script(**answers)
    with pytest.raises(CancelledError) as caught:
        launch(script, tmp_path, waiting=waiting)
    assert (script.calls, caught.value.found) == (calls, found)
    assert caught.value.where == ("CustomJob" if found == NO_JOB else NAME)


def test_a_cancellation_that_is_not_answered_is_given_up_before_the_container_ends(tmp_path):
    script = Script(status=[Sigterm(RUNNING)], cancel=[ConnectionError("reset")])
    with pytest.raises(UnreachableError, match="reset"):
        launch(script, tmp_path)
    assert script.calls.count(f"cancel {NAME}") == 5


@pytest.mark.parametrize(
    ("answers", "pace", "seconds"),
    [
        ({"status": [RUNNING, RUNNING, DONE]}, {"poll_seconds": 0.02}, 0.04),
        ({"create": [api.InternalServerError("first"), NAME]}, {"first_job_seconds": 0.03}, 0.03),
        ({"create": [LOST], "find": ["", "", "", NAME], "in_doubt": True},
         {"pause_seconds": 0.015}, 0.03),
    ],
)  # fmt: skip
def test_google_is_asked_no_more_often_than_was_set(tmp_path, answers, pace, seconds):
    options = StepOptions(**{name: pace.get(name, 0.001) for name in (
        "poll_seconds", "pause_seconds", "first_job_seconds",
    )})  # fmt: skip
    start = time.monotonic()
    try:
        _, events = launch(Script(**answers), tmp_path, options)
    except CancelledError:
        events = []
    assert time.monotonic() - start >= seconds
    if "first_job_seconds" in pace:
        detail = "Google's remedy for a first job takes time"
        assert events[0] == {"state": "waiting", "detail": detail}


def test_sigterm_ends_a_wait_at_once():
    start = time.monotonic()
    with Termination() as termination:
        assert not termination.wait(0.001)
        timer = threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGTERM))
        timer.start()
        assert termination.wait(30.0)
        timer.join()
    assert time.monotonic() - start < 20
