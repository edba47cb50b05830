"""Google's error messages of tuning jobs, each with its remedy."""

import pytest

from tunepipe.gcp.explanations import advice


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
    ],
)
def test_a_message_of_a_tuning_job_has_a_remedy(message, remedy):
    assert remedy in advice(message)
