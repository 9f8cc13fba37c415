"""`sciwright doctor`: what works here, what does not, and the command that mends it."""

import json
import os
import platform
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import Literal

from sciwright import __version__, models, samplers
from sciwright.errors import SciwrightError
from sciwright.samplers.keys import find_key
from sciwright.samplers.protocol import Message, SampleRequest, Token, Usage
from sciwright.settings import Settings, user_file

_PROBE = SampleRequest((Message("user", "Write a Python function that adds two numbers."),), max_tokens=32)

_MARKS = {"ok": ("✓", "green"), "note": ("!", "yellow"), "fail": ("✗", "red")}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        name: What it is.
        status: "fail" keeps sciwright from generating code; "note" is worth knowing.
        detail: What was found.
        mend: What mends it, a command where there is one.
    """

    name: str
    status: Literal["ok", "note", "fail"]
    detail: str
    mend: str = ""


async def examine(settings: Settings, problems: list[str]) -> AsyncIterator[Finding]:
    """Yield the findings as they are made; the model itself is tried last.

    Args:
        settings: The settings in force.
        problems: What `sciwright.settings.load` complained of.
    """
    yield Finding("sciwright", "ok", f"{__version__}, Python {platform.python_version()} at {sys.executable}")
    place = user_file()
    if problems:
        for problem in problems:
            yield Finding("settings", "note", problem, f"Correct it in the environment or in {place}")
    else:
        yield Finding("settings", "ok", f"{place}{'' if place.exists() else ' (not there: defaults)'}")
    if settings.endpoint:
        yield await _key(settings)
    else:
        weights = _weights(settings.model or models.DEFAULT)
        yield weights
        if weights.status == "fail":
            return
        cores = os.cpu_count() or 1
        yield Finding(
            "processor", "ok", f"{cores} cores; the engine uses {settings.threads or max(1, cores - 1)}"
        )
    yield await _first_words(settings)


async def _key(settings: Settings) -> Finding:
    try:
        key = await find_key(settings)
    except SciwrightError as error:
        return Finding("key", "fail", error.problem, error.mend)
    source = "the key command" if settings.api_key_command else f"the variable {settings.api_key_env}"
    if key is None:
        mend = f"Set {settings.api_key_env} or the setting api_key_command if the endpoint asks for one"
        return Finding("key", "note", f"{source} gives none", mend)
    return Finding("key", "ok", f"from {source}")


def _weights(name: str) -> Finding:
    try:
        path = models.path(name)
        if path is None:
            return Finding("weights", "fail", f"{name} is not fetched", f"sciwright models pull {name}")
        models.verify(name)
    except SciwrightError as error:
        return Finding("weights", "fail", error.problem, error.mend)
    return Finding("weights", "ok", f"{name} at {path}")


async def _first_words(settings: Settings) -> Finding:
    """Let the model say something, and time it."""
    sampler = samplers.connect(settings)
    started = time.monotonic()
    first: float | None = None
    tokens = 0
    try:
        async with aclosing(sampler.sample(_PROBE)) as events:
            async for event in events:
                if isinstance(event, Token) and first is None:
                    first = time.monotonic()
                elif isinstance(event, Usage):
                    tokens = event.completion_tokens
    except SciwrightError as error:
        return Finding("model", "fail", error.problem, error.mend)
    finally:
        await sampler.aclose()
    if first is None:
        return Finding("model", "fail", f"{sampler.name} answered with nothing", "Try another model")
    ended = time.monotonic()
    speed = f", {tokens / max(ended - first, 1e-3):.0f} tokens/s" if tokens > 1 else ""
    return Finding("model", "ok", f"{sampler.name}: first token after {first - started:.2f} s{speed}")


async def show(settings: Settings, problems: list[str], as_json: bool) -> int:
    """Print the findings as they are made; return the exit code, 1 when one of them is a failure."""
    findings: list[Finding] = []
    if as_json:
        findings = [finding async for finding in examine(settings, problems)]
        print(
            json.dumps({"ok": not _failed(findings), "findings": [asdict(finding) for finding in findings]})
        )
        return int(_failed(findings))

    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    async for finding in examine(settings, problems):
        findings.append(finding)
        mark, style = _MARKS[finding.status]
        console.print(Text.assemble((f"{mark} ", style), (f"{finding.name:<10}", "bold"), finding.detail))
        if finding.mend:
            console.print(Text.assemble(" " * 12, ("-> ", style), finding.mend))
    return int(_failed(findings))


def _failed(findings: list[Finding]) -> bool:
    return any(finding.status == "fail" for finding in findings)
