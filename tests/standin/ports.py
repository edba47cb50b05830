"""Ports for servers that are told theirs, as torch's are."""

import errno
import random
import socket

# Below those that Linux gives to connections and to servers without a port of their own: what is
# free there stays free until its server opens it, however busy the machine is.
_PORTS = range(15_000, 30_000)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on."""
    while True:
        port = random.SystemRandom().choice(_PORTS)
        with socket.socket() as one:
            try:
                one.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return port
