"""The pipeline, with a sampler whose answers and timing are written down."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field

import pytest

from sciwright import generation
from sciwright.errors import SamplerError, UsageError
from sciwright.generation import CandidateReady, ContextReady, Done, Event, VerdictReady, generate
from sciwright.samplers.protocol import Finished, Preparing, SampleEvent, SampleRequest, Token, Usage
from sciwright.settings import Settings
from sciwright.tasks import find_tasks
from sciwright.verification.verdict import Tier

BUFFER = "import numpy as np\nx = np.arange(3)\n# Task: print the mean of x\nbelow = 1\n"
GOOD, BETTER, BAD = "print(x.mean())", "print(np.mean(x))", "print(x.mean("
FOREVER = "forever"  # a server that says no more


@dataclass
class Script:
    """A sampler that answers each request with the next list of events; an exception is raised."""

    answers: list[list[SampleEvent | Exception | str]]
    requests: list[SampleRequest] = field(default_factory=list)
    yielded: list[SampleEvent] = field(default_factory=list)
    closed: int = 0
    name: str = "script"

    async def sample(self, request: SampleRequest) -> AsyncGenerator[SampleEvent, None]:
        self.requests.append(request)
        try:
            for event in self.answers.pop(0):
                await asyncio.sleep(0)
                if isinstance(event, Exception):
                    raise event
                if isinstance(event, str):
                    await asyncio.Event().wait()
                else:
                    self.yielded.append(event)
                    yield event
        finally:
            self.closed += 1

    async def aclose(self) -> None:
        raise AssertionError("the pipeline does not own the sampler")


def answer(text: str, candidate: int = 0, *, cut: bool = False) -> list[SampleEvent | Exception | str]:
    """Return a candidate's tokens, a few characters each, and its end."""
    tokens = [Token(candidate, text[i : i + 7]) for i in range(0, len(text), 7)]
    return [*tokens, Finished(candidate, "length" if cut else "stop")]


async def events_of(sampler: Script, buffer: str = BUFFER, **values: object) -> list[Event]:
    settings, problems = Settings().with_values(values, "the test")
    assert not problems
    return [event async for event in generate(buffer, find_tasks(buffer)[0], sampler, settings)]


def kinds(events: Iterable[object]) -> list[str]:
    """Return the types of events, those in a row once."""
    names = [type(event).__name__ for event in events]
    return [name for i, name in enumerate(names) if i == 0 or names[i - 1] != name]


async def test_the_order_of_events() -> None:
    sampler = Script([[Preparing("fetching", 0.5), *answer(GOOD), Usage(40, 9)]])
    events = await events_of(sampler)
    assert kinds(events) == [
        "ContextReady", "Preparing", "Token", "CandidateReady", "VerdictReady", "Done",
    ]  # fmt: skip
    ready, done = events[0], events[-1]
    assert isinstance(ready, ContextReady)
    assert isinstance(done, Done)
    assert ready.messages[-1].content == "import numpy as np\nx = np.arange(3)\n# Task: print the mean of x"
    assert ready.messages == sampler.requests[0].messages
    assert "".join(event.text for event in events if isinstance(event, Token)) == GOOD
    assert (done.code, done.verdict.tier, done.candidates, done.usage) == (GOOD, Tier.PARSED, 1, Usage(40, 9))
    assert 0 < done.seconds < 5
    assert sampler.closed == 1


async def test_nothing_is_sent_before_the_prompt_was_shown() -> None:
    sampler = Script([answer(GOOD)])
    async with aclosing(generate(BUFFER, find_tasks(BUFFER)[0], sampler, Settings())) as events:
        assert isinstance(await anext(events), ContextReady)
        assert sampler.requests == []


async def test_the_first_candidate_is_greedy_and_enough_if_it_is_good() -> None:
    sampler = Script([answer(GOOD)])
    await events_of(sampler, candidates=8, temperature=0.9, seed=5, max_tokens=77, context_tokens=0)
    (request,) = sampler.requests
    assert (request.candidates, request.temperature, request.seed, request.max_tokens) == (1, 0.0, 5, 77)
    assert request.messages[-1].content == "# Task: print the mean of x"


async def test_the_others_are_drawn_in_one_batch_if_the_first_is_rejected() -> None:
    sampler = Script([[*answer(BAD), Usage(40, 5)], [*answer(BAD, 0), *answer(GOOD, 1), Usage(40, 10)]])
    events = await events_of(sampler, candidates=3, temperature=0.9, seed=5)
    first, second = sampler.requests
    assert (first.candidates, first.temperature) == (1, 0.0)
    assert (second.candidates, second.temperature, second.seed) == (2, 0.9, 5)
    assert first.messages == second.messages
    numbers = [(e.number, e.verdict.tier) for e in events if isinstance(e, VerdictReady)]
    assert numbers == [(0, Tier.REJECTED), (1, Tier.REJECTED), (2, Tier.PARSED)]
    assert {e.candidate for e in events if isinstance(e, Token)} == {0, 1, 2}
    assert [e.number for e in events if isinstance(e, CandidateReady)] == [0, 1, 2]
    done = events[-1]
    assert isinstance(done, Done)
    # The last candidate's usage is waited for, since nothing is left to stop.
    assert (done.code, done.candidates, done.usage) == (GOOD, 3, Usage(80, 15))


async def test_the_first_good_candidate_stops_the_rest_of_its_batch() -> None:
    late = answer(BETTER, 2)
    sampler = Script([answer(BAD), [Token(0, "late"), *answer(GOOD, 1), *late, FOREVER]])
    async with asyncio.timeout(5):
        events = await events_of(sampler, candidates=4)
    done = events[-1]
    assert isinstance(done, Done)
    assert (done.code, done.candidates) == (GOOD, 2)
    assert not set(sampler.yielded) & {*late[:-1]}
    assert sampler.closed == 2


async def test_interleaved_candidates_are_kept_apart() -> None:
    one, two = answer("x = 1\ny = (", 0), answer("y = 2\nz = 3", 1)
    mixed = [event for pair in zip(one, two, strict=True) for event in pair]
    events = await events_of(Script([answer(BAD), mixed]), candidates=3)
    assert isinstance(events[-1], Done)
    assert events[-1].code == "y = 2\nz = 3"
    raw = {e.number: e.candidate.raw for e in events if isinstance(e, CandidateReady)}
    assert raw == {0: BAD, 1: "x = 1\ny = (", 2: "y = 2\nz = 3"}


async def test_the_best_verdict_wins_and_among_equals_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a higher aim, which no static check can reach, all candidates are drawn and compared."""
    monkeypatch.setattr(generation, "GOOD_ENOUGH", Tier.RAN)
    batch = [*answer(BAD, 0), *answer(BETTER, 1), *answer(GOOD, 2), Usage(40, 10)]
    events = await events_of(Script([[*answer("# hm"), Usage(40, 2)], batch]), candidates=4)
    done = events[-1]
    assert isinstance(done, Done)
    assert (done.code, done.candidates, done.usage) == (BETTER, 4, Usage(80, 12))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("I am sorry, but as a language model I cannot do that.", "holds no code"),
        ("", "holds no code"),
        ("pass", "does nothing"),
        ("x = = 1", "line 1: invalid syntax"),
        ("return 1", "'return' outside function"),
    ],
)
async def test_an_answer_without_usable_code_is_an_error_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(SamplerError, match=reason) as caught:
        await events_of(Script([answer(text)]))
    assert str(caught.value).startswith("The model's answer is not usable: ")
    assert caught.value.mend
    with pytest.raises(SamplerError, match="The model's 3 answers are not usable: "):
        await events_of(Script([answer(text), [*answer(BAD, 1), *answer(text, 0)]]), candidates=3)


async def test_inside_a_function_return_is_usable() -> None:
    events = await events_of(Script([answer("return x.mean()")]), "def f(x):\n    # Task: return the mean\n")
    assert isinstance(events[-1], Done)
    assert events[-1].code == "return x.mean()"


async def test_fences_and_prose_are_no_part_of_the_code() -> None:
    events = await events_of(Script([answer(f"Sure! Here it is:\n\n```python\n{GOOD}\n```\nEnjoy!")]))
    assert isinstance(events[-1], Done)
    assert events[-1].code == GOOD


async def test_a_truncated_answer_keeps_its_whole_statements() -> None:
    events = await events_of(Script([answer("a = x.mean()\nb = x.std()\nprint(a, b", cut=True)]))
    (ready,) = (event for event in events if isinstance(event, CandidateReady))
    assert ready.candidate.truncated
    assert isinstance(events[-1], Done)
    assert events[-1].code == "a = x.mean()\nb = x.std()"


async def test_a_truncated_answer_without_a_whole_statement_is_rejected() -> None:
    with pytest.raises(SamplerError, match="not usable"):
        await events_of(Script([answer("print(x.mean(", cut=True)]))


async def test_a_task_without_text_is_wrong_use() -> None:
    for comment in ("# Task:", "# Task:\n#\n# Check: x > 0"):
        sampler = Script([])
        with pytest.raises(UsageError, match="has no text"):
            await events_of(sampler, comment)
        assert sampler.requests == []


async def test_a_sampler_without_an_answer_is_an_error() -> None:
    with pytest.raises(SamplerError, match="without an answer"):
        await events_of(Script([[Token(0, GOOD)], []]), candidates=2)


@pytest.mark.parametrize(
    "answers", [[[SamplerError("no")]], [answer(BAD), [*answer(BAD), SamplerError("no")]]]
)
async def test_an_error_of_the_sampler_comes_through(
    answers: list[list[SampleEvent | Exception | str]],
) -> None:
    sampler = Script(answers)
    with pytest.raises(SamplerError, match="^no$"):
        await events_of(sampler, candidates=3)
    assert sampler.closed == len(sampler.requests)


async def test_closing_the_generation_closes_the_stream_at_once() -> None:
    sampler = Script([[*answer(GOOD)[:-1], FOREVER]])
    events = generate(BUFFER, find_tasks(BUFFER)[0], sampler, Settings())
    async for event in events:
        if isinstance(event, Token):
            break
    assert sampler.closed == 0
    async with asyncio.timeout(5):
        await events.aclose()
    assert sampler.closed == 1
    assert len(sampler.yielded) == 1


async def test_cancelling_the_task_closes_the_stream_of_a_silent_server() -> None:
    sampler = Script([[Token(0, "x"), FOREVER]])
    task = asyncio.create_task(events_of(sampler))
    while not sampler.yielded:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sampler.closed == 1
