"""Google's error messages, and what to do about each."""

from __future__ import annotations

import re
from typing import Any

from tunepipe.catalog.tables import load

_WORDS_CHARACTERS = 2000


def advice(message: str) -> str:
    """Return what to do about an error message of Google's; "" where the table does not know it."""
    for symptom in load("gcp/advice.toml")["symptom"]:
        if re.search(symptom["pattern"], message, re.IGNORECASE | re.DOTALL):
            return str(symptom["fix"])
    return ""


def words_of(error: Any) -> str:
    """Return Google's own words from an error of its clients, without what a client adds.

    A client of Cloud Storage puts the request before the words, and after them the statuses that
    it had expected; the answer itself, JSON or plain text, has the words alone.
    """
    message = str(getattr(error, "message", "") or error)
    response = getattr(error, "response", None)
    if response is None:
        return message
    try:
        words = str(response.json()["error"]["message"])
    except Exception:  # HTML, plain text, an empty or half an answer
        text = str(getattr(response, "text", "") or "").strip()
        words = "" if text.startswith("<") else text
    return (words or message)[:_WORDS_CHARACTERS]
