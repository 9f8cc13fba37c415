"""The sampler for every OpenAI-compatible server: llama.cpp, vLLM, Ollama, hosted services."""

import asyncio
import importlib
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from sciwright.errors import SamplerError
from sciwright.samplers import failures, retry, sse, transport
from sciwright.samplers.chat_stream import ChatStream
from sciwright.samplers.keys import checked_key
from sciwright.samplers.merge import merged
from sciwright.samplers.protocol import Finished, Preparing, SampleEvent, SampleRequest, Token, Usage

if TYPE_CHECKING:
    import httpx

PARALLEL_REQUESTS = 8
LONGEST_LIST = 2**20
# Seconds for what follows the last token (usage, [DONE]), and for the end of the body after [DONE]. A body
# that was read to its end leaves the connection open for the next request.
TAIL_SECONDS = 2.0
DRAIN_SECONDS = 0.1

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Call:
    """What the requests of one `sample` share."""

    request: SampleRequest
    client: "httpx.AsyncClient"
    link: failures.Link
    key: str | None


class OpenAISampler:
    """Samples from an OpenAI-compatible server.

    All candidates are asked for in one request (`n`). A server that answers with fewer gets a request for
    each missing candidate, with the seed raised by the candidate's index and a few at once; that it ignores
    `n` is remembered. So is that it rejects `n`, `seed` or `stream_options`, which are left out from then on.

    A request that fails before its first token is tried again where that may help (see `retry`).

    Args:
        base_url: With its /v1. A user name and password in it are sent unless there is a key, never shown.
        model: Name of the model; "" takes the first that the server lists.
        key: Asked for the key once for each call of `sample`; remembering it is its own affair.
        connect_timeout: Seconds to wait for a connection.
        read_timeout: Seconds of silence after which a request fails.
    """

    def __init__(
        self,
        base_url: str,
        *,
        model: str = "",
        key: Callable[[], Awaitable[str | None]] | None = None,
        connect_timeout: float = 10.0,
        read_timeout: float = 60.0,
    ) -> None:
        self._base_url = base_url
        self._model = model
        self._key = key
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._client: httpx.AsyncClient | None = None
        self._proxy = ""
        self._refused: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The model's name; before the server was asked for it, the server's address."""
        if self._model:
            return self._model
        with suppress(SamplerError):
            return transport.Endpoint.parse(self._base_url).address
        return ""

    async def sample(self, request: SampleRequest) -> AsyncGenerator[SampleEvent, None]:
        """Yield the events of one request; `Usage` comes last and adds up all requests that it took.

        Raises:
            SamplerError: The server cannot be reached, answers with an error, or breaks its answer off.
        """
        call = await self._call(request)
        if not self._model:
            async with aclosing(self._retrying(call, self._list_models)) as events:
                async for event in events:
                    yield event
        call = replace(call, link=replace(call.link, model=self._model))

        finished: set[int] = set()
        usages: list[Usage] = []
        requests = 0
        missing = list(range(request.candidates))
        while missing:
            if requests == 0 and "n" not in self._refused:
                streams = [self._draw(call, 0, request.candidates)]
            else:
                places = asyncio.Semaphore(PARALLEL_REQUESTS)
                streams = [self._draw(call, index, 1, places) for index in missing]
            requests += len(streams)
            async with aclosing(merged(streams)) as events:
                async for event in events:
                    if isinstance(event, Usage):
                        usages.append(event)
                        continue
                    if isinstance(event, Finished):
                        finished.add(event.candidate)
                    yield event
            missing = [index for index in missing if index not in finished]
            if missing and finished == {0}:
                self._refused |= {"n"}
        if len(usages) == requests:
            yield Usage(sum(u.prompt_tokens for u in usages), sum(u.completion_tokens for u in usages))

    async def aclose(self) -> None:
        """Close the connections; the next `sample` opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _call(self, request: SampleRequest) -> _Call:
        endpoint = transport.Endpoint.parse(self._base_url)
        key = await self._key() if self._key else None
        if key:
            checked_key(key, "the key's source")
        client = await self._connected(endpoint)
        secrets = tuple(secret for secret in (key, *(endpoint.login or ()), endpoint.query) if secret)
        link = failures.Link(
            address=endpoint.address,
            proxy=self._proxy,
            model=self._model,
            has_key=bool(key or endpoint.login),
            connect_timeout=self._connect_timeout,
            read_timeout=self._read_timeout,
            secrets=secrets,
            prompts=tuple(message.content for message in request.messages),
        )
        return _Call(request, client, link, key)

    async def _connected(self, endpoint: transport.Endpoint) -> "httpx.AsyncClient":
        if self._client is None:
            # The import takes a few tenths of a second: the editor's loop must not stand still meanwhile.
            await asyncio.to_thread(importlib.import_module, "httpx")
            for name in ("httpx", "httpcore"):
                # They log each URL at INFO; a URL may hold a key.
                logger = logging.getLogger(name)
                logger.setLevel(max(logger.level, logging.WARNING))
        if self._client is None:
            proxy = transport.proxy_for(endpoint)
            self._client = transport.new_client(endpoint, proxy, self._connect_timeout, self._read_timeout)
            self._proxy = transport.shown_proxy(proxy)
        return self._client

    async def _draw(
        self, call: _Call, first: int, candidates: int, places: asyncio.Semaphore | None = None
    ) -> AsyncGenerator[SampleEvent, None]:
        """Yield the candidates from `first` on, leaving out optional fields that the server rejects."""
        async with places or asyncio.Semaphore():
            refused = self._refused
            while True:
                attempt = partial(self._post, first=first, candidates=candidates, refused=refused)
                try:
                    async with aclosing(self._retrying(call, attempt)) as events:
                        async for event in events:
                            yield event
                    return
                except failures.Rejected as failure:
                    dropped = (failure.fields or failures.OPTIONAL_FIELDS) - refused
                    if not dropped:
                        raise
                    refused |= dropped

    async def _retrying(
        self, call: _Call, attempt: Callable[[_Call], AsyncGenerator[SampleEvent, None]]
    ) -> AsyncGenerator[SampleEvent, None]:
        """Yield the events of the first attempt that gets as far as a token, and what it waits for before."""
        number = 1
        while True:
            began = False
            try:
                async with aclosing(attempt(call)) as events:
                    async for event in events:
                        began = began or isinstance(event, Token | Finished)
                        yield event
                return
            except retry.Transient as failure:
                if began:
                    raise SamplerError(
                        f"{failure.problem} in the middle of the answer", "Try again"
                    ) from None
                seconds = retry.delay(failure, number)
                problem = failure.problem
            log.debug("attempt %d of %d: %s", number, retry.ATTEMPTS, problem)
            yield Preparing(f"{problem}; trying again in {seconds:.1f} s")
            await asyncio.sleep(seconds)
            number += 1

    async def _list_models(self, call: _Call) -> AsyncGenerator[SampleEvent, None]:
        """Take the first model that the server lists."""
        yield Preparing(f"asking {call.link.address} for its models")
        async with self._exchange(call, "GET", "/models") as response:
            body = bytearray()
            await transport.read_body(response, body, LONGEST_LIST)
        try:
            model = json.loads(body)["data"][0]["id"]
            if not isinstance(model, str) or not model.isprintable() or not 0 < len(model) < 200:
                raise TypeError
        except (ValueError, LookupError, TypeError, RecursionError):
            raise SamplerError(
                f"{call.link.address} lists no models", f"Set the setting `model`. {failures.URL_MEND}"
            ) from None
        self._model = self._model or model

    async def _post(
        self, call: _Call, first: int, candidates: int, refused: frozenset[str]
    ) -> AsyncGenerator[SampleEvent, None]:
        """Yield the events of one request for the candidates from `first` on."""
        request = call.request
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": message.role, "content": message.content} for message in request.messages],
            "stream": True,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed + first,
            "stream_options": {"include_usage": True},
        }
        if candidates > 1:
            body["n"] = candidates
        if request.stop:
            body["stop"] = list(request.stop)
        for name in refused:
            body.pop(name, None)
        stream = ChatStream(candidates, request.max_tokens, call.link.quote)
        async with self._exchange(call, "POST", "/chat/completions", body) as response:
            self._refused |= refused
            content_type = response.headers.get("content-type", "").lower()
            if not content_type.startswith("text/event-stream"):
                raise failures.wrong_type(call.link, content_type, await transport.read_error_body(response))
            async with aclosing(sse.events(response.aiter_bytes())) as events:
                async for data in events:
                    for event in stream.feed(data):
                        yield _moved(event, first)
                    if stream.complete or stream.done:
                        await _read_tail(events, stream)
                        break
        for event in stream.end():
            yield _moved(event, first)

    @asynccontextmanager
    async def _exchange(
        self, call: _Call, method: str, path: str, body: object = None
    ) -> AsyncIterator["httpx.Response"]:
        """Send a request and give its answer; what goes wrong, in the body too, becomes a SamplerError."""
        import httpx

        endpoint = transport.Endpoint.parse(self._base_url)
        headers = {"Accept": "text/event-stream" if body else "application/json"}
        if body:
            headers["Content-Type"] = "application/json"
        if call.key:
            headers["Authorization"] = f"Bearer {call.key}"
        try:
            async with call.client.stream(
                method,
                endpoint.url(path),
                # ASCII, so that half a surrogate pair in a buffer is no reason to fail.
                content=json.dumps(body).encode() if body else None,
                headers=headers,
                auth=None if call.key else endpoint.login,
            ) as response:
                if response.status_code != 200:
                    text = await transport.read_error_body(response)
                    raise failures.from_status(call.link, response.status_code, response.headers, text)
                yield response
        except httpx.InvalidURL:
            raise SamplerError(
                "The setting `endpoint` holds an impossible address", failures.URL_MEND
            ) from None
        except (httpx.HTTPError, RuntimeError) as error:
            if call.client.is_closed:
                raise SamplerError("The sampler was closed while it was at work") from None
            if not isinstance(error, httpx.HTTPError):
                raise
            raise failures.from_exception(call.link, error) from None


def _moved(event: SampleEvent, first: int) -> SampleEvent:
    """Return the event with the server's index turned into the request's."""
    return replace(event, candidate=event.candidate + first) if isinstance(event, Token | Finished) else event


async def _read_tail(events: AsyncGenerator[bytes, None], stream: ChatStream) -> None:
    """Read what follows the last token, for a short time; a server that hangs or breaks here does no harm."""
    import httpx

    loop = asyncio.get_running_loop()
    with suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(DRAIN_SECONDS if stream.done else TAIL_SECONDS) as limit:
            async for data in events:
                if not stream.done:
                    stream.feed(data)
                    if stream.done:
                        limit.reschedule(loop.time() + DRAIN_SECONDS)
