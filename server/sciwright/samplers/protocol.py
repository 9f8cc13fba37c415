"""What every sampler does: it turns a chat prompt into a stream of tokens for one or more candidates.

A sampler is asynchronous and streaming. Closing the generator that `sample` returns (or cancelling the
task that iterates it) tells the model's server to stop: nobody pays for tokens that nobody reads.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat prompt; the model's own chat template puts it into tokens."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """What to sample.

    Args:
        messages: The chat prompt.
        candidates: How many completions to draw, in one batch where the server can.
        max_tokens: The most tokens to draw for each candidate.
        temperature: 0 is greedy.
        seed: Makes the draw repeatable where the server honours it.
        stop: Strings that end a completion; they are not part of it.
    """

    messages: tuple[Message, ...]
    candidates: int = 1
    max_tokens: int = 512
    temperature: float = 0.0
    seed: int = 0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of text for one candidate (servers may merge tokens into one piece)."""

    candidate: int
    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """A candidate is complete; "length" means that the token limit cut it off."""

    candidate: int
    reason: Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that the request used, over all its candidates."""

    prompt_tokens: int
    completion_tokens: int

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt_tokens + other.prompt_tokens, self.completion_tokens + other.completion_tokens
        )


@dataclass(frozen=True, slots=True)
class Preparing:
    """The sampler is not ready yet and says why ("fetching the model", with a fraction where known)."""

    message: str
    fraction: float | None = None


SampleEvent = Token | Finished | Usage | Preparing


class Sampler(Protocol):
    """A source of completions."""

    @property
    def name(self) -> str:
        """The model's name, as shown to the user and written into records."""
        ...

    def sample(self, request: SampleRequest) -> AsyncGenerator[SampleEvent, None]:
        """Yield the events of one request; `Finished` comes once for each candidate, `Usage` at most once.

        Raises:
            SamplerError: The model cannot be reached or answers with an error.
            ModelError: The weights are missing and cannot be fetched.
        """
        ...

    async def aclose(self) -> None:
        """Release connections and processes; the sampler can be used again afterwards."""
        ...
