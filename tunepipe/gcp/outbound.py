"""HTTPS to addresses that a user or a file names: no private network, and no stray credentials.

Google's token goes to Google's hosts alone, and to no host that a redirect names. An address of
this machine, of a private network or of a cloud's metadata server is refused when the connection
is made, so a name that resolves to one is refused too. Behind a proxy, the proxy decides what can
be reached.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from functools import cache
from typing import Any
from urllib.parse import urljoin, urlsplit

from tunepipe.errors import LimitError, UsageError

ALLOW_PRIVATE = "TUNEPIPE_ALLOW_PRIVATE_ADDRESSES"
_GOOGLE = re.compile(r"https://[a-z0-9.-]+\.(googleapis\.com|pkg\.dev)([/?#]|\Z)")
_INTERNAL_NAME = re.compile(r"(.*\.)?(localhost|internal|local|localdomain)\.?\Z")
# urllib and requests differ in which host an address with one of these names.
_AMBIGUOUS = re.compile(r"[\\\x00-\x1f\x7f]")
_REDIRECTS = 5


def is_google(url: str) -> bool:
    """Return True if an address is one of Google's APIs or of its Artifact Registry."""
    return bool(_GOOGLE.match(url))


def check_address(url: str) -> None:
    """Refuse an address that is not public HTTPS (UsageError, LimitError), as its text shows."""
    try:
        parts = urlsplit(url)
        scheme, host, _ = parts.scheme, parts.hostname or "", parts.port
    except ValueError:
        scheme = host = ""
    allowed = ("https", "http") if _private_allowed() else ("https",)
    if scheme not in allowed or not host or _AMBIGUOUS.search(url):
        raise UsageError(
            "the address is not an https:// URL", where=host or "address", fix="https://HOST/PATH"
        )
    if _INTERNAL_NAME.match(host):
        _refuse(host)
    _check_ip(host)


def request(
    verb: str,
    url: str,
    *,
    seconds: float,
    json: Any = None,
    token: str = "",
    redirects: int = 0,
    stream: bool = False,
    accept: str = "*/*",
) -> Any:
    """Send one request, follow up to 5 redirects without credentials, and return the Response.

    Google's access `token` is sent to the first address alone, and only if that is Google's.
    """
    headers = {"Accept": accept}
    if token and is_google(url):
        headers["Authorization"] = f"Bearer {token}"
    for _ in range(min(redirects, _REDIRECTS) + 1):
        check_address(url)
        answer = _session().request(
            verb,
            url,
            json=json,
            headers=headers,
            timeout=seconds,
            allow_redirects=False,
            stream=stream,
        )
        place = answer.headers.get("Location")
        if not (redirects and answer.is_redirect and place):
            return answer
        url, headers = urljoin(url, place), {"Accept": accept}
    return answer


@cache
def _session() -> Any:
    """Make a session whose direct connections end where the address is private."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.connection import HTTPConnection, HTTPSConnection

    class Guard:
        def _new_conn(self: Any) -> Any:
            try:
                addresses = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            except OSError:  # the connection itself reports it
                addresses = []
            for *_, address in addresses:  # before a connection is made
                _check_ip(str(address[0]))
            connection = super()._new_conn()  # type: ignore[misc]
            try:  # the name may resolve to another address the second time
                _check_ip(connection.getpeername()[0])
            except LimitError:
                connection.close()
                raise
            return connection

    class Pool(HTTPConnectionPool):
        ConnectionCls = type("Guarded", (Guard, HTTPConnection), {})

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = type("GuardedTls", (Guard, HTTPSConnection), {})

    class Adapter(HTTPAdapter):  # type: ignore[misc]
        def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
            super().init_poolmanager(*arguments, **named)
            self.poolmanager.pool_classes_by_scheme = {"http": Pool, "https": TlsPool}

    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, Adapter())
    return session


def _check_ip(text: str) -> None:
    """Refuse a private IP address; a name passes, and is looked at when it is resolved."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return
    mapped = getattr(address, "ipv4_mapped", None)
    if not (mapped or address).is_global or address.is_multicast:
        _refuse(text)


def _refuse(host: str) -> None:
    if not _private_allowed():
        raise LimitError(
            "the address is on this machine or in a private network",
            where=host,
            fix=f"if that is meant, set {ALLOW_PRIVATE}=1",
        )


def _private_allowed() -> bool:
    return os.environ.get(ALLOW_PRIVATE, "") == "1"
