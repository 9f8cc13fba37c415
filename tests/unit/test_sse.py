"""Server-sent events, whatever way the network cuts them."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciwright.errors import SamplerError
from sciwright.samplers import sse


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def events(*parts: bytes) -> list[bytes]:
    return [data async for data in sse.events(chunks(*parts))]


async def test_data_comments_and_other_fields() -> None:
    text = b": keep-alive\n\nevent: x\nid: 3\ndata: one\n\ndata:two\n\n\n\nretry: 5\n\ndata\n\n"
    assert await events(text) == [b"one", b"two", b""]


async def test_lines_of_data_belong_together() -> None:
    assert await events(b"data: {\ndata: }\n\n") == [b"{\n}"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
async def test_every_line_end(end: bytes) -> None:
    assert await events(b"data: a" + end + end + b"data: b" + end + end) == [b"a", b"b"]


async def test_an_event_is_not_held_back_by_a_bare_return() -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"data: a\r\r"
        raise AssertionError("more was read before the event was given")

    async for data in sse.events(endless()):
        assert data == b"a"
        break


async def test_unicode_line_breaks_end_no_line() -> None:
    text = "a\u2028b\u2029c\x85d\x0be\x0cf"
    assert await events(f"data: {text}\n\n".encode()) == [text.encode()]


async def test_byte_order_mark() -> None:
    assert await events(b"\xef\xbb", b"\xbfdata: a\n\n") == [b"a"]


async def test_last_event_without_its_empty_line_counts_and_half_a_line_does_not() -> None:
    assert await events(b"data: a\n\ndata: [DONE]\n") == [b"a", b"[DONE]"]
    assert await events(b'data: a\n\ndata: {"choi') == [b"a"]


async def test_endless_line_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "LONGEST_LINE", 100)
    with pytest.raises(SamplerError, match="without end"):
        await events(*[b"data: " + b"x" * 30] * 4)


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", codec="utf-8"))), st.data())
async def test_chunk_borders_do_not_matter(texts: list[str], data: st.DataObject) -> None:
    ends = st.sampled_from(["\n", "\r\n", "\r"])
    whole = "".join(f": c{data.draw(ends)}data: {text}" + 2 * data.draw(ends) for text in texts).encode()
    borders = sorted(data.draw(st.lists(st.integers(0, len(whole)))))
    parts = [whole[a:b] for a, b in zip([0, *borders], [*borders, len(whole)], strict=True)]
    assert await events(*parts) == [text.encode() for text in texts]
