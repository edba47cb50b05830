"""What a message of Google's means for the user."""

from __future__ import annotations

import re

from tunepipe.catalog.tables import load


def advice(message: str) -> str:
    """Say what to do about an error message of Vertex AI.

    Args:
        message: What the service, a job or one of its tasks said.

    Returns:
        A sentence for the user; "" where the message is not known.
    """
    for symptom in load("gcp/advice.toml")["symptom"]:
        if re.search(symptom["pattern"], message, re.IGNORECASE | re.DOTALL):
            return str(symptom["fix"])
    return ""
