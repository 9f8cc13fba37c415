"""Several event streams read at once, as one."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from sciwright.samplers.protocol import SampleEvent

QUEUED_EVENTS = 64


async def merged(streams: Sequence[AsyncGenerator[SampleEvent, None]]) -> AsyncGenerator[SampleEvent, None]:
    """Yield the events of all `streams` as they come; the first failure ends them all.

    Closing the generator closes every stream before it returns.
    """
    if len(streams) == 1:
        async with aclosing(streams[0]) as only:
            async for event in only:
                yield event
        return
    # No TaskGroup: it would cancel the reader's task while that is somewhere else, between two events.
    queue: asyncio.Queue[SampleEvent | Exception | None] = asyncio.Queue(QUEUED_EVENTS)
    tasks = [asyncio.create_task(_pump(stream, queue)) for stream in streams]
    try:
        left = len(tasks)
        while left:
            item = await queue.get()
            if item is None:
                left -= 1
            elif isinstance(item, Exception):
                raise item
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(
    stream: AsyncGenerator[SampleEvent, None], queue: asyncio.Queue[SampleEvent | Exception | None]
) -> None:
    try:
        async with aclosing(stream):
            async for event in stream:
                await queue.put(event)
        await queue.put(None)
    except Exception as error:
        await queue.put(error)
