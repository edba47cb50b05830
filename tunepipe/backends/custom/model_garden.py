"""The weights of publishers' models, where Model Garden keeps a copy of them."""

from __future__ import annotations

from tunepipe.errors import UsageError
from tunepipe.gcp import clients
from tunepipe.gcp.clients import CALL_SECONDS

PREFIX = "publishers/"


def weights_of(name: str, region: str) -> str:
    """Return the gs:// folder of a publisher's model.

    Args:
        name: publishers/PUBLISHER/models/MODEL@VERSION, as the model's page shows it.
        region: Where to ask.

    Raises:
        UsageError: Model Garden names no folder.
        CloudError: Google refused, or does not have the model.
    """
    from google.cloud import aiplatform_v1 as api

    view = api.PublisherModelView.PUBLISHER_MODEL_VIEW_FULL
    with clients.explained(name):
        model = clients.model_garden(region).get_publisher_model(
            request={"name": name, "view": view}, timeout=CALL_SECONDS
        )
    deploy = model.supported_actions.deploy
    uri = str(deploy.public_artifact_uri or deploy.artifact_uri)
    if not uri.startswith("gs://"):
        raise UsageError(
            "Model Garden names no folder with the weights of this model",
            where=f"base_model {name}",
            fix="name its hub id, or copy the weights into a bucket and name the gs:// folder",
        )
    return uri.rstrip("/")
