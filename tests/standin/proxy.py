"""The HTTPS proxy that stands between the real clients and the stand-in.

A client asks it for a tunnel to a host of Google's. The first bytes of the TLS handshake say
whether HTTP/2 (gRPC) or HTTP/1.1 follows, and the tunnel ends at the right server of ours. Any
other host is refused, so nothing leaves the machine.
"""

from __future__ import annotations

import asyncio
import re
import threading

_SERVED = re.compile(r"([a-z0-9-]+\.)+(googleapis\.com|pkg\.dev):443\Z")


class Proxy:
    """A CONNECT proxy on a free loopback port, in a thread of its own."""

    def __init__(self, rest_port: int, grpc_port: int) -> None:
        self.rest_port, self.grpc_port = rest_port, grpc_port
        self.refused: list[str] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()
        self._ready.wait()

    def drop_connections(self) -> None:
        """Cut every open tunnel, as a network does.

        They are cut when it returns: else an answer goes first, and the next call meets the cut.
        """
        asyncio.run_coroutine_threadsafe(self._drop(), self._loop).result()

    async def _drop(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._tunnel, "127.0.0.1", 0))
        self.port: int = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            verb, target, _ = request.split(" ", 2)
            if verb != "CONNECT" or not _SERVED.match(target):
                self.refused.append(f"{verb} {target}")
                writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
                return
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            hello = await reader.read(65536)
            port = self.grpc_port if b"\x02h2" in hello else self.rest_port
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
            inner_writer.write(hello)
            self._writers |= {writer, inner_writer}
            await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
            self._writers -= {writer, inner_writer}
        except (OSError, asyncio.IncompleteReadError, ValueError):
            pass
        finally:
            writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
