"""The OpenAI-compatible sampler against a real server: requests, streams, candidates, cancelling."""

import asyncio
import contextlib
import time

import pytest

from sciwright.errors import SamplerError
from sciwright.samplers import openai
from sciwright.samplers.failures import Rejected
from sciwright.samplers.protocol import Finished, Message, SampleRequest, Token, Usage
from support.hostile_server import (
    DONE,
    Behaviour,
    Exchange,
    HostileServer,
    answer,
    drip,
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
    candidates,
    events_of,
    gone_within,
    good,
    quick_and_alone,
    sampler_of,
    text_of,
    without_waiting,
)


@pytest.fixture(autouse=True)
def _quick_and_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    quick_and_alone(monkeypatch)


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
        assert server.requests[0].headers["accept-encoding"] == "identity"
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
        with pytest.raises(SamplerError, match=r"lists no models. Set the setting `model`"):
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
        await server.requested()
        await asyncio.sleep(0.05)
        await sampler.aclose()
        with pytest.raises(SamplerError, match="was closed while it was at work"):
            await asyncio.wait_for(task, 1)


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

    async with HostileServer(endless) as server, sampler_of(server.url) as sampler:
        begin = time.perf_counter()
        events = await all_events(sampler, SampleRequest(REQUEST.messages, max_tokens=20))
        assert events[-1] == Finished(0, "length")
        assert len(events) < 400
        await gone_within(server.requests[0], begin, 1.0)


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


async def test_usage_that_is_not_known_for_all_requests_is_not_given() -> None:
    async def sometimes(exchange: Exchange) -> None:
        await answer("a", usage=(7, 2) if exchange.json["seed"] == 11 else None)(exchange)

    events, _ = await events_of(sometimes, request=candidates(2))
    assert not any(isinstance(event, Usage) for event in events)


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
        await server.requested()
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
        all_seen = asyncio.Event()

        async def read() -> None:
            async for event in events:
                if isinstance(event, Token):
                    seen.add(event.candidate)
                if len(seen) == 4:
                    all_seen.set()
                    if how == "close":
                        return

        task = asyncio.create_task(read())
        await all_seen.wait()
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
        await server.requested()
        await asyncio.sleep(0.1)
        begin = time.perf_counter()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.perf_counter() - begin < 0.2
        await asyncio.sleep(0.1)
        assert len(server.requests) == 1
