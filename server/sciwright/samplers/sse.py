"""Server-sent events: bytes as they come from the network to the data of each event."""

import re
from collections.abc import AsyncGenerator, AsyncIterator

from sciwright.errors import SamplerError

LONGEST_LINE = 8 * 2**20
_LINE_END = re.compile(rb"\r\n|\n|\r")


async def events(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield the data of each event; comments (keep-alives) and other fields are skipped.

    Lines are split as bytes and only where the format says so. A decoder that splits text at every Unicode
    line break would tear apart JSON that holds U+2028 or U+0085, as generated text may.

    Raises:
        SamplerError: A line is longer than `LONGEST_LINE` bytes.
    """
    data: list[bytes] = []
    async for line in _lines(chunks):
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif line == b"data":
            data.append(b"")
        elif not line and data:
            yield b"\n".join(data)
            data = []
    # Some servers end with a last event that lacks its empty line.
    if data:
        yield b"\n".join(data)


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield complete lines; a last line without an end was cut off and is left out."""
    pending = bytearray()
    at_start = True
    after_return = False
    async for chunk in chunks:
        if after_return:
            chunk = chunk.removeprefix(b"\n")  # The second half of a \r\n that came in two chunks.
            after_return = False
        if not chunk:
            continue
        searched = len(pending)
        pending += chunk
        begin = 0
        for end in _LINE_END.finditer(pending, searched):
            line = bytes(pending[begin : end.start()])
            yield line.removeprefix(b"\xef\xbb\xbf") if at_start else line
            at_start = False
            begin = end.end()
        after_return = chunk.endswith(b"\r")
        del pending[:begin]
        if len(pending) > LONGEST_LINE:
            raise SamplerError("The server sends an event without end", "It is no OpenAI-compatible server")
