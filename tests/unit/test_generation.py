"""The pipeline's order, with a sampler whose answers and timing are scripted."""

import asyncio
from contextlib import aclosing

import pytest

from sciwright.errors import SciwrightError, UsageError
from sciwright.generation import CandidateReady, ContextReady, Done, VerdictReady, generate
from sciwright.samplers.protocol import Finished, Token, Usage
from sciwright.settings import Settings
from sciwright.tasks import find_tasks
from sciwright.verification.verdict import Tier

BUFFER = "x = 1\n# Task: double x\n"


class Scripted:
    name = "scripted"

    def __init__(self, *rounds, reason="stop"):
        self.rounds, self.reason = list(rounds), reason
        self.requests, self.closed, self.finished = [], 0, []

    async def sample(self, request):
        self.requests.append(request)
        try:
            for index, text in enumerate(self.rounds.pop(0)):
                for piece in (text[:3], text[3:]):
                    await asyncio.sleep(0)
                    yield Token(index, piece)
                self.finished.append(text)
                yield Finished(index, self.reason)
            yield Usage(10, 5)
        finally:
            self.closed += 1

    async def aclose(self):
        pass


async def run(sampler, text=BUFFER, **settings):
    events = generate(text, find_tasks(text)[0], sampler, Settings(**settings))
    async with aclosing(events):
        return [event async for event in events]


async def test_events_come_in_order():
    sampler = Scripted(["y = 2 * x"])
    events = await run(sampler)
    assert [type(e) for e in events] == [ContextReady, Token, Token, CandidateReady, VerdictReady, Done]
    assert events[0].messages[-1].content == "x = 1\n# Task: double x"
    done = events[-1]
    assert (done.code, done.verdict.tier, done.candidates, done.usage) == (
        "y = 2 * x",
        Tier.PARSED,
        1,
        Usage(10, 5),
    )
    assert sampler.requests[0].temperature == 0


async def test_a_good_first_candidate_is_the_only_one():
    sampler = Scripted(["y = 1"], ["y = 2"])
    await run(sampler, candidates=4)
    assert len(sampler.requests) == 1


async def test_the_first_good_one_stops_the_rest_of_the_batch():
    sampler = Scripted(["def ("], ["nor (", "y = 3", "y = 4"])
    events = await run(sampler, candidates=4)
    assert events[-1].code == "y = 3"
    assert events[-1].candidates == 3
    assert sampler.requests[1].candidates == 3
    assert sampler.requests[1].temperature > 0
    assert "y = 4" not in sampler.finished
    assert sampler.closed == 2


async def test_closing_the_generation_closes_the_sampler():
    sampler = Scripted(["y = 2 * x"])
    events = generate(BUFFER, find_tasks(BUFFER)[0], sampler, Settings())
    async for event in events:
        if isinstance(event, Token):
            break
    await events.aclose()
    assert sampler.closed == 1


@pytest.mark.parametrize("answer", ["", "I am sorry.", "def (", "return 1", "# nothing"])
async def test_nothing_usable(answer):
    with pytest.raises(SciwrightError, match="not usable"):
        await run(Scripted([answer]))


async def test_return_is_fine_inside_a_function():
    events = await run(Scripted(["return 2 * x"]), "def f(x):\n    # Task: double x\n")
    assert events[-1].code == "return 2 * x"


async def test_a_cut_answer_keeps_its_whole_statements():
    events = await run(Scripted(["y = 2\nz = 3 +"], reason="length"))
    assert events[-1].code == "y = 2"


async def test_task_without_text():
    with pytest.raises(UsageError, match="no text"):
        await run(Scripted(), "# Task:\n")
