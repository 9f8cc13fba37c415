"""Chunks of a streamed chat completion, as the known servers send them."""

import json
from typing import Any

import pytest

from sciwright.errors import SamplerError
from sciwright.samplers.chat_stream import ChatStream
from sciwright.samplers.protocol import Finished, SampleEvent, Token, Usage
from sciwright.samplers.retry import Transient


def stream(candidates: int = 1, max_tokens: int = 100) -> ChatStream:
    return ChatStream(candidates, max_tokens, lambda text: f": {text}")


def chunk(text: str | None = None, index: int = 0, finish: str | None = None, **more: Any) -> bytes:
    return json.dumps(
        {"choices": [{"index": index, "delta": {"content": text}, "finish_reason": finish}], **more}
    ).encode()


def usage(prompt: int, completion: int) -> bytes:
    counts = {"prompt_tokens": prompt, "completion_tokens": completion}
    return json.dumps({"choices": [], "usage": counts}).encode()


def run(answer: ChatStream, *data: bytes) -> list[SampleEvent]:
    return [event for item in data for event in answer.feed(item)] + answer.end()


def test_one_candidate() -> None:
    events = run(stream(), chunk(""), chunk("a"), chunk("b", finish="length"), usage(5, 2), b"[DONE]")
    assert events == [Token(0, "a"), Token(0, "b"), Finished(0, "length"), Usage(5, 2)]


def test_usage_of_each_candidate_is_added_up_and_the_prompt_counts_once() -> None:
    answer = stream(2)
    data = [
        chunk("a", 1),
        chunk("b", 0),
        chunk(None, 0, "stop"),
        usage(5, 2),
        chunk(None, 1, "stop"),
        usage(5, 3),
    ]
    assert run(answer, *data)[-1] == Usage(5, 5)


def test_running_usage_counts_once() -> None:
    counts = [{"prompt_tokens": 5, "completion_tokens": n} for n in (1, 2)]
    assert run(stream(), chunk("a", usage=counts[0]), chunk("b", finish="stop", usage=counts[1]))[
        -1
    ] == Usage(5, 2)


def test_final_usage_comes_before_running_usage() -> None:
    running = {"prompt_tokens": 5, "completion_tokens": 1}
    assert run(stream(), chunk("a", finish="stop", usage=running), usage(5, 9))[-1] == Usage(5, 9)


def test_thoughts_are_no_answer() -> None:
    thought = {"choices": [{"index": 0, "delta": {"reasoning_content": "hmm"}}]}
    block = {"choices": [{"index": 0, "delta": {"content": [{"type": "thinking", "thinking": "hmm"}]}}]}
    events = run(
        stream(), json.dumps(thought).encode(), json.dumps(block).encode(), chunk("a", finish="stop")
    )
    assert events == [Token(0, "a"), Finished(0, "stop")]


def test_done_ends_a_candidate_that_gave_no_reason() -> None:
    assert run(stream(), chunk("a"), b"[DONE]") == [Token(0, "a"), Finished(0, "stop")]


def test_neither_done_nor_reason_is_no_answer() -> None:
    with pytest.raises(Transient, match="broke off"):
        run(stream(), chunk("a"))
    with pytest.raises(Transient, match="broke off"):
        run(stream(2), chunk("a", 0, "stop"), chunk("b", 1))
    with pytest.raises(Transient, match="broke off"):
        run(stream())


def test_done_without_a_candidate() -> None:
    with pytest.raises(SamplerError, match="without any candidate"):
        run(stream(), usage(5, 0), b"[DONE]")


@pytest.mark.parametrize("reason", ["content_filter", "tool_calls", "abort"])
def test_other_reasons_are_errors(reason: str) -> None:
    with pytest.raises(SamplerError, match=f"finish_reason: {reason}"):
        run(stream(), chunk("a"), chunk(None, finish=reason))


def test_error_in_the_stream() -> None:
    with pytest.raises(SamplerError, match="with an error: no memory left"):
        run(stream(), chunk("a"), b'{"error": {"message": "no memory left", "code": 500}}')


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b"3",
        b'"x"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"choices": [3]}',
        b'{"choices": {"a": 1}}',
        b'{"choices": [{"index": 1, "delta": {}}, {"index": 7}]}',
        b'{"choices": [{"index": -1}]}',
        b'{"choices": [{"index": "0"}]}',
        b'{"choices": [{"delta": "x"}]}',
        b'{"choices": [{"finish_reason": ["stop"]}]}',
        b'{"usage": [1]}',
    ],
)
def test_what_is_no_chunk(data: bytes) -> None:
    with pytest.raises(SamplerError, match="no JSON chunk"):
        stream(2).feed(data)


def test_missing_and_odd_fields_do_no_harm() -> None:
    odd = b'{"choices": [{"delta": null}], "usage": {"prompt_tokens": "many", "completion_tokens": -1}}'
    assert run(stream(), b"{}", odd, chunk("a", finish="stop"))[:2] == [Token(0, "a"), Finished(0, "stop")]


def test_nothing_counts_after_the_end_of_a_candidate() -> None:
    assert run(stream(), chunk("a", finish="stop"), chunk("b"), chunk(None, finish="content_filter")) == [
        Token(0, "a"),
        Finished(0, "stop"),
    ]


def test_a_server_that_ignores_the_limit_is_cut_off() -> None:
    answer = stream(max_tokens=10)
    events = []
    for _ in range(10_000):
        events += answer.feed(chunk("x"))
        if answer.done:
            break
    assert events[-1] == Finished(0, "length")
    assert 80 <= len(events) < 200
