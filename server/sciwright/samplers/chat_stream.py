"""The chunks of a streamed chat completion, turned into sampler events. No network in here."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

from sciwright.errors import SamplerError
from sciwright.samplers.failures import error_text
from sciwright.samplers.protocol import Finished, SampleEvent, Token, Usage
from sciwright.samplers.retry import Transient

REASONS: dict[str, Literal["stop", "length"]] = {"stop": "stop", "length": "length"}
# A piece is at least a token on every known server; one that sends far more pieces than it was allowed
# tokens ignores the limit and may never end.
PIECES_PER_TOKEN = 8


class ChatStream:
    """One streamed answer: feed it the data of each event, then call `end`.

    Args:
        candidates: How many were asked for; a server that ignores that answers fewer.
        max_tokens: The limit that the server was given.
        quote: Makes a server's text fit to be shown.
    """

    def __init__(self, candidates: int, max_tokens: int, quote: Callable[[str], str]) -> None:
        self.done = False
        """[DONE] was received."""
        self._candidates = candidates
        self._most_pieces = PIECES_PER_TOKEN * max_tokens + 64
        self._quote = quote
        self._pieces: Counter[int] = Counter()
        self._finished: set[int] = set()
        self._final_usage: list[Usage] = []
        self._running_usage: Usage | None = None

    @property
    def complete(self) -> bool:
        """Every candidate that was asked for is finished."""
        return len(self._finished) == self._candidates

    def feed(self, data: bytes) -> list[SampleEvent]:
        """Return the events that one chunk means.

        Raises:
            SamplerError: The chunk is an error, is no chunk, or ends a candidate for a reason that leaves no
                usable text (a content filter).
        """
        if data.strip() == b"[DONE]":
            self.done = True
            return []
        try:
            chunk = json.loads(data)
            if not isinstance(chunk, dict):
                raise TypeError
            if chunk.get("error"):
                text = error_text(chunk["error"])
                raise SamplerError(
                    f"The server broke off its answer with an error{self._quote(text)}", "Try again"
                )
            choices = chunk.get("choices") or []
            self._count(chunk.get("usage"), final=not choices)
            return [event for choice in choices for event in self._choice(choice)]
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise SamplerError(
                "The server's event stream holds something that is no JSON chunk of a chat completion",
                "Check that the endpoint is OpenAI-compatible",
            ) from None

    def end(self) -> list[SampleEvent]:
        """Return what is left to say at the end of the stream: open candidates after [DONE], the usage.

        Raises:
            Transient: The stream ended without [DONE] and with an unfinished candidate.
            SamplerError: It held no candidate at all.
        """
        open_candidates = sorted(self._pieces.keys() - self._finished)
        if not self.done and (open_candidates or not self._finished):
            raise Transient("The server's event stream broke off", "Try again")
        if not self._pieces:
            raise SamplerError("The server answered without any candidate", "Check the setting `model`")
        events: list[SampleEvent] = [Finished(index, "stop") for index in open_candidates]
        self._finished.update(open_candidates)
        # llama.cpp counts each candidate by itself and repeats the prompt; others send one chunk.
        if self._final_usage:
            prompt = max(usage.prompt_tokens for usage in self._final_usage)
            events.append(Usage(prompt, sum(usage.completion_tokens for usage in self._final_usage)))
        elif self._running_usage:
            events.append(self._running_usage)
        return events

    def _choice(self, choice: dict[str, Any]) -> list[SampleEvent]:
        index = choice.get("index") or 0
        if self._candidates == 1:
            index = 0
        if not isinstance(index, int) or not 0 <= index < self._candidates:
            raise ValueError
        if index in self._finished:
            return []
        events: list[SampleEvent] = []
        # What a reasoning model thinks comes as delta.reasoning_content, or as a list, and is no answer.
        text = (choice.get("delta") or {}).get("content")
        self._pieces[index] += 1
        if isinstance(text, str) and text:
            events.append(Token(index, text))
        reason = choice.get("finish_reason")
        if reason is None and self._pieces[index] > self._most_pieces:
            reason = "length"
            self.done = len(self._finished) + 1 == self._candidates
        if reason is not None:
            if reason not in REASONS:
                raise SamplerError(
                    f"The server ended a candidate with {self._reason(reason)}", "Reword the task"
                )
            self._finished.add(index)
            events.append(Finished(index, REASONS[reason]))
        return events

    def _reason(self, reason: object) -> str:
        return f"finish_reason{self._quote(str(reason))}"

    def _count(self, usage: dict[str, Any] | None, final: bool) -> None:
        if not usage:
            return
        counts = [usage.get("prompt_tokens"), usage.get("completion_tokens")]
        prompt, completion = (n if isinstance(n, int) and n >= 0 else 0 for n in counts)
        if final:
            self._final_usage.append(Usage(prompt, completion))
        else:
            # Some servers put a running total into every chunk: the last one counts.
            self._running_usage = Usage(prompt, completion)
