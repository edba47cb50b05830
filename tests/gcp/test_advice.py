"""Google's error messages of tuning jobs, each with its remedy."""

import pytest
from google.api_core import exceptions as api

from tunepipe.errors import CloudError
from tunepipe.gcp.explanations import advice, explained


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ("The service is experiencing high demand in this region.", "fallback_locations"),
        ("Invalid open source publisher model resource name: qwen3.", "publisher and version"),
        ("output_uri field is required for open models.", "output_uri=gs://"),
        ("The model does not support global endpoint tuning.", "location=us-central1"),
        ("Learning rate multiplier is not supported for this model.", "learning_rate=2e-4"),
        ("Supported roles are: user, model, function.", "model in place of assistant"),
        ("Dataset has unsupported modality: text.", "set rows of other kinds apart"),
        ("The following quota metrics exceed quota limits: "
         "aiplatform.googleapis.com/custom_model_training_nvidia_a100_80gb_gpus",
         "--option accelerator=TYPE:COUNT"),
        ("Quota restricted_image_training_a100_80gb_gpus exceeded: quota 0.", "8 A100 80GB"),
    ],
)  # fmt: skip
def test_a_message_of_a_tuning_job_has_a_remedy(message, remedy):
    assert remedy in advice(message)


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ("text-bison@001 is no longer available for tuning.", "Google has retired the model"),
        ("The requested bucket name is not available.", ""),
        ("The accelerator type NVIDIA_H100_80GB is not available in us-west2.", ""),
        ("Python 3.8 is no longer supported.", ""),
        ("Artifact Registry API has not been used in project 1 before or it is disabled.",
         "enable the API that the message names"),
    ],
)  # fmt: skip
def test_a_remedy_is_given_where_the_words_bear_it_out(message, remedy):
    assert advice(message).startswith(remedy) if remedy else not advice(message)


@pytest.mark.parametrize(
    ("error", "page", "fix"),
    [
        (api.TooManyRequests("high demand"), "page.md", advice("high demand")),  # words first
        (api.TooManyRequests("slow down"), "page.md", advice("429")),
        (api.TooManyRequests("slow down"), "", ""),
        (api.Forbidden("no"), "page.md", "see page.md"),
        (api.GoogleAPICallError("no status"), "page.md", "see page.md"),
    ],
)
def test_a_refusal_has_the_remedy_of_its_words_or_of_its_status_or_a_page(error, page, fix):
    with pytest.raises(CloudError) as caught, explained("gs://b/x", page):
        raise error
    assert (caught.value.found, caught.value.where) == (error.message, "gs://b/x")
    assert caught.value.fix == fix


def test_an_operation_that_does_not_end_in_time_is_an_error_of_the_cloud():
    words = "Operation did not complete within the designated timeout of 600 seconds."
    with pytest.raises(CloudError) as caught, explained("projects/p/locations/r/endpoints/1"):
        raise TimeoutError(words)
    assert (caught.value.found, caught.value.where) == (words, "projects/p/locations/r/endpoints/1")
    assert "it may go on" in caught.value.fix
