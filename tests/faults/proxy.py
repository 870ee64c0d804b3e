"""A TCP proxy on loopback between a worker and a server, that can be slow, silent, closed, or deaf to producers."""

from __future__ import annotations

import asyncio
import struct

from tests.servers.kafka import free_port

_PRODUCE = 0
"""Kafka's number of the request that writes records."""


class Proxy:
    """Listens on `port`, forwards to `target`. Its faults hold for connections that are open, too."""

    def __init__(self, target: int, kafka: bool = False) -> None:
        """`kafka` says that requests have Kafka's frames, which `refuse_produce` looks into."""
        self.port = free_port()
        self.target = target
        self.delay = 0.0
        """Seconds that every piece takes, in either direction."""
        self.refuse_produce = False
        """Drops the connection on which a producer wants to write."""
        self._kafka = kafka
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._accepting = True
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listens from now on."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Ends all connections."""
        if self._server is not None:
            self._server.close()
        self.close()
        for task in list(self._serving):
            task.cancel()

    def hold(self) -> None:
        """Nothing passes, and nobody is told."""
        self._flowing.clear()

    def close(self) -> None:
        """Connections end, new ones end at once."""
        self._accepting = False
        for writer in list(self._writers):
            writer.close()

    def heal(self) -> None:
        """Everything passes again."""
        self.delay, self.refuse_produce, self._accepting = 0.0, False, True
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self._writers.add(writer)
        beyond: asyncio.StreamWriter | None = None
        try:
            if not self._accepting:
                return
            answers, beyond = await asyncio.open_connection("127.0.0.1", self.target)
            self._writers.add(beyond)
            pumps = [
                asyncio.ensure_future(self._pump(reader, beyond, self._kafka)),
                asyncio.ensure_future(self._pump(answers, writer, False)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        except OSError:
            return
        finally:
            self._serving.discard(task)
            for each in (writer, beyond):
                if each is not None:
                    self._writers.discard(each)
                    each.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, framed: bool) -> None:
        try:
            while True:
                if framed:
                    head = await reader.readexactly(4)
                    piece = head + await reader.readexactly(struct.unpack(">i", head)[0])
                    if self.refuse_produce and struct.unpack_from(">h", piece, 4)[0] == _PRODUCE:
                        return
                else:
                    piece = await reader.read(1 << 16)
                if not piece:
                    return
                if self.delay:
                    await asyncio.sleep(self.delay)
                await self._flowing.wait()
                writer.write(piece)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            return
