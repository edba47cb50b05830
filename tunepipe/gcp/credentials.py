"""What it means that Google's credentials give no token."""

from __future__ import annotations

from tunepipe.errors import CloudError


def no_token(error: Exception, where: str) -> CloudError:
    """Say whether there are no credentials, or nobody could be reached to use them.

    Args:
        error: A google.auth.exceptions.GoogleAuthError.
        where: The resource, or what was being done.
    """
    from google.auth.exceptions import TransportError

    if isinstance(error, TransportError):
        fix = "check the network and the proxy, then try again"
        return CloudError("Google is out of reach", where=where, fix=fix)
    fix = "run: gcloud auth application-default login"
    return CloudError("no usable Google credentials", where=where, fix=fix)
