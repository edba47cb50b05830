"""The one retry policy: which failures may pass, and how long to wait for them.

Errors are recognised by their HTTP status and by their class names, so a step that uses one client
needs no other client installed.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from tunepipe.errors import TunepipeError

_Answer = TypeVar("_Answer")
_LONGEST_PAUSE_SECONDS = 60.0

# RFC 9110 and google.rpc.Code: timeouts (408, 504), ABORTED (409), rate limits (429), CANCELLED
# (499) and the server's own failures. 501 is final.
_STATUSES = frozenset({408, 409, 429, 499, 500, 502, 503, 504})
# Broken connections, as the standard library, requests, urllib3, httpx, botocore and google-auth
# name them.
_BROKEN = frozenset(
    {
        *("ConnectionError", "TimeoutError", "Timeout", "TransportError", "RetryError"),
        *("ChunkedEncodingError", "ProtocolError", "IncompleteRead", "HTTPException"),
        "HTTPClientError",  # botocore's
    }
)
# The connection was never made, so nothing was sent.
_UNSENT = re.compile(r"ConnectError|ConnectTimeout|NewConnectionError|Name or service not known")
_REJECTED = re.compile(r"invalid_grant|invalid_client|disabled_client|deleted_client|invalid_rapt")


def is_rejected(error: BaseException) -> bool:
    """Return True if the token endpoint rejected the credentials, whatever error wraps that."""
    return bool(_REJECTED.search(str(error)))


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an error carries; None if it carries none."""
    error = root_of(error)
    answer = getattr(error, "response", None)
    if isinstance(answer, dict):  # botocore keeps the parsed answer
        return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) or None
    for holder in (error, getattr(error, "response", None)):
        for name in ("code", "status_code"):
            status = getattr(holder, name, None)
            if isinstance(status, int):
                return int(status)
    return None


def root_of(error: BaseException) -> BaseException:
    """Return the client's error that one of our own errors was made of, else the error itself."""
    cause = error.__cause__ if isinstance(error, TunepipeError) else None
    return cause or error


def is_transient(error: BaseException) -> bool:
    """Return True if the same call may succeed later: a broken connection, a 5xx, a rate limit.

    An error of our own passes if its cause does, unless its attribute `final` is True.
    """
    if getattr(error, "final", False):
        return False
    root = root_of(error)
    names = {kind.__name__ for kind in type(root).__mro__}
    # A rejected credential and a wrong certificate stay wrong.
    if is_rejected(root) or "CERTIFICATE_VERIFY_FAILED" in str(root) or "AlreadyExists" in names:
        return False
    status = status_of(root)
    if status is not None:
        return status in _STATUSES
    if "GoogleAuthError" in names and "TransportError" not in names:
        return bool(getattr(root, "retryable", False))
    return bool(names & _BROKEN)


def may_have_taken_effect(error: BaseException) -> bool:
    """Return True if a call that failed this way may still have done, or yet do, what it asked.

    A lost answer, a timeout (408, 504), a conflict (409), a cancellation (499) and a server error
    say nothing of the effect. A rate limit (429), a missing token and a connection that was never
    made do.
    """
    root = root_of(error)
    names = {kind.__name__ for kind in type(root).__mro__}
    if "GoogleAuthError" in names or _UNSENT.search(f"{names} {root}"):
        return False
    return is_transient(error) and status_of(root) != 429


def retry(
    call: Callable[[], _Answer],
    *,
    seconds: float = math.inf,
    attempts: int = 0,
    first_pause_seconds: float = 1.0,
    longest_pause_seconds: float = 0.0,
    sleep: Callable[[float], None] = time.sleep,
    on_pause: Callable[[BaseException], None] = lambda error: None,
) -> _Answer:
    """Call until there is an answer; failures that may pass are waited out with growing pauses.

    Args:
        call: What is called; it must be safe to repeat.
        seconds: How long to go on, from the first call.
        attempts: The largest number of calls; 0 sets no limit.
        first_pause_seconds: The longest first pause; it doubles with each failure.
        longest_pause_seconds: No pause is longer, unless the service asks for it (Retry-After);
            0 takes a tenth of `seconds`, at most a minute.
        sleep: Waits; may raise to end the waiting.
        on_pause: Receives the failure before each pause.

    Raises:
        Exception: A failure that does not pass, or, when time or attempts are used up, the first
            failure: those that follow are often its consequences.
    """
    import tenacity

    failures: list[BaseException] = []
    longest = longest_pause_seconds or min(seconds / 10, _LONGEST_PAUSE_SECONDS)
    growing = tenacity.wait_random_exponential(multiplier=first_pause_seconds, max=longest)

    def keep(error: BaseException) -> bool:
        failures.append(error)
        return is_transient(error)

    def pause(state: tenacity.RetryCallState) -> float:
        """Return the seconds to wait: what the service asks for, if that is longer, to the end."""
        response: Any = getattr(root_of(failures[-1]), "response", None)
        asked = str((getattr(response, "headers", None) or {}).get("retry-after") or "")
        left = max(0.0, seconds - (state.seconds_since_start or 0.0))
        return min(left, max(growing(state), float(asked) if asked.isdecimal() else 0.0))

    stops: list[Any] = [tenacity.stop_after_delay(seconds)] if seconds < math.inf else []
    stops += [tenacity.stop_after_attempt(attempts)] if attempts else []
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(keep),
        wait=pause,
        stop=tenacity.stop_any(*stops) if stops else tenacity.stop_never,
        sleep=sleep,
        before_sleep=lambda state: on_pause(failures[-1]),
    )
    with suppress(tenacity.RetryError):
        return retrying(call)
    raise failures[0]  # with its cause, by which is_transient knows it
