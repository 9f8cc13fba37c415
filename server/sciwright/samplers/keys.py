"""The endpoint's key: from a command (a keyring, a password manager) or from the environment."""

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping

from sciwright.errors import SamplerError
from sciwright.settings import Settings

COMMAND_SECONDS = 20.0
LONGEST_KEY = 16_384


async def find_key(settings: Settings, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the key, or None where the user has set none up.

    `settings.api_key_command` comes first: it runs without a shell and without a terminal, and the first
    line that it prints is the key. Otherwise the environment variable that `settings.api_key_env` names is
    read. Nothing is remembered here.

    Raises:
        SamplerError: The command fails or takes longer than `COMMAND_SECONDS`, or the key holds characters
            that no key can hold. The text names the command's first word, never what it printed.
    """
    if settings.api_key_command:
        origin = f"api_key_command ({settings.api_key_command[0]})"
        key = await _printed_key(settings.api_key_command, environment)
        if not key:
            raise SamplerError(f"{origin} printed no key", "Its first line must be the key")
        return checked_key(key, origin)
    key = environment.get(settings.api_key_env, "").strip()
    return checked_key(key, f"the environment variable {settings.api_key_env}") if key else None


def checked_key(key: str, origin: str) -> str:
    """Return `key`, or raise SamplerError if it could not stand in an HTTP header."""
    if len(key) > LONGEST_KEY or not key.isascii() or not key.isprintable() or " " in key:
        raise SamplerError(
            f"The key from {origin} is not usable: it holds a line break, a space or another such character",
            "Set the key alone, on one line",
        )
    return key


async def _printed_key(command: tuple[str, ...], environment: Mapping[str, str]) -> str:
    try:
        # A session of its own: what the command starts can be ended with it, and it cannot take over the
        # terminal or the editor's standard input.
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=DEVNULL,
            env=dict(environment),
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "not a command"
        raise SamplerError(
            f"api_key_command cannot start {command[0]} ({reason})", "Check the setting `api_key_command`"
        ) from None
    try:
        async with asyncio.timeout(COMMAND_SECONDS):
            line = await _first_line(process)
            code = await process.wait()
    except TimeoutError:
        _end(process)
        raise SamplerError(
            f"api_key_command ({command[0]}) did not end within {COMMAND_SECONDS:g} s",
            "It must not ask for anything on a terminal",
        ) from None
    except asyncio.CancelledError:
        _end(process)
        raise
    if code != 0:
        raise SamplerError(
            f"api_key_command ({command[0]}) failed with exit code {code}", "Try the command in a terminal"
        )
    return line.decode("utf-8", "replace").strip()


async def _first_line(process: Process) -> bytes:
    assert process.stdout is not None
    text = b""
    # Read to the end, so that the command never blocks on a full pipe, but keep no more than a key's length.
    while more := await process.stdout.read(4096):
        if b"\n" not in text and len(text) <= LONGEST_KEY:
            text += more
    return text.split(b"\n", 1)[0]


def _end(process: Process) -> None:
    """Kill the command and what it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        elif process.returncode is None:
            process.kill()
