"""The alias `champion` and the endpoints of losers, against the stand-in."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from google.cloud.aiplatform_v1 import Endpoint

from tests.standin.session import BUCKET, PROJECT, REGION
from tests.waiting import until
from tunepipe.errors import CloudError, LimitError
from tunepipe.gcp import clients
from tunepipe.registry import champions, endpoints, vertex_alias
from tunepipe.steps.promotion import decide_step, keep_step, lookup_step, promote_step

PARENT = f"projects/{PROJECT}/locations/{REGION}"
TEMPLATE = (
    "https://us-kfp.pkg.dev/ml-pipeline/large-language-model-pipelines/tune-large-model/v3.0.0"
)


@pytest.fixture
def place(cloud):
    """A cloud whose tuning jobs end at once."""
    cloud.ask("instant", {"on": True})
    return cloud


def tuned(name, labels=("tunepipe_key",)):
    """Let a tuning job make a model and its endpoint; gives the endpoint."""
    started(name, dict.fromkeys(labels, name))
    client = clients.endpoints(REGION)
    return next(e.name for e in client.list_endpoints(parent=PARENT) if e.display_name == name)


def started(name, labels, **parameters):
    """Start a job of the template; gives its name."""
    made = clients.pipelines(REGION).create_pipeline_job(
        parent=PARENT,
        pipeline_job_id=name,
        pipeline_job={
            "template_uri": TEMPLATE,
            "labels": labels,
            "runtime_config": {
                "gcs_output_directory": f"gs://{BUCKET}",
                "parameter_values": {
                    "project": PROJECT, "location": REGION, "model_display_name": name,
                    "dataset_uri": f"gs://{BUCKET}/{name}", **parameters,
                },
            },
        },
    )  # fmt: skip
    return made.name


def aliases():
    models = clients.models(REGION).list_models(parent=PARENT)
    return {model.display_name: list(model.version_aliases) for model in models}


def there():
    found = clients.endpoints(REGION).list_endpoints(parent=PARENT)
    return {endpoint.display_name for endpoint in found}


@pytest.fixture
def said(tmp_path):
    """Write what compare_models says."""

    def write(verdict):
        path = tmp_path / "comparison.json"
        path.write_text(f'{{"verdict": "{verdict}", "reason": "It is so."}}')
        return str(path)

    return write


def test_the_alias_goes_from_one_champion_to_the_next(place, said):
    kept = f"gs://{BUCKET}/registry"
    first, second = tuned("one"), tuned("two")
    assert promote_step(first, said("better"), kept, "run-1") == "1"
    assert aliases() == {"one": ["champion"], "two": []}
    assert promote_step(second, said("better"), kept, "run-2") == "2"
    assert aliases() == {"one": [], "two": ["champion"]}
    assert promote_step(second, said("better"), kept, "run-2") == "2"  # a step tried again
    moved = len(place.calls("MergeVersionAliases"))
    assert vertex_alias.move_alias(second, second) == vertex_alias.model_version(second)
    assert len(place.calls("MergeVersionAliases")) == moved + 1, "it is never without the alias"
    assert aliases() == {"one": [], "two": ["champion"]}
    assert len(champions.history(kept)) == 2


def test_a_champion_that_comes_into_service_while_a_model_is_looked_at_stays(place, tmp_path):
    kept, model, other = f"gs://{BUCKET}/registry", tuned("one"), tuned("two")
    compared = {
        "verdict": "better", "reason": "It is so.", "champion_version": 0,
        "scores": {"tuned": {"look": 1}},
    }  # fmt: skip
    comparison = tmp_path / "comparison.json"
    comparison.write_text(json.dumps(compared))
    place.fault("GetEndpoint", held=True)
    with ThreadPoolExecutor(1) as pool:
        deciding = pool.submit(decide_step, model, str(comparison), kept, "run-1")
        until(lambda: "GetEndpoint" in place.ask("begun"))
        move = {"verdict": "better", "reason": "", "moved_at": "", "moved_by": ""}
        champions.promote(kept, other, run="run-2", **move)
        place.ask("release", {})
        said = deciding.result()
    assert said.startswith("champion 1 stays: it came into service meanwhile")
    assert champions.champion(kept).run == "run-2"


def test_a_champion_whose_endpoint_has_gone_gives_the_alias_up_in_silence(place):
    first, second = tuned("one"), tuned("two")
    version = vertex_alias.model_version(first)
    vertex_alias.move_alias(first)
    place.ask("forget", {"name": version.partition("@")[0]})
    assert vertex_alias.move_alias(second, version) == vertex_alias.model_version(second)
    assert vertex_alias.move_alias("runs/registry/models/000001", second) == ""


def test_a_champion_whose_endpoint_was_deleted_by_hand_stops_no_run(place, said, capsys):
    kept = f"gs://{BUCKET}/registry"
    endpoint = tuned("one")
    promote_step(endpoint, said("better"), kept, "run-1")
    assert lookup_step(kept).model == endpoint
    place.ask("forget", {"name": endpoint})
    assert lookup_step(kept) is None
    assert (
        f"champion 1 is left out of the comparison: {endpoint} is gone" in capsys.readouterr().out
    )
    assert promote_step(tuned("two"), said("better"), kept, "run-2") == "2"


def test_a_model_whose_endpoint_was_deleted_meanwhile_is_no_champion(place, said):
    kept = f"gs://{BUCKET}/registry"
    endpoint = tuned("one")
    place.ask("forget", {"name": endpoint})
    with pytest.raises(CloudError, match="no longer answers"):
        promote_step(endpoint, said("better"), kept, "run-1")
    assert champions.champion(kept) is None


@pytest.mark.parametrize(("verdict", "stays"), [("worse", False), ("not-enough-evidence", True)])
def test_the_endpoint_of_a_worse_model_goes(place, said, verdict, stays):
    kept = f"gs://{BUCKET}/registry-{verdict}"
    champion, loser = tuned("one"), tuned("two")
    promote_step(champion, said("better"), kept, "run-1")
    told = keep_step(said(verdict), kept, loser)
    gone = "" if stays else " Its endpoint was deleted."
    assert told == f"champion 1 stays: It is so.{gone}"
    assert there() == ({"one", "two"} if stays else {"one"})
    assert set(aliases()) == {"one", "two"}  # the model itself stays


def test_a_refusal_of_google_does_not_undo_a_promotion(place, said, capsys):
    kept = f"gs://{BUCKET}/registry-refused"
    champion, loser = tuned("one"), tuned("two")
    place.fault("MergeVersionAliases", code=403, message="Permission denied.")
    assert promote_step(champion, said("better"), kept, "run-1") == "1"
    assert "the alias was not moved" in capsys.readouterr().out
    place.fault("DeleteEndpoint", code=403, message="Permission denied.")
    assert "was not deleted: Permission denied." in keep_step(said("worse"), kept, loser)
    assert champions.champion(kept).model == champion
    assert promote_step(champion, said("better"), kept, "run-1") == "1"  # tried again
    assert aliases()["one"] == ["champion"]


def test_no_endpoint_of_others_and_no_champions_goes(place, said):
    kept = f"gs://{BUCKET}/registry-others"
    champion, others = tuned("one"), tuned("two", labels=("made_by",))
    promote_step(champion, said("better"), kept, "run-1")
    for endpoint in (champion, others):
        keep_step(said("worse"), kept, endpoint)
        keep_step(said("worse"), "", endpoint)  # where no registry protects it, the alias does
    assert there() == {"one", "two"}
    (ours,) = endpoints.of_template(PROJECT, REGION)
    assert (ours.endpoint, ours.champion) == (champion, True)
    # By either sign: the alias may have been moved since it was looked at.
    for each in (ours, replace(ours, champion=False), replace(ours, kind=endpoints.SERVED)):
        with pytest.raises(LimitError, match="champion's") as caught:
            endpoints.take_away(each)
        assert caught.value.where == champion
    assert there() == {"one", "two"}


def test_the_alias_of_a_version_that_is_gone_is_an_error(place):
    with pytest.raises(CloudError, match="not found"):
        vertex_alias.move_alias(f"{PARENT}/models/1@1")


@pytest.mark.parametrize(
    ("models", "version"),
    [
        ([], ""),
        ([("m", "")], "m"),
        ([("m", "2")], "m@2"),
        ([("m@1", "")], "m@1"),
        ([("m@1", "2")], "m@1"),
        ([("m", "2"), ("n", "3")], "m@2"),
    ],
)
def test_the_version_on_an_endpoint(models, version):
    deployed = [{"model": model, "model_version_id": number} for model, number in models]
    assert vertex_alias.version_on(Endpoint(deployed_models=deployed)) == version


def test_what_can_have_the_alias_is_told_by_its_name():
    version = f"{PARENT}/models/7@2"
    assert vertex_alias.model_version(version) == version
    for other in ("", "gs://b/model", f"{PARENT}/pipelineJobs/1"):
        assert vertex_alias.model_version(other) == ""
        assert endpoints.discard(other) is False
    assert vertex_alias.has_alias("") is False


@pytest.mark.parametrize(
    ("kind", "is_billed"),
    [(endpoints.TEMPLATE, True), (endpoints.SERVED, True), (endpoints.GEMINI, False),
     (endpoints.CHECKPOINT, False)],
)  # fmt: skip
def test_which_endpoints_cost_while_they_are_idle(kind, is_billed):
    noon = datetime(2026, 11, 27, 12, tzinfo=UTC)
    assert endpoints.Deployment("e", "m", "j", noon, False, kind).is_billed is is_billed
