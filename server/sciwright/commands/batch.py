"""`sciwright generate --batch -`: JSON lines in, JSON lines out, in order."""

import json
import logging
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import Any

from sciwright import samplers
from sciwright.errors import SciwrightError, UsageError
from sciwright.generation import Done, generate
from sciwright.samplers.protocol import Sampler
from sciwright.settings import Settings
from sciwright.tasks import find_tasks

logger = logging.getLogger(__name__)


async def answers(lines: Iterable[str], settings: Settings) -> AsyncIterator[dict[str, Any]]:
    """Yield one answer for each non-empty line, in order; a case that fails does not stop the others."""
    sampler = samplers.connect(settings)
    try:
        for line in lines:
            if line.strip():
                try:
                    yield await _answer(line, sampler, settings)
                except SciwrightError as error:
                    yield {"code": "", "error": str(error)}
                except Exception as error:  # a fault of ours in one case must not cost the others
                    logger.debug("details", exc_info=error)
                    yield {"code": "", "error": f"Something went wrong inside ({type(error).__name__})"}
    finally:
        await sampler.aclose()


async def _answer(line: str, sampler: Sampler, settings: Settings) -> dict[str, Any]:
    started = time.monotonic()
    text = _prompt(line)
    tasks = find_tasks(text, settings.trigger)
    if not tasks:
        raise UsageError("The prompt has no task comment", f"End it with # {settings.trigger}: ...")
    async with aclosing(generate(text, tasks[-1], sampler, settings)) as events:
        async for event in events:
            if isinstance(event, Done):
                return {
                    "code": event.code,
                    "verdict": event.verdict.tier.label,
                    "candidates": event.candidates,
                    "seconds": round(time.monotonic() - started, 3),
                }
    raise AssertionError("a generation ends with Done or raises")


def _prompt(line: str) -> str:
    try:
        case = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UsageError(f"The line is not JSON ({error})") from None
    if not isinstance(case, dict) or not isinstance(case.get("prompt"), str):
        raise UsageError('The line is not of the form {"prompt": "..."}')
    return str(case["prompt"])
