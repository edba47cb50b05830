"""Posting to a webhook, whose address is a secret: anyone who knows it can write there.

So the address is never a parameter of a pipeline, where every reader of the project sees it; a
parameter says where it is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunepipe.errors import CloudError, LimitError, TunepipeError, UsageError
from tunepipe.gcp import outbound
from tunepipe.gcp.retries import retry
from tunepipe.gcp.secrets import is_secret, read_secret
from tunepipe.stores import storage

_CALL_SECONDS = 20.0
_ATTEMPTS = 4
_PAUSE_SECONDS = 20.0


def check_place(place: str, *, in_cloud: bool) -> None:
    """Refuse a place that cannot hold a webhook's address, before anything is sent.

    A secret's name, a gs:// URI or, locally, a file can; "" is nowhere.
    """
    if "://" in place and not storage.is_object(place):
        raise UsageError(
            "this is an address, which is a secret; say where it is kept",
            where="--notify",
            fix="projects/P/secrets/NAME of Secret Manager, a gs:// URI, or a file for local runs",
        )
    if place and in_cloud and not (storage.is_object(place) or is_secret(place)):
        raise UsageError(
            "a run in the cloud cannot read this place",
            where=f"--notify {place}",
            fix="projects/P/secrets/NAME of Secret Manager, or a gs:// URI",
        )


def read_address(place: str) -> str:
    """Read a webhook's https address from a secret, a gs:// URI or a file."""
    data = read_secret(place) if is_secret(place) else storage.read_bytes(place)
    address = data.decode("utf-8", "replace").strip()
    try:
        outbound.check_address(address)
    except TunepipeError as error:
        error.where = place  # the address itself is a secret
        raise
    return address


def post(address: str, message: Mapping[str, Any]) -> None:
    """Post a message as JSON, with retries; the CloudError at last does not tell the address."""
    import requests

    def send() -> None:
        answer = outbound.request("POST", address, json=message, seconds=_CALL_SECONDS)
        if answer.status_code >= 300:  # a redirect has delivered nothing
            raise requests.HTTPError(response=answer)

    try:
        retry(send, attempts=_ATTEMPTS, longest_pause_seconds=_PAUSE_SECONDS)
    except LimitError as error:
        error.where = "webhook"  # its host may be a part of the secret
        raise
    except requests.RequestException as error:
        status = error.response.status_code if error.response is not None else 0
        problem = f"HTTP {status}" if status else type(error).__name__
        # Not `from error`: its text has the address.
        raise CloudError(
            f"the webhook did not take the message: {problem}",
            fix="check the address and its service",
        ) from None
