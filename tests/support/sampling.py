"""Short ways to run the OpenAI-compatible sampler against a `HostileServer`."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import pytest

from sciwright.errors import SamplerError
from sciwright.samplers import retry
from sciwright.samplers.openai import OpenAISampler
from sciwright.samplers.protocol import Finished, Message, Preparing, SampleEvent, SampleRequest, Token, Usage
from support.hostile_server import Behaviour, Exchange, HostileServer, answer

KEY = "sk-canary-0123456789abcdef"
PROMPT = "# Task: plot the canary spectrum of sample XQ-17 against the wavelength"
REQUEST = SampleRequest((Message("system", "You write Python."), Message("user", PROMPT)), seed=11)


def quick_and_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry soon, and without the proxies of this machine."""
    monkeypatch.setattr(retry, "FIRST_DELAY", 0.02)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


async def the_key() -> str:
    return KEY


@contextlib.asynccontextmanager
async def sampler_of(
    url: str, *, model: str = "small", with_key: bool = True, read_timeout: float = 5.0
) -> AsyncGenerator[OpenAISampler, None]:
    key = the_key if with_key else None
    sampler = OpenAISampler(url, model=model, key=key, connect_timeout=2.0, read_timeout=read_timeout)
    try:
        yield sampler
    finally:
        await sampler.aclose()


async def all_events(sampler: OpenAISampler, request: SampleRequest = REQUEST) -> list[SampleEvent]:
    return [event async for event in sampler.sample(request)]


async def events_of(
    *script: Behaviour, request: SampleRequest = REQUEST, read_timeout: float = 5.0
) -> tuple[list[SampleEvent], list[Exchange]]:
    async with HostileServer(*script) as server, sampler_of(server.url, read_timeout=read_timeout) as sampler:
        return await all_events(sampler, request), server.requests


async def error_of(*script: Behaviour, read_timeout: float = 5.0) -> tuple[SamplerError, list[Exchange]]:
    async with HostileServer(*script) as server, sampler_of(server.url, read_timeout=read_timeout) as sampler:
        with pytest.raises(SamplerError) as caught:
            await all_events(sampler)
        return caught.value, server.requests


def candidates(number: int, temperature: float = 0.7) -> SampleRequest:
    return SampleRequest(REQUEST.messages, candidates=number, temperature=temperature, seed=11)


def text_of(events: list[SampleEvent], candidate: int = 0) -> str:
    return "".join(e.text for e in events if isinstance(e, Token) and e.candidate == candidate)


def without_waiting(events: list[SampleEvent]) -> list[SampleEvent]:
    return [event for event in events if not isinstance(event, Preparing)]


GOOD = [Token(0, "x = "), Token(0, "1"), Finished(0, "stop"), Usage(7, 3)]
good = answer("x = ", "1")


async def gone_within(request: Exchange, begin: float, seconds: float = 0.2) -> None:
    """Assert that the server saw the client leave at most `seconds` after `begin`."""
    await asyncio.wait_for(request.left.wait(), 2)
    assert request.disconnected is not None
    assert request.disconnected - begin < seconds
