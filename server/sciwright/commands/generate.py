"""`sciwright generate FILE`: the pipeline in a terminal."""

import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any, Protocol

from sciwright import samplers, sourcefile
from sciwright.edits import find_again, insert_below
from sciwright.errors import SciwrightError, UsageError
from sciwright.generation import Done, Event, VerdictReady, generate
from sciwright.samplers.protocol import Preparing
from sciwright.settings import Settings
from sciwright.tasks import Task, find_tasks
from sciwright.verification.verdict import Tier


async def run(
    path: Path, line: int | None, settings: Settings, *, write: bool, quiet: bool
) -> dict[str, Any]:
    """Generate code for one task of the file at `path` and show it as it comes.

    Args:
        path: A Python file.
        line: A line of the task comment, from 1; None where the file has one task only.
        settings: How to generate.
        write: Put the code into the file, below the comment.
        quiet: Show nothing; the caller prints the result.

    Returns:
        The result in the form in which `--json` prints it.
    """
    file = sourcefile.read(path)
    task = choose_task(file.text, line, settings.trigger, str(path))
    sampler = samplers.connect(settings)
    try:
        with _Silence() if quiet else _display() as display:
            done = await _watch(generate(file.text, task, sampler, settings), display)
    finally:
        await sampler.aclose()
    if write:
        file.rewrite(lambda now: _inserted(now, task, file.text, done.code, settings.trigger))
    return {
        "file": str(path),
        "line": task.first_line + 1,
        "task": task.text,
        "code": done.code,
        "verdict": done.verdict.tier.label,
        "candidates": done.candidates,
        "tokens": done.usage.completion_tokens,
        "seconds": round(done.seconds, 3),
        "model": sampler.name,
        "written": write,
    }


def choose_task(text: str, line: int | None, trigger: str, name: str) -> Task:
    """Return the task on `line` (from 1), or the only one there is.

    Raises:
        UsageError: There is none, or more than one and no line.
    """
    tasks = find_tasks(text, trigger)
    places = ", ".join(str(task.first_line + 1) for task in tasks)
    if not tasks:
        raise UsageError(f"{name} has no task comment", f"Write one: # {trigger}: plot y against x")
    if line is None:
        if len(tasks) > 1:
            raise UsageError(f"{name} has {len(tasks)} tasks", f"Choose one with --line: {places}")
        return tasks[0]
    for task in tasks:
        if task.first_line <= line - 1 <= task.last_line:
            return task
    raise UsageError(f"{name} has no task comment on line {line}", f"Its tasks are on: {places}")


def _inserted(now: str, task: Task, earlier: str, code: str, trigger: str) -> str:
    found = find_again(now, task, earlier, trigger)
    if found is None:
        raise SciwrightError(
            "The task comment was changed while its code was generated, so nothing was written",
            "Run it again",
        )
    return insert_below(now, found, code).apply(now)


async def _watch(generation: AsyncGenerator[Event, None], display: "_Display") -> Done:
    async with aclosing(generation) as events:
        async for event in events:
            if isinstance(event, Done):
                display.done(event)
                return event
            display.show(event)
    raise AssertionError("a generation ends with Done or raises")


class _Display(Protocol):
    def show(self, event: Event) -> None: ...

    def done(self, event: Done) -> None: ...


class _Silence:
    """Shows nothing; standard output belongs to the JSON result."""

    def __enter__(self) -> "_Silence":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, event: Event) -> None:
        pass

    def done(self, event: Done) -> None:
        pass


@contextmanager
def _display() -> Iterator[_Display]:
    """Show the code on standard output, and all else on standard error."""
    from rich.console import Console

    status = Console(stderr=True, highlight=False)
    if sys.stdout.isatty():
        from sciwright.commands.live import LiveDisplay

        with LiveDisplay(status) as display:
            yield display
    else:
        yield _PlainDisplay(status)


class _PlainDisplay:
    """For pipes and files: the code at the end, and a line for each thing that happens."""

    def __init__(self, status: Any) -> None:
        self._status = status
        self._prepared = ""

    def show(self, event: Event) -> None:
        if isinstance(event, Preparing) and event.message != self._prepared:
            self._prepared = event.message
            self._status.print(f"{event.message} ...", markup=False)
        elif isinstance(event, VerdictReady) and event.verdict.tier is Tier.REJECTED:
            self._status.print(f"candidate {event.number + 1} rejected: {event.verdict.reason}", markup=False)

    def done(self, event: Done) -> None:
        print(event.code, flush=True)
        self._status.print(summary(event), markup=False)


def summary(done: Done) -> str:
    """Return one line about a finished generation."""
    tried = "" if done.candidates == 1 else f" · {done.candidates} candidates"
    return f"{done.verdict.tier.label} · {done.usage.completion_tokens} tokens{tried} · {done.seconds:.1f} s"
