"""The alias `champion` and the endpoints of losers, against the stand-in."""

import pytest

from tests.standin.session import BUCKET, PROJECT, REGION
from tunepipe.errors import CloudError, LimitError
from tunepipe.gcp import clients
from tunepipe.registry import champions, endpoints, vertex_alias
from tunepipe.steps.promotion import keep_step, lookup_step, promote_step

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
    assert len(champions.history(kept)) == 2


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
    with pytest.raises(LimitError, match="champion's"):
        endpoints.take_away(ours)
