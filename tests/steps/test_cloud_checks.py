"""The first step of a cloud run: a problem stops it, with its remedy; what is out of sight not."""

import pytest

from tests.standin.session import BUCKET, PROJECT, REGION
from tunepipe.errors import CloudError, LimitError
from tunepipe.gcp import rest as google_rest
from tunepipe.steps.cloud_checks import check_step

TPU = "Restricted image training TPU V3 pod cores per region"


@pytest.fixture(autouse=True)
def new_session():
    google_rest.session.cache_clear()


def looked(backend="large-model", model="text-bison@001", **changes):
    place = {"project": PROJECT, "region": REGION, "root": f"gs://{BUCKET}/runs"}
    rest = {"options": {}, "tables": {}, "inlined": False}
    return check_step({"backend": backend, "base_model": model, **place, **rest, **changes})


@pytest.mark.parametrize(
    ("backend", "model"),
    [
        ("large-model", "text-bison@001"),
        ("gemini", "gemini-3.5-flash"),
        ("open-model", "qwen/qwen3@qwen3-4b"),
    ],
)
def test_a_sound_project_lets_the_run_go_on(cloud, capsys, backend, model):
    assert "ok" in looked(backend, model)
    told = capsys.readouterr().out
    assert "problem" not in told
    assert ("template" in told) == (backend == "large-model")
    asked = {call["method"].partition(".")[0] for call in cloud.calls()}
    assert asked <= {"token", "GetProject", "governance", "storage", "template"}
    assert not {call["method"] for call in cloud.calls()} & {"storage.post", "storage.put"}


@pytest.mark.parametrize(
    ("facts", "kind", "where", "fix"),
    [
        ({"disabled": ["aiplatform.googleapis.com"]}, CloudError, "apis", "gcloud services enable"),
        ({"denied": ["aiplatform.pipelineJobs.create"]}, CloudError, "your rights", "--role"),
        ({"denied": ["storage.objects.create"]}, CloudError, "bucket", "roles/storage.objectAdmin"),
        ({"location": "US"}, LimitError, "bucket", f"--location {REGION}"),
        ({"quota": {TPU: {REGION: 0}}}, CloudError, "quota", "ask for 64"),
        # No bucket of this region: the global one, which comes first, holds.
        ({"quota": {TPU: {"us-east1": 64}}}, CloudError, "quota", "ask for 64"),
        ({"requester_pays": True}, CloudError, "bucket", "another bucket"),
    ],
)
def test_a_problem_stops_the_run_with_the_command_that_mends_it(cloud, facts, kind, where, fix):
    cloud.ask("facts", facts)
    with pytest.raises(kind) as caught:
        looked()
    assert caught.value.where == where
    assert fix in caught.value.fix


def test_a_policy_with_conditions_and_a_bucket_that_keeps_objects_are_read(cloud, capsys):
    cloud.ask("facts", {"conditions": True, "retention_seconds": 864000})
    assert "problem" not in looked()
    assert "keeps every object for 10 days" in capsys.readouterr().out


def test_the_quota_is_held_against_the_users_own_tables(cloud):
    cloud.ask("facts", {"quota": {TPU: {REGION: 63}}})
    looked(tables={"regions": {REGION: {"quota_multiple": 32}}})
    with pytest.raises(CloudError, match="63 in"):
        looked()


def test_each_backend_asks_for_the_rights_that_its_own_steps_need(cloud):
    cloud.ask(
        "facts", {"denied": ["aiplatform.pipelineJobs.create", "aiplatform.schedules.create"]}
    )
    assert "ok" in looked("gemini", "gemini-3.5-flash")
    cloud.ask("facts", {"denied": ["aiplatform.tuningJobs.create"]})
    with pytest.raises(CloudError, match=r"aiplatform\.tuningJobs\.create"):
        looked("gemini", "gemini-3.5-flash")
    assert "ok" in looked()


@pytest.mark.parametrize(
    ("backend", "model", "role", "unknown"),
    [
        ("open-model", "qwen/qwen3@qwen3-4b", "", True),
        ("open-model", "qwen/qwen3@qwen3-4b", "roles/viewer", True),
        ("open-model", "qwen/qwen3@qwen3-4b", "roles/aiplatform.tuningServiceAgent", False),
        ("open-model", "qwen/qwen3@qwen3-4b", "roles/storage.objectUser", False),
        ("gemini", "gemini-3.5-flash", "", False),
    ],
)
def test_the_tuner_of_open_models_is_looked_up(cloud, capsys, backend, model, role, unknown):
    agent = "service-123456789012@gcp-sa-vertex-moss-ft.iam.gserviceaccount.com"
    cloud.ask("facts", {"roles": {agent: role}})
    looked(backend, model)
    lacking = f"gives {agent} no roles/aiplatform.tuningServiceAgent"
    assert (lacking in capsys.readouterr().out) == unknown


def test_an_account_is_acted_as_where_one_is_named_or_the_template_runs(cloud):
    cloud.ask("facts", {"denied": ["iam.serviceAccounts.actAs"]})
    gemini = ("gemini", "gemini-3.5-flash")
    assert "ok" in looked(*gemini)
    account = {"service_account": f"runner@{PROJECT}.iam.gserviceaccount.com"}
    for asked, options in ((gemini, account), ((), {})):
        with pytest.raises(CloudError, match="may not act as"):
            looked(*asked, options=options)


def test_what_the_account_may_not_see_stops_nothing(cloud, capsys):
    for method in ("governance.services", "governance.quota", "governance.policy", "template.get"):
        cloud.fault(method, code=403, message="Permission denied.")
    assert "4 unknown" in looked()
    assert "our rights do not let us see it" in capsys.readouterr().out


def test_a_registry_of_templates_out_of_reach_stops_nothing(cloud, capsys):
    cloud.fault("template.get", drop="before", times=9)
    assert "unknown" in looked()
    assert "cannot be fetched: " in capsys.readouterr().out


def test_all_problems_are_named_and_the_first_is_explained(cloud):
    cloud.ask("facts", {"quota": {TPU: {REGION: 0}}, "denied": ["storage.objects.list"]})
    with pytest.raises(CloudError, match=r"storage\.objects\.list \(and quota\)"):
        looked()


def test_a_template_in_the_pipeline_is_not_fetched(cloud):
    looked(inlined=True)
    assert not [call for call in cloud.calls() if "pkg.dev" in call["host"]]
    with pytest.raises(CloudError, match="404"):
        looked(options={"template_version": "v9.9.9"})
