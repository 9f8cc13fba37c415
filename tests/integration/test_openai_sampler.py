"""The OpenAI-compatible sampler against a real server that misbehaves."""

import asyncio
import contextlib
import logging
import socket
import ssl
import struct
import time
from collections.abc import AsyncGenerator, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import trustme
from support.hostile_server import (
    DONE,
    Behaviour,
    Exchange,
    ForwardProxy,
    HostileServer,
    answer,
    drop,
    silence,
    status,
)

from sciwright.errors import SamplerError
from sciwright.samplers import openai, retry
from sciwright.samplers.failures import Rejected
from sciwright.samplers.openai import OpenAISampler
from sciwright.samplers.protocol import Finished, Message, Preparing, SampleEvent, SampleRequest, Token, Usage

KEY = "sk-canary-0123456789abcdef"
PROMPT = "# Task: plot the canary spectrum of sample XQ-17 against the wavelength"
REQUEST = SampleRequest((Message("system", "You write Python."), Message("user", PROMPT)), seed=11)


@pytest.fixture(autouse=True)
def _quick_and_alone(monkeypatch: pytest.MonkeyPatch) -> None:
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


# What is sent


async def test_the_request() -> None:
    request = SampleRequest(REQUEST.messages, 2, 33, 0.5, 9, ("```", "# Task"))

    async def both(exchange: Exchange) -> None:
        await exchange.start()
        await exchange.text("a", 0, "stop")
        await exchange.text("b", 1, "length")
        await exchange.end()

    events, (sent,) = await events_of(both, request=request)
    assert events == [Token(0, "a"), Finished(0, "stop"), Token(1, "b"), Finished(1, "length")]
    assert (sent.method, sent.target) == ("POST", "/v1/chat/completions")
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.headers["user-agent"].startswith("sciwright/")
    assert sent.json == {
        "model": "small",
        "messages": [{"role": "system", "content": "You write Python."}, {"role": "user", "content": PROMPT}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "n": 2,
        "max_tokens": 33,
        "temperature": 0.5,
        "seed": 9,
        "stop": ["```", "# Task"],
    }


async def test_without_a_key_none_is_sent() -> None:
    async with HostileServer(good) as server, sampler_of(server.url, with_key=False) as sampler:
        assert await all_events(sampler) == GOOD
        assert "authorization" not in server.requests[0].headers


async def test_half_a_surrogate_pair_can_be_sent() -> None:
    events, (sent,) = await events_of(good, request=SampleRequest((Message("user", "a\ud800b"),)))
    assert events == GOOD
    assert sent.json["messages"][0]["content"] == "a\ud800b"


async def test_the_first_listed_model_is_asked_for_once() -> None:
    async with HostileServer(good) as server, sampler_of(server.url, model="") as sampler:
        assert sampler.name == f"127.0.0.1:{server.port}"
        assert without_waiting(await all_events(sampler)) == GOOD
        assert await all_events(sampler) == GOOD
        assert sampler.name == "first-model"
        assert [request.json["model"] for request in server.requests] == ["first-model"] * 2
        assert [request.target for request in server.model_requests] == ["/v1/models"]
        assert server.model_requests[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "body", [{"data": []}, {}, [], b"x", {"data": [{"id": 3}]}, {"data": [{"id": "a\nb"}]}]
)
async def test_a_server_without_models(body: object) -> None:
    async with (
        HostileServer(good, models=[status(200, body)]) as server,
        sampler_of(server.url, model="") as sampler,
    ):
        with pytest.raises(SamplerError, match="lists no models. Set the setting `model`"):
            await all_events(sampler)
        assert server.requests == []


async def test_the_list_of_models_is_asked_for_again_after_a_failure() -> None:
    models = [status(503), drop, status(200, {"data": [{"id": "late"}]})]
    async with HostileServer(good, models=models) as server, sampler_of(server.url, model="") as sampler:
        assert without_waiting(await all_events(sampler)) == GOOD
        assert sampler.name == "late"


# Connections


async def test_one_connection_serves_many_requests_and_aclose_closes_it() -> None:
    async with HostileServer(good) as server, sampler_of(server.url) as sampler:
        for _ in range(3):
            assert await all_events(sampler) == GOOD
        assert server.connections == 1
        await sampler.aclose()
        assert await all_events(sampler) == GOOD
        assert server.connections == 2
        await sampler.aclose()
        await sampler.aclose()


async def test_a_connection_that_died_while_idle() -> None:
    async def close_afterwards(exchange: Exchange) -> None:
        await good(exchange)
        exchange.writer.close()

    async with HostileServer(close_afterwards, good) as server, sampler_of(server.url) as sampler:
        assert await all_events(sampler) == GOOD
        assert without_waiting(await all_events(sampler)) == GOOD


async def test_closing_the_sampler_ends_a_sample_at_work() -> None:
    async def drip(exchange: Exchange) -> None:
        await exchange.start()
        await exchange.text("a")
        await exchange.gone()

    async with HostileServer(drip) as server, sampler_of(server.url) as sampler:
        task = asyncio.create_task(all_events(sampler))
        while not server.requests:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        await sampler.aclose()
        with pytest.raises(SamplerError, match="was closed while it was at work"):
            await asyncio.wait_for(task, 1)


# What is tried again


async def test_busy_then_good_waits_as_long_as_it_is_told() -> None:
    events, requests = await events_of(status(429, headers={"retry-after": "1"}), good)
    assert without_waiting(events) == GOOD
    assert any(isinstance(e, Preparing) and "trying again in 1.0 s" in e.message for e in events)
    assert 0.99 <= requests[1].arrived - requests[0].arrived < 1.5


async def test_retry_after_as_a_date() -> None:
    when = datetime.now(UTC) + timedelta(seconds=2)
    busy = status(503, headers={"retry-after": format_datetime(when, usegmt=True)})
    events, requests = await events_of(busy, good)
    assert without_waiting(events) == GOOD
    assert 0.9 <= requests[1].arrived - requests[0].arrived < 2.5


async def test_a_server_that_asks_for_a_long_wait_is_not_waited_for() -> None:
    begin = time.perf_counter()
    error, requests = await error_of(status(429, headers={"retry-after": "3600"}))
    assert time.perf_counter() - begin < 1
    assert len(requests) == 1
    assert "asks to wait 3600 s" in str(error)


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
async def test_failing_twice_then_good(code: int) -> None:
    events, requests = await events_of(status(code), status(code), good)
    assert without_waiting(events) == GOOD
    assert len(requests) == 3


async def test_busy_for_ever() -> None:
    error, requests = await error_of(status(503, {"error": {"message": "Loading model"}}))
    assert len(requests) == 4
    assert "is busy (503): Loading model (after 4 attempts)" in str(error)


@pytest.mark.parametrize("code", [400, 401, 402, 403, 404, 405, 413, 501])
async def test_what_waiting_does_not_mend_is_not_tried_again(code: int) -> None:
    error, requests = await error_of(status(code, {"error": "no"}))
    assert f"({code})" in str(error)
    assert len(requests) == (2 if code == 400 else 1)  # 400: once more without the optional fields


async def test_dropped_before_an_answer() -> None:
    events, requests = await events_of(drop, drop, good)
    assert without_waiting(events) == GOOD
    assert len(requests) == 3


async def half_a_stream_without_text(exchange: Exchange) -> None:
    await exchange.start()
    await exchange.text("")
    await exchange.raw(b'data: {"choi')
    exchange.drop()


async def half_a_stream(exchange: Exchange) -> None:
    await exchange.start()
    await exchange.text("x = ")
    await asyncio.sleep(0.05)
    exchange.drop()


async def test_dropped_before_the_first_token_is_tried_again() -> None:
    events, requests = await events_of(half_a_stream_without_text, good)
    assert without_waiting(events) == GOOD
    assert len(requests) == 2


async def test_dropped_after_the_first_token_is_an_error() -> None:
    async with HostileServer(half_a_stream, good) as server, sampler_of(server.url) as sampler:
        events = []
        with pytest.raises(SamplerError, match="dropped the connection in the middle of the answer"):
            async for event in sampler.sample(REQUEST):
                events.append(event)
        assert events == [Token(0, "x = ")]
        assert len(server.requests) == 1


async def test_an_end_without_done_and_without_reason() -> None:
    async def empty(exchange: Exchange) -> None:
        await exchange.start()
        await exchange.end(done=False)

    async def cut(exchange: Exchange) -> None:
        await exchange.start()
        await exchange.text("x = ")
        await exchange.end(done=False)

    events, _ = await events_of(empty, good)
    assert without_waiting(events) == GOOD
    error, requests = await error_of(cut, good)
    assert "broke off in the middle of the answer" in str(error)
    assert len(requests) == 1


async def test_silence_before_the_first_token_is_tried_again() -> None:
    async def headers_only(exchange: Exchange) -> None:
        await exchange.start()
        await exchange.gone()

    events, requests = await events_of(silence, headers_only, good, read_timeout=0.2)
    assert without_waiting(events) == GOOD
    assert all(request.disconnected for request in requests[:2])


async def test_silence_for_ever() -> None:
    error, requests = await error_of(silence, read_timeout=0.2)
    assert len(requests) == 4
    assert "was silent for 0.2 s (after 4 attempts)" in str(error)
    assert "read_timeout" in str(error)


async def test_silence_after_the_first_token() -> None:
    async def stall(exchange: Exchange) -> None:
        await exchange.start()
        await exchange.text("x = ")
        await exchange.gone()

    error, requests = await error_of(stall, good, read_timeout=0.2)
    assert "was silent for 0.2 s in the middle of the answer" in str(error)
    assert len(requests) == 1


async def test_keep_alive_comments_are_no_silence() -> None:
    async def slow(exchange: Exchange) -> None:
        await exchange.start()
        for _ in range(6):
            await exchange.raw(b": ping\r\n\r\n")
            await asyncio.sleep(0.1)
        await exchange.text("x = ")
        await exchange.raw(b": ping\n")
        await exchange.text("1", finish="stop")
        await exchange.usage(7, 3)
        await exchange.end()

    events, requests = await events_of(slow, read_timeout=0.3)
    assert events == GOOD
    assert len(requests) == 1


# What cannot be mended by trying again


async def test_nothing_answers() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]  # bound, but nobody listens
        async with sampler_of(f"http://127.0.0.1:{port}/v1") as sampler:
            with pytest.raises(SamplerError, match=f"Nothing answers at 127.0.0.1:{port} .after 4 attempts"):
                await all_events(sampler)


async def test_a_server_that_starts_late_is_reached() -> None:
    async with HostileServer(good) as server:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
        async with sampler_of(f"http://127.0.0.1:{port}/v1") as sampler:
            late: asyncio.Server | None = None
            events = []
            async for event in sampler.sample(REQUEST):
                events.append(event)
                if late is None:
                    late = await asyncio.start_server(server._accept, "127.0.0.1", port)
            assert late is not None
            late.close()
        assert isinstance(events[0], Preparing)
        assert without_waiting(events) == GOOD


async def test_never_accepted() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        # Fill the queue of connections that nobody accepts: Linux drops what comes after.
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        await asyncio.sleep(0.1)
        sampler = OpenAISampler(
            f"http://127.0.0.1:{full.getsockname()[1]}/v1", model="m", connect_timeout=0.3
        )
        with pytest.raises(SamplerError, match=r"No connection to 127.0.0.1:\d+ within 0.3 s"):
            await all_events(sampler)
        await sampler.aclose()
        for one in waiting:
            one.close()


async def test_unknown_host() -> None:
    async with sampler_of("http://no-such-host.invalid/v1") as sampler:
        with pytest.raises(SamplerError, match="name of no-such-host.invalid:80 cannot be resolved"):
            await all_events(sampler)


@pytest.mark.parametrize(
    "url", ["localhost:8000/v1", "http://exa mple/v1", "http://[::1/v1", "http://*\u0000/v1"]
)
async def test_an_address_that_is_none(url: str) -> None:
    async with sampler_of(url) as sampler:
        with pytest.raises(SamplerError, match="`endpoint`"):
            await all_events(sampler)


async def test_wrong_key() -> None:
    error, requests = await error_of(
        status(401, {"error": {"message": f"Incorrect API key provided: {KEY}"}})
    )
    assert len(requests) == 1
    assert "refuses the key (401)" in str(error)
    assert "`api_key_env`" in str(error)
    assert "`api_key_command`" in str(error)
    assert KEY not in str(error)


async def test_no_key_where_one_is_wanted() -> None:
    async with HostileServer(status(401)) as server, sampler_of(server.url, with_key=False) as sampler:
        with pytest.raises(SamplerError, match="wants a key"):
            await all_events(sampler)


async def test_a_key_that_cannot_be_sent_is_not_sent() -> None:
    async def bad_key() -> str:
        return f"{KEY}\r\nX-Injected: 1"

    async with HostileServer(good) as server:
        sampler = OpenAISampler(server.url, model="m", key=bad_key)
        with pytest.raises(SamplerError, match="not usable") as caught:
            await all_events(sampler)
        assert KEY not in str(caught.value)
        assert server.connections == 0


async def test_wrong_address_or_model() -> None:
    error, _ = await error_of(status(404, {"error": {"message": "model 'small' not found"}}))
    assert "'small'" in str(error)
    assert "ends with /v1" in str(error)


async def test_a_redirect_is_not_followed() -> None:
    async with HostileServer(good) as other:
        error, _ = await error_of(status(307, headers={"location": f"{other.url}/chat/completions"}))
        assert "elsewhere (307)" in str(error)
        assert other.requests == []


async def test_a_web_page() -> None:
    page = status(200, b"<html>Welcome to the hotel's network", {"content-type": "text/html"})
    error, requests = await error_of(page)
    assert "web page instead of an event stream" in str(error)
    assert "hotel" not in str(error)
    assert len(requests) == 1


async def test_an_answer_that_is_not_streamed() -> None:
    error, _ = await error_of(status(200, {"choices": [{"message": {"content": "x"}}]}))
    assert "without an event stream" in str(error)


async def test_invalid_json_in_the_stream() -> None:
    async def broken(exchange: Exchange) -> None:
        await exchange.start()
        await exchange.event('{"choices": [')
        await exchange.end()

    error, requests = await error_of(broken)
    assert "no JSON chunk" in str(error)
    assert len(requests) == 1


async def test_no_http_at_all() -> None:
    async def noise(exchange: Exchange) -> None:
        await exchange.send(b"\x15\x03\x01\x00\x02\x02\x16 SSH-2.0 hello\r\n\r\n")
        exchange.writer.close()

    error, _ = await error_of(noise)
    assert "dropped the connection" in str(error)


async def test_content_filter() -> None:
    async def filtered(exchange: Exchange) -> None:
        await exchange.start()
        await exchange.text("x = ")
        await exchange.text("", finish="content_filter")
        await exchange.end()

    error, _ = await error_of(filtered)
    assert "finish_reason: content_filter" in str(error)


async def test_an_error_in_the_stream() -> None:
    async def failing(exchange: Exchange) -> None:
        await exchange.start()
        await exchange.event({"error": {"message": "slot 3 died", "code": 500}})
        await exchange.end()

    error, _ = await error_of(failing)
    assert "with an error: slot 3 died" in str(error)


async def test_an_error_page_that_never_ends() -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.send(
            b"HTTP/1.1 418 No\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        while True:
            await exchange.raw(b"z" * 65536)

    begin = time.perf_counter()
    error, (request,) = await error_of(endless)
    assert "(418): zzz" in str(error)
    assert len(str(error)) < 500
    assert time.perf_counter() - begin < 1
    assert request.disconnected


# Odd but good streams


async def test_unicode_split_over_chunks() -> None:
    text = "α = '𝛼' # naïve\u2028λ\x85"

    async def split(exchange: Exchange) -> None:
        await exchange.start()
        data = f'data: {{"choices": [{{"index": 0, "delta": {{"content": "{text}"}}}}]}}\r\n\r\n'.encode()
        for byte in data:
            await exchange.raw(bytes([byte]))
        await exchange.text("", finish="stop")
        await exchange.end()

    events, _ = await events_of(split)
    assert events == [Token(0, text), Finished(0, "stop")]


async def test_an_end_without_done_but_with_a_reason() -> None:
    async def no_done(exchange: Exchange) -> None:
        await exchange.start()
        await exchange.text("x = ")
        await exchange.text("1", finish="stop")
        await exchange.usage(7, 3)
        await exchange.end(done=False)

    assert (await events_of(no_done))[0] == GOOD


@pytest.mark.parametrize("ending", ["drop", "hang", "hang after done"])
async def test_what_happens_after_the_last_token_does_no_harm(
    ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai, "TAIL_SECONDS", 0.3)

    async def odd_end(exchange: Exchange) -> None:
        await exchange.start()
        await exchange.text("x = ")
        await exchange.text("1", finish="stop")
        await exchange.usage(7, 3)
        await asyncio.sleep(0.05)
        if ending == "drop":
            exchange.drop()
        else:
            if ending == "hang after done":
                await exchange.event(DONE)
            await exchange.gone()

    begin = time.perf_counter()
    assert (await events_of(odd_end))[0] == GOOD
    assert time.perf_counter() - begin < 1


async def test_a_flood_of_tokens() -> None:
    async def flood(exchange: Exchange) -> None:
        await exchange.start()
        chunk = b'data: {"choices": [{"index": 0, "delta": {"content": "x"}}]}\n\n'
        for _ in range(200):
            await exchange.raw(chunk * 250)
        await exchange.text("", finish="stop")
        await exchange.end()

    begin = time.perf_counter()
    events, _ = await events_of(flood, request=SampleRequest(REQUEST.messages, max_tokens=50_000))
    assert text_of(events) == "x" * 50_000
    assert time.perf_counter() - begin < 10


async def test_an_endless_flood_is_cut_off_and_the_server_sees_it() -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.start()
        while True:
            await exchange.text("x")

    events, (request,) = await events_of(endless, request=SampleRequest(REQUEST.messages, max_tokens=20))
    assert events[-1] == Finished(0, "length")
    assert len(events) < 400
    assert request.disconnected


# Several candidates


async def test_interleaved_candidates_with_a_usage_chunk_for_each() -> None:
    async def batch(exchange: Exchange) -> None:
        assert exchange.json["n"] == 3
        await exchange.start()
        for piece in "ab":
            for index in (2, 0, 1):
                await exchange.text(f"{piece}{index}", index)
        await exchange.text("", 1, "length")
        await exchange.usage(7, 2)
        await exchange.text("c0", 0, "stop")
        await exchange.usage(7, 3)
        await exchange.text("", 2, "stop")
        await exchange.usage(7, 2)
        await exchange.end()

    events, requests = await events_of(batch, request=candidates(3))
    assert [text_of(events, i) for i in range(3)] == ["a0b0c0", "a1b1", "a2b2"]
    assert [e for e in events if isinstance(e, Finished)] == [
        Finished(1, "length"),
        Finished(0, "stop"),
        Finished(2, "stop"),
    ]
    assert events[-1] == Usage(7, 7)
    assert sum(isinstance(e, Usage) for e in events) == 1
    assert len(requests) == 1


async def one_for_each_seed(exchange: Exchange) -> None:
    await answer(f"seed {exchange.json.get('seed')}", usage=(7, 2))(exchange)


async def test_a_server_that_ignores_n_is_asked_for_the_missing_ones() -> None:
    async with HostileServer(one_for_each_seed) as server, sampler_of(server.url) as sampler:
        for first_time in (True, False):
            server.requests.clear()
            events = await all_events(sampler, candidates(4))
            assert [text_of(events, i) for i in range(4)] == [f"seed {11 + i}" for i in range(4)]
            assert sorted(e.candidate for e in events if isinstance(e, Finished)) == [0, 1, 2, 3]
            assert events[-1] == Usage(28, 8)
            assert sum(isinstance(e, Usage) for e in events) == 1
            # What was learned is remembered.
            assert [r.json.get("n") for r in server.requests] == [4 if first_time else None, None, None, None]


async def test_missing_candidates_are_drawn_side_by_side_but_not_all_at_once() -> None:
    at_work = most = 0

    async def slow(exchange: Exchange) -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0.1)
        at_work -= 1
        await one_for_each_seed(exchange)

    begin = time.perf_counter()
    events, requests = await events_of(slow, request=candidates(17))
    assert len(requests) == 17
    assert sorted(e.candidate for e in events if isinstance(e, Finished)) == list(range(17))
    assert most == openai.PARALLEL_REQUESTS
    assert 0.3 <= time.perf_counter() - begin < 1.0


async def test_one_of_the_missing_candidates_fails() -> None:
    async def fail_second(exchange: Exchange) -> None:
        if exchange.json["seed"] == 12:
            await exchange.reply(404)
        elif exchange.json["seed"] == 11:
            await one_for_each_seed(exchange)
        else:
            await exchange.start()
            await exchange.text("a")
            await exchange.gone()

    async with HostileServer(fail_second) as server, sampler_of(server.url) as sampler:
        with pytest.raises(SamplerError, match="404"):
            await all_events(sampler, candidates(4))
        await asyncio.sleep(0.2)
        started = [r for r in server.requests if r.json["seed"] > 12]
        assert all(r.disconnected for r in started)


async def test_each_missing_candidate_is_tried_again_by_itself() -> None:
    failed = set()

    async def flaky(exchange: Exchange) -> None:
        seed = exchange.json["seed"]
        if seed not in failed:
            failed.add(seed)
            await exchange.reply(503)
        else:
            await one_for_each_seed(exchange)

    events, requests = await events_of(flaky, request=candidates(3))
    assert [text_of(events, i) for i in range(3)] == ["seed 11", "seed 12", "seed 13"]
    assert len(requests) == 6


def rejecting(*names: str, code: int = 400, tell: bool = True) -> Behaviour:
    """Return a server that accepts no request with one of these fields and names the first it meets."""

    async def behaviour(exchange: Exchange) -> None:
        for name in names:
            if name in exchange.json:
                message = f"Unsupported parameter: '{name}'" if tell else "Bad request"
                await exchange.reply(code, {"error": {"message": message}})
                return
        await one_for_each_seed(exchange)

    return behaviour


@pytest.mark.parametrize(
    ("names", "code", "tell", "first"),
    [
        (("seed",), 400, True, 2),
        (("stream_options",), 422, True, 2),
        (("stream_options", "seed"), 422, True, 3),
        (("stream_options", "seed"), 400, False, 2),
    ],
)
async def test_optional_fields_that_are_rejected(
    names: tuple[str, ...], code: int, tell: bool, first: int
) -> None:
    behaviour = rejecting(*names, code=code, tell=tell)
    async with HostileServer(behaviour) as server, sampler_of(server.url) as sampler:
        expected = "seed None" if "seed" in names else "seed 11"
        for requests in (first, first + 1):  # The second call has learned from the first.
            events = await all_events(sampler)
            assert text_of(events) == expected
            assert len(server.requests) == requests
        left = server.requests[-1].json
        assert not set(names) & set(left)
        if tell:
            assert {"seed", "stream_options"} - set(names) <= set(left)


async def test_n_rejected() -> None:
    async with HostileServer(rejecting("n")) as server, sampler_of(server.url) as sampler:
        events = await all_events(sampler, candidates(3))
        assert [text_of(events, i) for i in range(3)] == ["seed 11", "seed 12", "seed 13"]
        assert [r.json.get("n") for r in server.requests] == [3, None, None, None]


async def test_a_request_that_is_wrong_anyway_teaches_nothing() -> None:
    too_long = status(400, {"error": {"message": "the request exceeds the context size"}})
    async with HostileServer(too_long, too_long, good) as server, sampler_of(server.url) as sampler:
        with pytest.raises(Rejected, match="exceeds the context size"):
            await all_events(sampler)
        assert await all_events(sampler) == GOOD
        assert [("seed" in r.json, "stream_options" in r.json) for r in server.requests] == [
            (True, True),
            (False, False),
            (True, True),
        ]


# Cancelling


async def drip(exchange: Exchange) -> None:
    await exchange.start()
    await exchange.text("a")
    watch = asyncio.create_task(exchange.gone())
    while not watch.done():
        with contextlib.suppress(ConnectionError):
            await exchange.text("b")
        await asyncio.wait({watch}, timeout=0.05)


async def gone_within(request: Exchange, begin: float, seconds: float = 0.2) -> None:
    while request.disconnected is None and time.perf_counter() < begin + 2:
        await asyncio.sleep(0.005)
    assert request.disconnected is not None
    assert request.disconnected - begin < seconds


async def test_closing_the_generator_disconnects() -> None:
    async with HostileServer(drip) as server, sampler_of(server.url) as sampler:
        events = sampler.sample(REQUEST)
        assert await anext(events) == Token(0, "a")
        begin = time.perf_counter()
        await events.aclose()
        await gone_within(server.requests[0], begin)


@pytest.mark.parametrize("behaviour", [drip, silence])
async def test_cancelling_the_task_disconnects(behaviour: Behaviour) -> None:
    async with HostileServer(behaviour) as server, sampler_of(server.url) as sampler:
        task = asyncio.create_task(all_events(sampler))
        while not server.requests:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        begin = time.perf_counter()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await gone_within(server.requests[0], begin)


@pytest.mark.parametrize("how", ["close", "cancel"])
async def test_stopping_disconnects_every_candidate(how: str) -> None:
    async def first_good(exchange: Exchange) -> None:
        await (one_for_each_seed if exchange.json["seed"] == 11 else drip)(exchange)

    async with HostileServer(first_good) as server, sampler_of(server.url) as sampler:
        events = sampler.sample(candidates(4))
        seen: set[int] = set()

        async def read() -> None:
            async for event in events:
                if isinstance(event, Token):
                    seen.add(event.candidate)
                if how == "close" and len(seen) == 4:
                    return

        task = asyncio.create_task(read())
        while len(seen) < 4:
            await asyncio.sleep(0.01)
        begin = time.perf_counter()
        if how == "cancel":
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await events.aclose()
        for request in server.requests[1:]:
            await gone_within(request, begin)
        assert len(server.requests) == 4


async def test_cancelling_while_waiting_for_the_next_attempt() -> None:
    async with (
        HostileServer(status(503, headers={"retry-after": "30"})) as server,
        sampler_of(server.url) as sampler,
    ):
        task = asyncio.create_task(all_events(sampler))
        while not server.requests:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        begin = time.perf_counter()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.perf_counter() - begin < 0.2
        await asyncio.sleep(0.1)
        assert len(server.requests) == 1


# Proxies and certificates


async def test_a_proxy_is_used_and_no_proxy_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with HostileServer(good) as server, ForwardProxy(server.port) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:{KEY}@127.0.0.1:{proxy.port}")
        async with sampler_of("http://model.invalid/v1") as sampler:
            assert await all_events(sampler) == GOOD
        assert proxy.targets == ["POST http://model.invalid/v1/chat/completions"]
        assert proxy.authorizations[0] is not None
        assert server.requests[0].headers["host"] == "model.invalid"

        async with sampler_of(server.url) as sampler:
            assert await all_events(sampler) == GOOD
        assert len(proxy.targets) == 1  # loopback never goes through it

        monkeypatch.setenv("NO_PROXY", "other.example,model.invalid")
        async with sampler_of("http://model.invalid/v1") as sampler:
            with pytest.raises(SamplerError, match="name of model.invalid:80 cannot be resolved"):
                await all_events(sampler)
        assert len(proxy.targets) == 1


async def test_a_proxy_that_is_down_or_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("ALL_PROXY", f"http://me:{KEY}@{address}")
        async with sampler_of("http://model.invalid/v1") as sampler:
            with pytest.raises(SamplerError, match=f"Nothing answers at the proxy {address}") as caught:
                await all_events(sampler)
            assert KEY not in str(caught.value)
    async with HostileServer(status(407, reason=f"no {KEY}")) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy.port}")
        for scheme, problem in (("http", "wants a user name"), ("https", "does not let the request")):
            async with sampler_of(f"{scheme}://model.invalid/v1") as sampler:
                with pytest.raises(SamplerError, match=problem) as caught:
                    await all_events(sampler)
                assert f"127.0.0.1:{proxy.port}" in str(caught.value)
                assert KEY not in str(caught.value)


@pytest.mark.parametrize("proxy", ["gopher://x:1", "http://x:port", "http://"])
async def test_a_proxy_address_that_is_none(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    async with sampler_of("http://model.invalid/v1") as sampler:
        with pytest.raises(SamplerError, match="proxy"):
            await all_events(sampler)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def certificate(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "model.invalid").configure_cert(context)
    return context


@pytest.fixture
def issuer_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "issuer.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


async def test_system_certificates(
    certificate: ssl.SSLContext, issuer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with HostileServer(good, certificate=certificate) as server:
        async with sampler_of(server.url) as sampler:
            with pytest.raises(SamplerError, match="certificate of 127.0.0.1:.* is not trusted") as caught:
                await all_events(sampler)
            assert "SSL_CERT_FILE" in str(caught.value)
        assert server.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(issuer_file))
        async with sampler_of(server.url) as sampler:
            assert await all_events(sampler) == GOOD


async def test_a_certificate_for_another_host(
    certificate: ssl.SSLContext, issuer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(issuer_file))
    async with (
        HostileServer(good, certificate=certificate) as server,
        sampler_of(f"https://localhost:{server.port}/v1") as sampler,
    ):
        with pytest.raises(SamplerError, match="is not trusted .Hostname mismatch"):
            await all_events(sampler)


async def test_tls_through_a_proxy(
    certificate: ssl.SSLContext, issuer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(issuer_file))
    async with HostileServer(good, certificate=certificate) as server, ForwardProxy(server.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        async with sampler_of("https://model.invalid/v1") as sampler:
            assert await all_events(sampler) == GOOD
        assert proxy.targets == ["CONNECT model.invalid:443"]


async def test_closing_disconnects_over_tls_too(
    certificate: ssl.SSLContext, issuer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(issuer_file))
    async with HostileServer(drip, certificate=certificate) as server, sampler_of(server.url) as sampler:
        events = sampler.sample(REQUEST)
        assert await anext(events) == Token(0, "a")
        begin = time.perf_counter()
        await events.aclose()
        await gone_within(server.requests[0], begin)


async def test_tls_to_a_server_without_it() -> None:
    async with HostileServer(good) as server, sampler_of(server.url.replace("http:", "https:")) as sampler:
        with pytest.raises(SamplerError, match="begins with http://"):
            await all_events(sampler)


# Secrets


@pytest.fixture
def every_log_record(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.DEBUG, "sciwright")
    yield caplog


async def test_no_secret_in_logs_and_errors(every_log_record: pytest.LogCaptureFixture) -> None:
    echo = {"error": {"message": f"you sent {KEY} and {PROMPT}"}}

    async def echo_in_stream(exchange: Exchange) -> None:
        await exchange.start()
        await exchange.event(echo)
        await exchange.end()

    async def echo_everything(exchange: Exchange) -> None:
        await exchange.reply(418, str(exchange).encode() + exchange.body)

    async def reset(exchange: Exchange) -> None:
        linger = struct.pack("ii", 1, 0)
        exchange.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        exchange.drop()

    scripts: list[Behaviour] = [
        *(
            status(code, echo, {"x-echo": KEY}, reason=KEY)
            for code in (302, 400, 401, 403, 404, 407, 422, 429, 500)
        ),
        status(200, echo),
        status(200, f"<html>{KEY}{PROMPT}".encode(), {"content-type": "text/html"}),
        echo_in_stream,
        echo_everything,
        half_a_stream,
        silence,
        reset,
        good,
    ]
    shown = []
    for behaviour in scripts:
        async with HostileServer(behaviour) as server:
            url = server.url.replace("//", f"//me:{KEY}@") + f"?token={KEY}"
            async with sampler_of(url, read_timeout=0.1) as sampler:
                try:
                    for event in await all_events(sampler):
                        shown.append(str(event))
                except SamplerError as error:
                    # What a traceback would print: the error and what it was raised from.
                    chain: BaseException | None = error
                    while chain is not None:
                        shown.append(f"{chain} {chain!r}")
                        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
                shown.append(sampler.name)
            assert f"token={KEY}" in server.requests[0].target
    assert len(shown) > 2 * len(scripts) - 2
    assert any(record.name.startswith("sciwright") for record in every_log_record.records)
    shown += [f"{record.getMessage()} {record.args}" for record in every_log_record.records]
    for text in shown:
        assert KEY not in text
        assert KEY[3:] not in text
        assert "canary spectrum" not in text


async def test_user_name_and_password_in_the_address_are_sent_without_a_key() -> None:
    async with HostileServer(good) as server:
        url = server.url.replace("//", "//me:secret@")
        async with sampler_of(url, with_key=False) as sampler:
            assert await all_events(sampler) == GOOD
        async with sampler_of(url) as sampler:
            assert await all_events(sampler) == GOOD
        sent = [request.headers["authorization"].split(" ")[0] for request in server.requests]
        assert sent == ["Basic", "Bearer"]
