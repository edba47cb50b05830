"""Explains why Google's credentials give no token."""

from __future__ import annotations

import re

from tunepipe.errors import CloudError
from tunepipe.gcp.advice import advice

_LOGIN = "run: gcloud auth application-default login"
_REJECTED = re.compile(r"invalid_grant|invalid_client|disabled_client|deleted_client|invalid_rapt")


def is_rejected(error: Exception) -> bool:
    """Return True if the token endpoint rejected the credentials, whatever error wraps that."""
    return bool(_REJECTED.search(str(error)))


def no_token(error: Exception, where: str) -> CloudError:
    """Report that credentials are missing or rejected, or that Google is out of reach."""
    from google.auth.exceptions import DefaultCredentialsError, TransportError

    retryable = bool(getattr(error, "retryable", False))
    if isinstance(error, TransportError) or (retryable and not is_rejected(error)):
        problem = "Google is out of reach"
        if retryable and not isinstance(error, TransportError):
            problem = f"Google's token endpoint gave no token: {_words(error)}"
        fix = "check the network and the proxy, then try again"
        return CloudError(problem, where=where, fix=fix)
    if isinstance(error, DefaultCredentialsError):
        return CloudError("no usable Google credentials", where=where, fix=_LOGIN)
    words = _words(error)
    if fix := advice(words):
        return CloudError(f"Google rejected the credentials: {words}", where=where, fix=fix)
    reason = f": {words}" if words else ""
    return CloudError(f"no usable Google credentials{reason}", where=where, fix=_LOGIN)


def _words(error: Exception) -> str:
    """Return the token endpoint's own words: google-auth keeps them first of several arguments."""
    text = str(error.args[0]) if error.args else ""
    match = re.search(r"\('(.*?)', \{", text)
    return (match[1] if match else text)[:500]
