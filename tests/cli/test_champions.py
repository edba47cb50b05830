"""Promote, rollback, champions and endpoints, by hand."""

import json
import shutil

import pytest

from tests.registry.test_vertex_alias import aliases, started, there, tuned
from tests.standin.session import BUCKET, PROJECT, REGION
from tests.waiting import until
from tunepipe.cli import main
from tunepipe.gcp import clients
from tunepipe.gcp.pipeline_jobs import PIPELINE_JOBS
from tunepipe.registry import champions
from tunepipe.runs import vertex, vertex_request
from tunepipe.runs.vertex_request import VertexRun
from tunepipe.steps.promotion import lookup_step, promote_step

PLACE = ("--project", PROJECT, "--region", REGION, "--bucket", f"gs://{BUCKET}")


@pytest.fixture
def said(capfd):
    """Run the command; give its exit code and its JSON."""

    def run(*arguments):
        capfd.readouterr()
        code = main.run([*map(str, arguments), "--json"])
        return code, json.loads(capfd.readouterr().out)

    return run


def run_here(folder, name, verdict):
    """Leave what a run on this machine leaves."""
    made = folder / "runs" / name
    (made / "model").mkdir(parents=True)
    (made / "model" / "model.safetensors").write_text(name)
    record = {"id": name, "key": name, "folder": str(made), "state": "succeeded",
              "verdict": verdict, "reason": "It is so."}  # fmt: skip
    (made / "run.json").write_text(json.dumps(record))


KEPT = {"retention_seconds": 864000, "versioning": True}


@pytest.mark.parametrize(
    "rules",
    [{}, KEPT, KEPT | {"requester_pays": [BUCKET]}],
    ids=["uniform access alone", "and no object changes", "and the requester pays"],
)
def test_promoted_and_rolled_back_in_a_bucket_under_rules(
    cloud, said, tmp_path, monkeypatch, rules
):
    """Each bucket of the stand-in has uniform access, which takes no access control list."""
    monkeypatch.chdir(tmp_path)
    cloud.ask("facts", rules)
    pays = "requester_pays" in rules
    findings = said("doctor", "--backend", "gemini", *PLACE)[1]["findings"]
    seen = [
        (each["state"], each["found"].removeprefix(f"gs://{BUCKET} "))
        for each in findings
        if each["check"] == "bucket"
    ]
    kept = ["keeps every object for 10 days", "keeps the old versions of objects"] if rules else []
    fine = ["lies in europe-west4", *kept, "has uniform access: roles alone decide"]
    pays_more = [("problem", "lets the requester pay")]
    assert seen == (pays_more if pays else [("ok", words) for words in fine])
    run_here(tmp_path, "one", "better")
    run_here(tmp_path, "two", "better")
    place = ("--registry", f"gs://{BUCKET}/registry")
    if pays:
        code, refused = said("promote", "one", *place, "--reason", "r", "--yes")
        assert (code, "--user-project" in refused["error"]["fix"]) == (4, True)
        place += ("--user-project", PROJECT)
    for arguments in (
        ("promote", "one"),
        ("promote", "two"),
        ("rollback",),
        ("rollback", "--to", 2),
    ):
        assert said(*arguments, *place, "--reason", "r", "--yes")[0] == 0
    moves = said("champions", *place)[1]["moves"]
    assert [(move["version"], move["run"]) for move in moves] == [
        (1, "one"), (2, "two"), (3, "one"), (4, "two"),
    ]  # fmt: skip


def test_promoted_and_rolled_back_on_this_machine(said, tmp_path):
    run_here(tmp_path, "one", "better")
    run_here(tmp_path, "two", "not-enough-evidence")
    assert said("promote", "one", "--reason", "the first", "--yes")[1]["version"] == 1
    code, moved = said("promote", "two", "--reason", "people like it", "--yes")
    assert (code, moved["version"], moved["verdict"]) == (0, 2, "not-enough-evidence")
    code, back = said("rollback", "--reason", "people do not", "--yes")
    assert (code, back["version"], back["run"]) == (0, 3, "one")
    present = champions.champion("runs/registry")
    with open(f"{present.model}/model.safetensors") as weights:
        assert weights.read() == "one"
    moves = said("champions")[1]["moves"]
    assert [move["reason"] for move in moves] == [
        "the first", "people like it", "back to 1: people do not",
    ]  # fmt: skip
    assert all(move["moved_at"] and move["moved_by"] for move in moves)
    assert said("rollback", "--to", "2", "--reason", "after all", "--yes")[1]["run"] == "two"


@pytest.mark.parametrize(
    "arguments",
    [
        ("promote", "none", "--reason", "r", "--yes"),
        ("promote", "failed", "--reason", "r", "--yes"),
        ("promote", "one", "--yes"),
        ("promote", "one", "--reason", "r"),
        ("rollback", "--reason", "r", "--yes"),
    ],
)
def test_what_cannot_be_moved(said, tmp_path, arguments):
    run_here(tmp_path, "one", "better")
    run_here(tmp_path, "failed", "")
    assert said(*arguments)[0] == 2
    assert not (tmp_path / "runs" / "registry").exists()


def test_there_is_no_way_back_from_the_first(said, tmp_path):
    run_here(tmp_path, "one", "better")
    said("promote", "one", "--reason", "r", "--yes")
    assert said("rollback", "--reason", "r", "--yes")[0] == 2


def test_a_rollback_in_the_cloud_moves_the_alias_back(said, cloud, tmp_path):
    cloud.ask("instant", {"on": True})
    kept = f"gs://{BUCKET}/tunepipe/registry/{tmp_path.name}"
    better = tmp_path / "comparison.json"
    better.write_text('{"verdict": "better", "reason": "It is."}')
    for name in ("one", "two"):
        promote_step(tuned(name), str(better), kept, name)
    code, back = said("rollback", "--registry", kept, "--reason", "r", "--yes")
    assert code == 0
    assert "/models/" in back["alias"]
    assert aliases() == {"one": ["champion"], "two": []}


def test_only_idle_endpoints_of_ours_are_cleaned_up(said, cloud, tmp_path):
    cloud.ask("instant", {"on": True})
    kept = f"gs://{BUCKET}/tunepipe/registry/{tmp_path.name}"
    better = tmp_path / "comparison.json"
    better.write_text('{"verdict": "better", "reason": "It is."}')
    for name in ("oldest", "former", "champion"):
        promote_step(tuned(name), str(better), kept, name)
    tuned("loser")
    tuned("others", labels=("made_by",))
    (tmp_path / "tunepipe.toml").write_text("[tables.prices.endpoints]\nusd_per_hour = 2.0\n")
    code, found = said("endpoints", *PLACE)
    assert (code, found["deleted"]) == (0, [])
    assert sorted(one["role"] for one in found["endpoints"]) == [
        "champion", "former", "idle", "idle",
    ]  # fmt: skip
    assert all(one["cost_usd"] == one["hours"] * 2 for one in found["endpoints"])
    assert said("endpoints", *PLACE, "--clean-up")[0] == 2  # nobody can be asked
    old = ("--older-than-hours", "1", "--yes")
    assert said("endpoints", *PLACE, "--clean-up", *old)[1]["deleted"] == []
    assert len(said("endpoints", *PLACE, "--clean-up", "--yes")[1]["deleted"]) == 2
    assert there() == {"former", "champion", "others"}
    assert len(aliases()) == 5  # the models stay


@pytest.mark.parametrize(
    ("left_out", "words"),
    [("project", "the project"), ("region", "the region"), ("bucket", "who is champion")],
)
def test_endpoints_says_what_each_place_is_for(said, left_out, words):
    place = {"project": "p", "region": "us-central1", "bucket": "gs://b"}
    given = [f"--{name}={value}" for name, value in place.items() if name != left_out]
    code, found = said("endpoints", *given)
    assert code == 2
    assert found["error"]["where"] == f"--{left_out}"
    assert words in found["error"]["fix"]


def test_a_way_back_to_an_endpoint_that_is_gone_is_refused(said, cloud, tmp_path):
    cloud.ask("instant", {"on": True})
    kept = f"gs://{BUCKET}/tunepipe/registry/{tmp_path.name}"
    better = tmp_path / "comparison.json"
    better.write_text('{"verdict": "better", "reason": "It is."}')
    first, second = tuned("one"), tuned("two")
    promote_step(first, str(better), kept, "one")
    promote_step(second, str(better), kept, "two")
    cloud.ask("forget", {"name": first})
    code, refused = said("rollback", "--registry", kept, "--reason", "r", "--yes")
    assert (code, refused["error"]["where"]) == (4, first)
    assert champions.champion(kept).model == second
    assert aliases()["two"] == ["champion"]


def test_the_way_back_from_a_model_promoted_twice_is_another_model(said, cloud, tmp_path):
    cloud.ask("instant", {"on": True})
    kept = f"gs://{BUCKET}/tunepipe/registry/{tmp_path.name}"
    move = {"verdict": "better", "reason": "r", "moved_at": "", "moved_by": ""}
    first, second = tuned("one"), tuned("two")
    for model, run in ((first, "one"), (second, "two"), (second, "two-by-hand")):
        champions.promote(kept, model, run=run, **move)
    assert said("rollback", "--registry", kept, "--reason", "r", "--yes")[1]["model"] == first


def test_a_champion_is_found_from_every_folder(said, tmp_path, monkeypatch):
    run_here(tmp_path, "one", "better")
    said("promote", "one", "--reason", "r", "--yes")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert lookup_step(str(tmp_path / "runs" / "registry")).run == "one"


def test_a_champion_whose_folder_is_gone_stops_no_run(said, tmp_path, capfd):
    run_here(tmp_path, "one", "better")
    moved = said("promote", "one", "--reason", "r", "--yes")[1]
    shutil.rmtree(moved["model"])
    assert lookup_step("runs/registry") is None
    assert f"{moved['model']} is gone" in capfd.readouterr().out


def test_a_run_whose_model_is_gone_is_not_promoted(said, tmp_path):
    run_here(tmp_path, "one", "better")
    shutil.rmtree(tmp_path / "runs" / "one" / "model")
    assert said("promote", "one", "--reason", "r", "--yes")[0] == 2
    assert champions.champion("runs/registry") is None


def test_no_endpoint_is_deleted_while_a_run_may_need_it(said, cloud):
    cloud.ask("instant", {"on": True})
    waiting = tuned("one")
    cloud.ask("instant", {"on": False})
    cloud.ask("hold", {"on": True})
    run = started("run", {"tunepipe_backend": "large-model"})
    code, refused = said("endpoints", *PLACE, "--clean-up", "--yes")
    assert (code, refused["error"]["where"]) == (3, run)
    assert there() == {"one"}
    assert said("cancel", run)[0] == 0
    until(lambda: said("status", run)[1]["state"] == "cancelled")
    assert said("endpoints", *PLACE, "--clean-up", "--yes")[1]["deleted"] == [waiting]
    cloud.ask("hold", {"on": False})


def test_the_way_back_is_kept_wherever_the_runs_have_recorded_it(said, cloud, tmp_path):
    cloud.ask("instant", {"on": True})
    kept = f"gs://{BUCKET}/a-team/tunepipe/registry/large-model"
    move = {"verdict": "better", "reason": "r", "moved_at": "", "moved_by": ""}
    for model in (tuned("one"), tuned("two")):
        champions.promote(kept, model, run=model, **move)
    ran(cloud, kept)
    code, found = said("endpoints", *PLACE, "--clean-up", "--yes")
    assert (code, found["deleted"]) == (0, [])
    assert sorted(one["role"] for one in found["endpoints"]) == ["champion", "former"]
    assert said("endpoints", *PLACE[:4], "--bucket", BUCKET)[0] == 2


def ran(cloud, kept):
    """Leave a run of ours that has ended, whose registry is not in the folder asked for."""
    run = VertexRun(
        backend="large-model", project=PROJECT, region=REGION, bucket=f"gs://{BUCKET}",
        parameters={"dataset_uri": f"gs://{BUCKET}/rows.jsonl", "registry": kept},
    )  # fmt: skip
    request = vertex_request.prepare_recurring(run, "weekly")
    name = f"{request.parent}/pipelineJobs/one-run"
    cloud.ask("hold", {"on": True})
    clients.pipelines(REGION).create_pipeline_job(
        parent=request.parent, pipeline_job=request.job, pipeline_job_id="one-run"
    )
    PIPELINE_JOBS.cancel(name)
    cloud.ask("hold", {"on": False})
    assert vertex.status(name).over
