"""The template's rules: the table of the facts, and the template's own behaviour as recorded."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunepipe.backends.palm import parameters
from tunepipe.catalog.tables import load
from tunepipe.errors import LimitError, TunepipeError, UsageError
from tunepipe.gcp.explanations import advice

REGION = "europe-west4"
LEAST = {
    "project": "demo-project",
    "model_display_name": "desk",
    "dataset_uri": "gs://bucket/train.jsonl",
}


def checked(region: str = REGION, **given: object) -> dict[str, object]:
    return parameters.template_parameters({**LEAST, **given}, region=region)


def test_only_what_differs_is_sent_and_place_and_hardware_always() -> None:
    same_as_default = {"train_steps": 300, "tuning_method": "tune_v2", "default_context": ""}
    assert checked(**same_as_default, large_model_reference="text-bison@001") == {
        **LEAST,
        "location": "europe-west4",
        "accelerator_type": "TPU",
    }
    assert checked("us-central1")["accelerator_type"] == "GPU"


# Where Google's template trained with pipeline region, location and TPU or GPU: found by running
# its own check. None stands for its ValueError. Without an accelerator_type it trained for the
# location us-central1 alone, so it is always sent.
MATRIX = [
    ("us-central1", "", ("europe-west4", "us-central1")),
    ("us-central1", "us-central1", ("europe-west4", "us-central1")),
    ("us-central1", "europe-west4", ("europe-west4", "us-central1")),
    ("europe-west4", "", ("europe-west4", "us-central1")),
    ("europe-west4", "us-central1", ("europe-west4", "us-central1")),
    ("europe-west4", "europe-west4", ("europe-west4", "us-central1")),
    ("us-east4", "us-central1", ("europe-west4", "us-central1")),
    ("asia-northeast1", "", ("europe-west4", "us-central1")),
    ("us-east1", "", (None, None)),
    ("us-east1", "us-central1", (None, None)),
]


@pytest.mark.parametrize(("region", "location", "trains"), MATRIX)
def test_only_what_trains_in_the_region_passes(
    region: str, location: str, trains: tuple[str | None, ...]
) -> None:
    for accelerator, place in zip(("TPU", "GPU"), trains, strict=True):
        if place == region:
            sent = checked(region, location=location, accelerator_type=accelerator)
            assert sent["accelerator_type"] == accelerator
        else:
            with pytest.raises(LimitError):
                checked(region, location=location, accelerator_type=accelerator)


def test_whatever_passes_trains_in_the_region_given() -> None:
    regions = [*load("backends/palm/parameters.toml")["regions"]["pipeline"], "us-east1", ""]
    passed = 0
    for region, location, hardware in itertools.product(regions, regions, ("", "GPU", "TPU")):
        try:
            sent = checked(region, location=location, accelerator_type=hardware)
        except LimitError:
            continue
        passed += 1
        assert {"GPU": "us-central1", "TPU": "europe-west4"}[
            str(sent["accelerator_type"])
        ] == region
    assert passed == 2 * 2 * 14  # the two training regions, hardware told or not, 13 places and ""


REFUSED = [
    ({"train_step": 5}, UsageError, "train_steps"),
    ({"train_steps": 0}, UsageError, "from 1 up"),
    ({"train_steps": -1}, UsageError, "from 1 up"),
    ({"train_steps": 2.5}, UsageError, "whole number"),
    ({"train_steps": True}, UsageError, "whole number"),
    ({"train_steps": "20"}, UsageError, "whole number"),
    ({"learning_rate_multiplier": 0}, UsageError, "above 0"),
    ({"learning_rate_multiplier": "1"}, UsageError, "a number"),
    ({"tuning_method": "lora"}, UsageError, "tune_v2"),
    ({"enable_early_stopping": "true"}, UsageError, "true or false"),
    ({"enable_checkpoint_selection": "yes"}, UsageError, "default"),
    ({"evaluation_interval": 0}, UsageError, "from 1 up"),
    ({"evaluation_data_uri": "/tmp/eval.jsonl"}, UsageError, "gs://"),
    ({"evaluation_output_root_dir": "gs://b/x"}, UsageError, "reads it nowhere"),
    ({"dataset_name": "projects/1/datasets/2"}, UsageError, "exactly one"),
    ({"dataset_uri": ""}, UsageError, "exactly one"),
    ({"dataset_uri": "train.jsonl"}, UsageError, "gs://"),
    ({"model_display_name": "x" * 129}, UsageError, "128"),
    ({"model_display_name": ""}, UsageError, "1 to 128"),
    ({"project": ""}, UsageError, "required"),
    ({"large_model_reference": "text-bisn"}, UsageError, "text-bison"),
    (
        {"large_model_reference": "chat-bison", "evaluation_data_uri": "gs://b/e"},
        UsageError,
        "take",
    ),
    ({"default_context": "You are terse."}, UsageError, "take"),
    ({"accelerator_type": "NPU"}, UsageError, "GPU"),
    ({"accelerator_type": "GPU"}, LimitError, "us-central1"),
    ({"location": "us-east1"}, LimitError, "us-east1"),
    ({"tensorboard_resource_id": "projects/1/locations/us-central1/t/1"}, LimitError, "another"),
    ({"encryption_spec_key_name": "projects/p/locations/us-central1/k"}, LimitError, "another"),
    ({"encryption_spec_key_name": "projects/p/locations/europe-west4/k"}, LimitError, "TPU"),
    ({"max_context_length": "16k"}, UsageError, "8k"),
]


@pytest.mark.parametrize(("given_", "kind", "said"), REFUSED)
def test_what_the_template_would_refuse_is_refused_with_its_reason(
    given_: dict[str, object], kind: type[TunepipeError], said: str
) -> None:
    with pytest.raises(kind) as caught:
        checked(**given_)
    assert said in str(caught.value)
    assert caught.value.where


TAKEN = [
    ({"train_steps": 20.0}, ("train_steps", 20)),  # KFP makes 20.0 of the 20 in a mapping
    ({"learning_rate_multiplier": 2}, ("learning_rate_multiplier", 2.0)),
    ({"enable_checkpoint_selection": True}, ("enable_checkpoint_selection", "true")),
    ({"enable_early_stopping": False}, ("enable_early_stopping", False)),
    ({"location": "asia-northeast1"}, ("location", "asia-northeast1")),
    ({"large_model_reference": "chat-bison", "default_context": "x"}, ("default_context", "x")),
    (
        {
            "encryption_spec_key_name": "projects/p/locations/europe-west4/k",
            "tpu_training_skip_cmek": True,
        },
        ("tpu_training_skip_cmek", True),
    ),
]


@pytest.mark.parametrize(("given_", "sent"), TAKEN)
def test_what_the_template_takes_is_sent_in_its_type(
    given_: dict[str, object], sent: tuple[str, object]
) -> None:
    name, value = sent
    found = checked(**given_)[name]
    assert (found, type(found)) == (value, type(value))


def test_a_key_with_gpu_needs_us_central1_throughout() -> None:
    key = {"encryption_spec_key_name": "projects/p/locations/us-central1/k"}
    assert checked("us-central1", **key)["encryption_spec_key_name"]
    with pytest.raises(LimitError, match="us-central1"):
        checked("us-central1", **key, location="us-east4")


NUMBERS = st.integers(-3, 999) | st.floats()
VALUES = st.none() | st.booleans() | NUMBERS | st.text(max_size=5) | st.lists(st.none())


@settings(deadline=None, max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from(sorted(parameters.TemplateParameters.__struct_fields__)), VALUES
    ),
    st.sampled_from(["us-central1", "europe-west4", "us-east1"]),
)
def test_anything_is_either_refused_in_our_words_or_sent_rightly(
    given_: dict[str, object], region: str
) -> None:
    try:
        sent = parameters.template_parameters({**LEAST, **given_}, region=region)
    except TunepipeError:
        return
    assert region in ("us-central1", "europe-west4")
    assert {"location", "accelerator_type", "project", "model_display_name"} <= set(sent)
    assert isinstance(sent.get("train_steps", 1), int)


@pytest.mark.parametrize(
    ("model", "version", "ends"),
    [
        ("text-bison@001", "", "/tune-large-model/v3.0.0"),
        ("code-bison-32k@002", "", "/tune-large-model/v3.0.0"),
        ("chat-bison", "", "/tune-large-chat-model/v3.0.0"),
        ("codechat-bison@001", "v2.0.0", "/tune-large-chat-model/v2.0.0"),
        ("text-bison", "sha256:abc", "/tune-large-model/sha256:abc"),
        ("text-bison", "https://example.com/own.yaml", "example.com/own.yaml"),
    ],
)
def test_the_template_follows_from_the_model(model: str, version: str, ends: str) -> None:
    uri = parameters.template_uri(model, version)
    assert uri.endswith(ends)
    assert uri.startswith("https://")


SAID = [
    ("Quota exceeded: restricted image training TPU V3 pod cores quota", "64 TPU v3 cores"),
    ("You do not have permission to act as service_account: a@b", "serviceAccountUser"),
    ("403 Permission 'aiplatform.pipelineJobs.create' denied on resource", "aiplatform.user"),
    ("Failed to fetch the pipeline template from https://us-kfp: 404 not found", "withdrawn"),
    ("Tuning is only supported in us-central1.", "accelerator_type"),
    ("Dataset exceeded the max number of examples: 256", "--eval-max 256"),
    ("Cannot decode training example at line 7", "tunepipe validate"),
    ("500 Internal error encountered.", "empty Vertex dataset"),
    ("Vertex AI API has not been used in project 1 before or it is disabled", "gcloud services"),
    ("something new", ""),
]


@pytest.mark.parametrize(("message", "told"), SAID)
def test_googles_messages_come_with_what_to_do(message: str, told: str) -> None:
    assert told in advice(message)
    assert bool(advice(message)) == bool(told)
