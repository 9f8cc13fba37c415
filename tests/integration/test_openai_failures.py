"""The OpenAI-compatible sampler against a real server that fails: attempts, error texts, secrets."""

import asyncio
import logging
import socket
import struct
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from sciwright.errors import SamplerError
from sciwright.samplers.openai import OpenAISampler
from sciwright.samplers.protocol import Preparing, Token
from support.hostile_server import (
    Behaviour,
    Exchange,
    HostileServer,
    drop,
    silence,
    status,
)
from support.sampling import (
    GOOD,
    KEY,
    PROMPT,
    REQUEST,
    all_events,
    error_of,
    events_of,
    gone_within,
    good,
    quick_and_alone,
    sampler_of,
    without_waiting,
)


@pytest.fixture(autouse=True)
def _quick_and_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    quick_and_alone(monkeypatch)


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
        events = sampler.sample(REQUEST)
        assert await anext(events) == Token(0, "x = ")
        with pytest.raises(SamplerError, match="dropped the connection in the middle of the answer"):
            await anext(events)
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


async def test_the_model_that_the_server_listed_is_named_in_its_error() -> None:
    async with HostileServer(status(404)) as server, sampler_of(server.url, model="") as sampler:
        with pytest.raises(SamplerError, match="no model 'first-model'"):
            await all_events(sampler)


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

    async with HostileServer(endless) as server, sampler_of(server.url) as sampler:
        begin = time.perf_counter()
        with pytest.raises(SamplerError, match=r"\(418\): zzz") as caught:
            await all_events(sampler)
        assert len(str(caught.value)) < 500
        await gone_within(server.requests[0], begin, 1.0)


# Secrets


@pytest.fixture
def every_log_record(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.DEBUG, "sciwright")
    return caplog


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
