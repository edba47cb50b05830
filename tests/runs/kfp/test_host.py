"""What is read of a KFP host's answers, and where a caller says that the host is."""

from types import SimpleNamespace

import kfp_server_api as api
import pytest

from tunepipe.errors import CloudError
from tunepipe.runs.kfp.host import KfpHost, KfpSettings, _words, pages, pipeline_name
from tunepipe.runs.kfp.host_runs import _pod, _status, backend_of
from tunepipe.runs.kfp.schedules import _as_text, _cron_of, _parameters
from tunepipe.runs.status import RunStatus, StepStatus


def test_every_page_of_a_list_is_read():
    asked = []

    def call(page_token, page_size, **arguments):
        asked.append((page_token, page_size, arguments))
        items, following = {"": ([1, 2], "a"), "a": (None, "b"), "b": ([3], None)}[page_token]
        return SimpleNamespace(items=items, next_page_token=following)

    assert list(pages(call, "items", namespace="n")) == [1, 2, 3]
    assert asked == [(token, 100, {"namespace": "n"}) for token in ("", "a", "b")]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"message": "m", "error": "e"}', "m"),
        ('{"error": "e", "error_message": "f"}', "e"),
        ('{"error_message": "f"}', "f"),
        ("{}", "reason"),
        ("<html>", "reason"),
        ('"denied"', "denied"),
        ("[]", "reason"),
        (None, "reason"),
        (f'{{"error": "{"x" * 3000}"}}', "x" * 2000),
    ],
)
def test_the_words_of_a_host(body, words):
    assert _words(SimpleNamespace(body=body, reason="reason")) == words
    error = api.ApiException(status=403, reason="reason")
    error.body = body
    found = KfpHost("http://h")._explanation(error)
    assert found.found == f"the KFP host answered 403: {words}"
    assert "namespace" in found.fix


@pytest.mark.parametrize("run_id", [None, "", 3])
def test_what_answers_without_an_id_is_no_host(run_id):
    host = KfpHost("http://h")
    assert host.id_of(SimpleNamespace(run_id="1"), "run_id") == "1"
    for answer in (SimpleNamespace(run_id=run_id), "<html>"):
        with pytest.raises(CloudError, match="http://h: the answer of the KFP host has no run_id"):
            host.id_of(answer, "run_id")


def test_a_host_without_words_is_named_by_its_code():
    found = KfpHost("http://h")._explanation(api.ApiException(status=None, reason=None))
    assert (found.found, found.fix) == ("the KFP host: 0", "check --kfp-host and its log")


def test_the_options_that_reach_a_host_can_be_copied():
    settings = KfpSettings(namespace="team a", token_file="/t", experiment="e")
    assert KfpHost("http://h/", settings).options == (
        "--kfp-host http://h/ '--kfp=namespace=team a' --kfp=token_file=/t"
    )
    assert KfpHost("http://h/").page("1") == "http://h/#/runs/details/1"


def run_of(spec=None, name="", **fields):
    return api.V2beta1Run(run_id="1", display_name=name, pipeline_spec=spec, **fields)


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (None, ""),
        ({"pipelineInfo": {"name": "tunepipe-local"}}, "tunepipe-local"),
        ({"pipeline_spec": {"pipelineInfo": {"name": "tunepipe-local"}}}, "tunepipe-local"),
        ({"pipelineInfo": {"name": "theirs"}}, ""),
        ({}, ""),
    ],
)
def test_whose_a_pipeline_is(spec, name):
    assert pipeline_name(run_of(spec)) == name
    assert backend_of(run_of(spec)) == ("local" if name else "")
    assert backend_of(run_of(None, "tunepipe-2026")) == "local"


@pytest.mark.parametrize(
    ("task", "pod"),
    [
        (SimpleNamespace(pod_name="own", child_tasks=None), "own"),
        (SimpleNamespace(pod_name=None, child_tasks=None), ""),
        (
            SimpleNamespace(
                pod_name="",
                child_tasks=[SimpleNamespace(pod_name=name) for name in ("a", "b", None)],
            ),
            "b",
        ),
    ],
)
def test_the_pod_of_a_step_is_that_of_its_last_attempt(task, pod):
    assert _pod(task) == pod


def detail(name, state, at="", message=None):
    error = SimpleNamespace(message=message) if message is not None else None
    return SimpleNamespace(
        display_name=name, state=state, start_time=at, create_time="z", error=error
    )


def test_a_run_on_a_host_is_read(tmp_path):
    details = [
        detail("tune-local", "FAILED", "3", "no GPU"),
        detail("root", "RUNNING"),
        detail("tune-local-driver", "SUCCEEDED"),
        detail("late", None),
        detail("prepare-run", "SUCCEEDED", "1"),
        detail("if-wanted", "SKIPPED", "2"),
    ]
    run = SimpleNamespace(
        run_id="1", state="FAILED", runtime_config=None, error=SimpleNamespace(message="it failed"),
        run_details=SimpleNamespace(task_details=details),
    )  # fmt: skip
    host = KfpHost("http://h")
    steps = (
        StepStatus("prepare-run", "succeeded"),
        StepStatus("if-wanted", "not wanted"),
        StepStatus("tune-local", "failed", "no GPU"),
        StepStatus("late", "pending"),
    )
    page = "http://h/#/runs/details/1"
    assert _status(host, run) == RunStatus("1", "failed", page, steps, error="tune-local: no GPU")
    run.run_details = None
    assert _status(host, run) == RunStatus("1", "failed", page, (), error="it failed")
    run.state = None
    assert _status(host, run) == RunStatus("1", "pending", page, ())
    run.state = "CANCELING"
    assert _status(host, run).state == "cancelling"


@pytest.mark.parametrize(
    ("trigger", "cron"),
    [
        (None, ""),
        (SimpleNamespace(cron_schedule=None), ""),
        (SimpleNamespace(cron_schedule=SimpleNamespace(cron=None)), ""),
        (SimpleNamespace(cron_schedule=SimpleNamespace(cron="0 1 2 * * *")), "0 1 2 * * *"),
    ],
)
def test_the_times_of_a_recurring_run(trigger, cron):
    assert _cron_of(SimpleNamespace(trigger=trigger)) == cron


def test_the_documents_and_parameters_of_a_recurring_run():
    assert _as_text({"a": 1}) == "a: 1\n"
    assert _as_text({"pipeline_spec": {"a": 1}, "platform_spec": {"b": 2}}) == "a: 1\n---\nb: 2\n"
    for config, parameters in ((None, {}), (SimpleNamespace(parameters=None), {})):
        assert _parameters(SimpleNamespace(runtime_config=config)) == parameters
    config = SimpleNamespace(parameters={"a": 1})
    assert _parameters(SimpleNamespace(runtime_config=config)) == {"a": 1}
