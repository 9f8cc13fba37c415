"""The pipeline from a task comment to verified code, as one asynchronous function that yields events.

It knows no editor and no terminal. Closing the generator stops the sampler.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace

from sciwright import prompts
from sciwright.candidates import Candidate, clean
from sciwright.context import Context, gather
from sciwright.errors import SamplerError, UsageError
from sciwright.samplers.protocol import (
    Finished,
    Message,
    Preparing,
    Sampler,
    SampleRequest,
    Token,
    Usage,
)
from sciwright.settings import Settings
from sciwright.tasks import Task
from sciwright.verification import static
from sciwright.verification.verdict import Tier, Verdict

# A candidate proven this far is good enough; the remaining ones are not drawn.
GOOD_ENOUGH = Tier.PARSED


@dataclass(frozen=True, slots=True)
class ContextReady:
    """The prompt is built; nothing has left this process yet."""

    context: Context
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class CandidateReady:
    """A candidate is complete; `number` counts from 0 in the order of drawing."""

    number: int
    candidate: Candidate


@dataclass(frozen=True, slots=True)
class VerdictReady:
    """A candidate has been judged."""

    number: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Done:
    """The best candidate.

    Args:
        code: Its code, from column 0, without a line end after the last line.
        verdict: How far it was proven; never `REJECTED`.
        candidates: How many were drawn.
        usage: Tokens used for all of them, where the sampler tells: not for a batch that was stopped early.
        seconds: Wall-clock time from the start.
    """

    code: str
    verdict: Verdict
    candidates: int
    usage: Usage
    seconds: float


Event = Preparing | ContextReady | Token | CandidateReady | VerdictReady | Done


async def generate(
    text: str, task: Task, sampler: Sampler, settings: Settings
) -> AsyncGenerator[Event, None]:
    """Generate code for `task` of the buffer `text`.

    The first candidate is greedy. Only when it is rejected are the others drawn, in one batch, until one is
    good enough. The best verdict wins; among equals the first.

    Raises:
        UsageError: The task has no text.
        SamplerError: The model cannot be reached, or none of its candidates is usable code.
        ModelError: The weights cannot be had.
    """
    started = time.monotonic()
    if not task.text:
        raise UsageError("The task comment has no text", f"Write what you want after `# {settings.trigger}:`")
    context = await asyncio.to_thread(gather, text, task, settings.context_tokens)
    messages = prompts.build(context.source, task)
    yield ContextReady(context, messages)

    best: tuple[Verdict, Candidate] | None = None
    usage = Usage(0, 0)
    drawn = 0
    for request in _requests(messages, settings):
        if best and best[0].tier >= GOOD_ENOUGH:
            break
        first = drawn
        pieces: dict[int, list[str]] = {}
        async with aclosing(sampler.sample(request)) as events:
            async for event in events:
                if isinstance(event, Token):
                    pieces.setdefault(event.candidate, []).append(event.text)
                    yield replace(event, candidate=first + event.candidate)
                elif isinstance(event, Preparing):
                    yield event
                elif isinstance(event, Usage):
                    usage = usage + event
                elif isinstance(event, Finished):
                    number, drawn = first + event.candidate, drawn + 1
                    text = "".join(pieces.get(event.candidate, []))
                    cut = event.reason == "length"
                    candidate = clean(
                        text,
                        task=task.text,
                        context=context.source,
                        truncated=cut,
                        trigger=settings.trigger,
                    )
                    yield CandidateReady(number, candidate)
                    verdict = static.check(candidate.code, at_top_level=not task.indent)
                    yield VerdictReady(number, verdict)
                    if best is None or verdict.tier > best[0].tier:
                        best = verdict, candidate
                    if verdict.tier >= GOOD_ENOUGH and drawn < first + request.candidates:
                        break  # out of the stream, which stops the others; else its usage is still to come

    if best is None:
        raise SamplerError("The model ended without an answer", "Try again, or another model")
    verdict, candidate = best
    if verdict.tier is Tier.REJECTED:
        tried = "answer is" if drawn == 1 else f"{drawn} answers are"
        raise SamplerError(
            f"The model's {tried} not usable: {verdict.reason}",
            "Say the task in other words, allow more candidates, or choose a stronger model",
        )
    yield Done(candidate.code, verdict, drawn, usage, time.monotonic() - started)


def _requests(messages: tuple[Message, ...], settings: Settings) -> Iterator[SampleRequest]:
    """Yield the greedy request, then one for all the other candidates."""
    greedy = SampleRequest(messages, max_tokens=settings.max_tokens, seed=settings.seed)
    yield greedy
    if settings.candidates > 1:
        yield replace(greedy, candidates=settings.candidates - 1, temperature=settings.temperature)
