"""The sampler that runs a model on this machine, in a child process of its own (see `engine`)."""

import asyncio
import importlib
import json
import math
import os
import re
import secrets
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from sciwright import models
from sciwright.errors import ModelError, SamplerError
from sciwright.samplers.engine import Order
from sciwright.samplers.openai import OpenAISampler
from sciwright.samplers.protocol import Finished, Preparing, SampleEvent, SampleRequest, Token, Usage

PARALLEL = 8
CONTEXT = 8192
END_SECONDS = 1.0
DEATH_SECONDS = 0.5
KEPT_LOG = 2**14
FETCHING = "fetching the model"
LOADING = "loading the model"
WAITING = "waiting for another answer"


class LocalSampler:
    """Samples from weights on this machine; they are fetched, and the engine is started, when first needed.

    An engine that dies is started again, once for each request and only before its first token. It also ends
    when this process does, however that happens.

    Args:
        model: A name from `models.CATALOGUE`, the path of a GGUF file, or "" for the default model.
        threads: To compute with; 0 takes one fewer than the cores. With as many threads as cores, anything
            else that runs makes the engine slower by an order of magnitude.
        adapters: LoRA adapters in GGUF format, each with its scale.
        read_timeout: Seconds of silence after which a request fails. The engine says nothing while it reads
            the prompt; that takes a large model a minute or two.
    """

    def __init__(
        self,
        model: str = "",
        *,
        threads: int = 0,
        adapters: Sequence[tuple[Path, float]] = (),
        read_timeout: float = 300.0,
    ) -> None:
        self._model = model or models.DEFAULT
        self._threads = threads or max(1, _cores() - 1)
        self._adapters = tuple(adapters)
        self._read_timeout = read_timeout
        self._engine: _Engine | None = None
        self._starting = asyncio.Lock()
        self._starts: set[asyncio.Task[_Engine]] = set()
        # One request after the other: together they take as long, and what is computed together comes out
        # a little different, so that no seed would repeat it.
        self._turn = asyncio.Lock()

    @property
    def name(self) -> str:
        """The model's name, and those of its adapters."""
        base = Path(self._model).stem if self._model.lower().endswith(".gguf") else self._model
        return "+".join([base, *(path.stem for path, _ in self._adapters)])

    async def sample(self, request: SampleRequest) -> AsyncGenerator[SampleEvent, None]:
        """Yield the events of one request; `Preparing` comes while weights are fetched or loaded.

        Raises:
            SamplerError: The engine ended twice, or it does not accept the request.
            ModelError: The weights cannot be fetched or loaded.
            UsageError: There is no such model.
        """
        if self._turn.locked():
            yield Preparing(WAITING)
        async with self._turn, aclosing(self._sample_all(request)) as events:
            async for event in events:
                yield event

    async def aclose(self) -> None:
        """End the engine; the next `sample` starts it again."""
        for start in self._starts:
            start.cancel()
        async with self._starting:
            engine, self._engine = self._engine, None
            if engine is not None:
                await engine.aclose()

    async def _sample_all(self, request: SampleRequest) -> AsyncGenerator[SampleEvent, None]:
        """Yield the events of all candidates, in as many rounds as it takes."""
        # More candidates than the engine has places, or room for, come in several rounds.
        width = max(1, min(PARALLEL, CONTEXT * 3 // 4 // request.max_tokens))
        usages: list[Usage] = []
        for first in range(0, request.candidates, width):
            part = replace(
                request, candidates=min(width, request.candidates - first), seed=request.seed + first
            )
            async with aclosing(self._sample_part(part)) as events:
                async for event in events:
                    if isinstance(event, Usage):
                        usages.append(event)
                    elif isinstance(event, Token | Finished):
                        yield replace(event, candidate=event.candidate + first)
                    else:
                        yield event
        if usages:
            yield Usage(sum(u.prompt_tokens for u in usages), sum(u.completion_tokens for u in usages))

    async def _sample_part(self, request: SampleRequest) -> AsyncGenerator[SampleEvent, None]:
        """Yield the events of as many candidates as the engine draws at once."""
        for last_attempt in (False, True):
            if self._engine is None or self._engine.ended:
                async with aclosing(self._start()) as preparations:
                    async for preparation in preparations:
                        yield preparation
            engine = self._engine
            if engine is None:
                raise SamplerError("The sampler was closed while it was at work")
            began = False
            try:
                async with aclosing(engine.client.sample(request)) as events:
                    async for event in events:
                        # The client would go on asking an engine that is no more.
                        if isinstance(event, Preparing) and await engine.has_ended():
                            break
                        began = began or isinstance(event, Token | Finished)
                        yield event
                    else:
                        return
            except SamplerError as error:
                if not await engine.has_ended():
                    problem = error.problem.replace(engine.address, "The local engine")
                    raise SamplerError(problem, error.mend) from None
            if began or last_attempt:
                raise SamplerError(
                    f"The local engine ended while it was at work ({engine.last_words()})",
                    "Run `sciwright doctor`; a model that is too large for the memory can be the cause",
                )

    async def _start(self) -> AsyncGenerator[Preparing, None]:
        """Start the engine unless another request has; yield what is going on meanwhile."""
        reports: asyncio.Queue[Preparing | None] = asyncio.Queue()
        start = asyncio.create_task(self._started(reports.put_nowait))
        start.add_done_callback(lambda _: reports.put_nowait(None))
        self._starts.add(start)
        try:
            while (report := await reports.get()) is not None:
                yield report
            if start.cancelled():
                raise SamplerError("The sampler was closed while it was at work")
            start.result()
        finally:
            start.cancel()
            await asyncio.gather(start, return_exceptions=True)
            self._starts.discard(start)

    async def _started(self, report: Callable[[Preparing], None]) -> "_Engine":
        async with self._starting:
            if self._engine is not None:
                if not self._engine.ended:
                    return self._engine
                await self._engine.aclose()
                self._engine = None
            file = models.path(self._model)
            if file is None:
                file = await models.pull(
                    self._model,
                    lambda done, total: report(Preparing(FETCHING, done / total if total else None)),
                )
            report(Preparing(LOADING))
            order = Order(
                model=str(file),
                adapters=tuple((str(path), scale) for path, scale in self._adapters),
                threads=self._threads,
                parallel=PARALLEL,
                context=CONTEXT,
                key=secrets.token_urlsafe(),
            )
            self._engine = await _Engine.start(order, self.name, self._read_timeout)
            return self._engine


@dataclass(frozen=True, slots=True)
class _Engine:
    """A running child process, and the client that talks to it."""

    process: Process
    client: OpenAISampler
    address: str
    key: str = field(repr=False)
    log: bytearray
    draining: asyncio.Task[None]

    @classmethod
    async def start(cls, order: Order, name: str, read_timeout: float) -> "_Engine":
        """Start the child process and wait until it has loaded the model."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "sciwright.samplers.engine", stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        log = bytearray()
        draining = asyncio.create_task(_drain(process.stderr, log))
        try:
            process.stdin.write(json.dumps(asdict(order)).encode() + b"\n")
            # What the client needs takes a while to import: better now, while the engine loads the model.
            await asyncio.to_thread(importlib.import_module, "httpx")
            answer = await process.stdout.readline()
            if not answer:
                await asyncio.wait([draining])
                raise _not_loaded(order, await process.wait(), _lines(log))
        except BaseException:
            await _end(process, draining)
            raise
        base_url = json.loads(answer)["address"]

        async def key() -> str:
            return order.key

        client = OpenAISampler(f"{base_url}/v1", model=name, key=key, read_timeout=read_timeout)
        return cls(process, client, base_url.partition("://")[2], order.key, log, draining)

    @property
    def ended(self) -> bool:
        """Whether the process is known to have ended."""
        return self.process.returncode is not None

    async def has_ended(self) -> bool:
        """Whether the process has ended; a connection breaks a little before that is known."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.process.wait(), DEATH_SECONDS)
        return self.ended

    def last_words(self) -> str:
        """How the process ended. Its log is quoted only where it cannot hold a prompt."""
        words = _ending(self.process.returncode)
        asserted = [line for line in _lines(self.log) if re.match(r"\S+: GGML_ASSERT|\S*bad_alloc", line)]
        return f"{words}; {asserted[-1]}" if asserted else words

    async def aclose(self) -> None:
        """End the process."""
        await self.client.aclose()
        await _end(self.process, self.draining)


async def _drain(stream: asyncio.StreamReader, log: bytearray) -> None:
    """Keep the end of the engine's log, so that the engine never waits for someone to read it."""
    while chunk := await stream.read(2**16):
        log += chunk
        del log[:-KEPT_LOG]


def _lines(log: bytearray) -> list[str]:
    return log.decode("utf-8", "replace").splitlines()


async def _end(process: Process, draining: asyncio.Task[None]) -> None:
    """Let the process end by itself, or kill it."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), END_SECONDS)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    await asyncio.wait([draining])


def _not_loaded(order: Order, code: int, log: list[str]) -> ModelError:
    """Return why the engine ended before it served; there was no prompt yet that its log could hold."""
    errors = [line.partition(" E ")[2].partition(": ")[2] for line in log if " E " in line]
    errors = [error for error in errors if error and "failed to load model" not in error]
    errors += [line for line in log if re.match(r"\w+Error: ", line)]
    files = " with ".join(Path(path).name for path in (order.model, *(path for path, _ in order.adapters)))
    return ModelError(
        f"The local engine cannot load {files} ({errors[0] if errors else _ending(code)})",
        "Run `sciwright doctor`: it checks the engine and the model's file",
    )


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        with suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"


def _cores() -> int:
    """Return how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    # A container often sees all cores of its host but may use the time of a few.
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        cores = min(cores, math.ceil(int(quota) / int(period)))
    return cores
