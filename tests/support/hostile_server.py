"""A real HTTP server that answers as a test's script says, well or badly, and a real forward proxy.

A script is a list of behaviours: the first request gets the first one, and so on; the last one answers all
that follow. A behaviour is an async function of an `Exchange`. `GET .../models` has behaviours of its own.
"""

import asyncio
import json
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

DONE = "[DONE]"


@dataclass
class Exchange:
    """One request, and the means to answer it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int
    reader: asyncio.StreamReader = field(repr=False)
    writer: asyncio.StreamWriter = field(repr=False)
    arrived: float = field(default_factory=time.perf_counter)
    disconnected: float | None = None
    """When the client was seen to be gone (perf_counter)."""
    left: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    """Set at that time."""
    ended: bool = False

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()
        await asyncio.sleep(0)  # drain() alone does not let the client run, who shares the event loop

    async def reply(
        self, status: int, body: object = b"", headers: dict[str, str] | None = None, reason: str = "Whatever"
    ) -> None:
        """Answer at once; `body` other than bytes is sent as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = {"content-type": "application/json", "content-length": str(len(data)), **(headers or {})}
        await self._head(status, reason, lines)
        await self.send(data)
        self.ended = True

    async def start(self, content_type: str = "text/event-stream; charset=utf-8") -> None:
        """Begin a chunked stream."""
        await self._head(200, "OK", {"content-type": content_type, "transfer-encoding": "chunked"})

    async def raw(self, data: bytes) -> None:
        """Send one chunk of the stream as it is."""
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def event(self, data: object, end: str = "\n\n") -> None:
        text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
        await self.raw(f"data: {text}{end}".encode())

    async def text(self, text: str, index: int = 0, finish: str | None = None, **more: object) -> None:
        """Send one piece of a candidate."""
        choice = {"index": index, "delta": {"content": text} if text else {}, "finish_reason": finish}
        await self.event({"object": "chat.completion.chunk", "choices": [choice], **more})

    async def usage(self, prompt: int, completion: int) -> None:
        counts = {"prompt_tokens": prompt, "completion_tokens": completion}
        await self.event({"object": "chat.completion.chunk", "choices": [], "usage": counts})

    async def end(self, done: bool = True) -> None:
        """End the stream as it should end; the connection stays open."""
        if done:
            await self.event(DONE)
        await self.send(b"0\r\n\r\n")
        self.ended = True

    def drop(self) -> None:
        """Cut the connection with a reset."""
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Return when the client has closed the connection, and note when that was."""
        with suppress(ConnectionError):
            while await self.reader.read(65536):
                pass
        self.leave()

    def leave(self) -> None:
        self.disconnected = self.disconnected or time.perf_counter()
        self.left.set()

    async def _head(self, status: int, reason: str, headers: dict[str, str]) -> None:
        lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
        await self.send("\r\n".join([*lines, "", ""]).encode())


Behaviour = Callable[[Exchange], Awaitable[None]]


def answer(*texts: str, usage: tuple[int, int] | None = (7, 3), finish: str = "stop") -> Behaviour:
    """Return the behaviour of a good server: one candidate, in pieces."""

    async def behaviour(exchange: Exchange) -> None:
        await exchange.start()
        for text in texts:
            await exchange.text(text)
        await exchange.text("", finish=finish)
        if usage:
            await exchange.usage(*usage)
        await exchange.end()

    return behaviour


def status(
    code: int, body: object = b"", headers: dict[str, str] | None = None, reason: str = "Whatever"
) -> Behaviour:
    """Return the behaviour that answers with one HTTP status."""

    async def behaviour(exchange: Exchange) -> None:
        await exchange.reply(code, body, headers, reason)

    return behaviour


async def silence(exchange: Exchange) -> None:
    """Accept the request and never answer."""
    await exchange.gone()


async def drip(exchange: Exchange) -> None:
    """Send a piece now and then, for ever, and notice at once when the client has gone."""
    await exchange.start()
    await exchange.text("a")
    watch = asyncio.create_task(exchange.gone())
    while not watch.done():
        with suppress(ConnectionError):
            await exchange.text("b")
        await asyncio.wait({watch}, timeout=0.05)


async def drop(exchange: Exchange) -> None:
    """Read the request and reset the connection."""
    exchange.drop()


class HostileServer:
    """An HTTP server on a free loopback port, for one `async with`.

    Args:
        script: Behaviours for all requests but those for the list of models.
        models: Behaviours for those.
        certificate: Speak TLS with this context.
    """

    def __init__(
        self,
        *script: Behaviour,
        models: Sequence[Behaviour] = (status(200, {"data": [{"id": "first-model"}, {"id": "second"}]}),),
        certificate: ssl.SSLContext | None = None,
    ) -> None:
        self.requests: list[Exchange] = []
        self.model_requests: list[Exchange] = []
        self.connections = 0
        self.port = 0
        self._script = script
        self._models = models
        self._certificate = certificate
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrived = asyncio.Event()

    @property
    def url(self) -> str:
        return f"{'https' if self._certificate else 'http'}://127.0.0.1:{self.port}/v1"

    async def requested(self, count: int = 1) -> None:
        """Return when `count` requests have come, those for models not counted."""
        while len(self.requests) < count:
            self._arrived.clear()
            await self._arrived.wait()

    async def accept_on(self, port: int) -> asyncio.Server:
        """Answer on another port too."""
        return await asyncio.start_server(self._accept, "127.0.0.1", port)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._certificate)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        number = self.connections
        try:
            while await self._serve(reader, writer, number):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()  # The test is over; asyncio would report a task that ends cancelled.
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> bool:
        """Answer one request; return whether the connection can serve another."""
        head = await read_head(reader)
        if head is None:
            # A TLS greeting where none is expected, for one: real servers answer like this.
            writer.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
            return False
        method, target, headers = head
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        exchange = Exchange(method, target, headers, body, number, reader, writer)
        if method == "GET" and target.partition("?")[0].endswith("/models"):
            script, seen = self._models, self.model_requests
        else:
            script, seen = self._script, self.requests
        behaviour = script[min(len(seen), len(script) - 1)]
        seen.append(exchange)
        self._arrived.set()
        try:
            await behaviour(exchange)
        except ConnectionError:
            exchange.leave()
            raise
        return exchange.ended


class ForwardProxy:
    """A forward proxy, for plain requests and CONNECT; every host's name leads to `port` on this machine."""

    def __init__(self, port: int, certificate: ssl.SSLContext | None = None) -> None:
        self.targets: list[str] = []
        self.authorizations: list[str | None] = []
        self.port = 0
        self._upstream = port
        self._certificate = certificate
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._certificate)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        up_writer: asyncio.StreamWriter | None = None
        try:
            head = await read_head(reader)
            if head is None:
                return
            method, target, headers = head
            self.targets.append(f"{method} {target}")
            self.authorizations.append(headers.pop("proxy-authorization", None))
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                path = "/" + target.split("/", 3)[3]
                lines = [
                    f"{method} {path} HTTP/1.1",
                    *(f"{name}: {value}" for name, value in headers.items()),
                ]
                up_writer.write("\r\n".join([*lines, "", ""]).encode())
            await asyncio.gather(_copy(reader, up_writer), _copy(up_reader, writer))
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            for end in (writer, up_writer):
                if end is not None:
                    end.transport.abort()


async def read_head(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str]] | None:
    """Return method, target and headers (lower-case names) of the next request, or None at the end."""
    try:
        first_byte = await reader.readexactly(1)
        if not first_byte.isalpha():
            return None
        text = (first_byte + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
        return None
    first, *lines = text.split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.split(":", 1) for line in lines if line)
    return method, target, {name.lower(): value.strip() for name, value in pairs}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    with suppress(OSError, NotImplementedError):
        writer.write_eof()
