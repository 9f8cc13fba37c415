"""The endpoint's key, from a real command or from the environment."""

import asyncio
import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from sciwright.errors import SamplerError
from sciwright.samplers import keys
from sciwright.samplers.keys import find_key
from sciwright.settings import Settings

PYTHON = (sys.executable, "-I", "-c")
SECRET = "sk-canary-0123456789"


def command(code: str) -> Settings:
    return Settings(api_key_command=(*PYTHON, code), api_key_env="MY_KEY")


async def test_none_set_up() -> None:
    assert await find_key(Settings(), {}) is None
    assert await find_key(Settings(), {"SCIWRIGHT_API_KEY": " \n"}) is None


async def test_environment() -> None:
    assert await find_key(Settings(api_key_env="MY_KEY"), {"MY_KEY": f" {SECRET}\r\n"}) == SECRET


async def test_real_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "SCIWRIGHT_API_KEY", SECRET)
    assert await find_key(Settings()) == SECRET


async def test_command_wins_and_only_its_first_line_counts() -> None:
    code = f"print('  {SECRET}  '); print('user: me')"
    assert await find_key(command(code), {**os.environ, "MY_KEY": "other"}) == SECRET


async def test_command_sees_no_shell(tmp_path: Path) -> None:
    victim = tmp_path / "made-by-a-shell"
    settings = Settings(
        api_key_command=(*PYTHON, "import sys; print(sys.argv[1])", f"$(touch${{IFS}}{victim})")
    )
    assert await find_key(settings) == f"$(touch${{IFS}}{victim})"
    assert not victim.exists()


async def test_command_that_prints_much() -> None:
    assert await find_key(command(f"print('{SECRET}'); print('x' * 3_000_000)")) == SECRET


async def test_failing_command_names_its_first_word_and_code_only() -> None:
    code = f"import sys; print('{SECRET}'); print('{SECRET}', file=sys.stderr); sys.exit(3)"
    with pytest.raises(SamplerError) as caught:
        await find_key(command(code))
    assert sys.executable in str(caught.value)
    assert "exit code 3" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert "-c" not in str(caught.value)


async def test_command_that_prints_nothing() -> None:
    with pytest.raises(SamplerError, match="printed no key"):
        await find_key(command("print()"))


async def test_missing_command() -> None:
    with pytest.raises(SamplerError, match="cannot start no-such-keyring"):
        await find_key(Settings(api_key_command=("no-such-keyring", "get")))


async def test_hanging_command_is_ended_with_its_children(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(keys, "COMMAND_SECONDS", 1.0)
    pids = tmp_path / "pids"
    code = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-I', '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(60)"
    )
    begin = time.perf_counter()
    with pytest.raises(SamplerError, match="did not end within 1 s"):
        await find_key(command(code))
    assert time.perf_counter() - begin < 3
    await _all_gone(pids)


async def test_cancelled_command_is_ended(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = f"import os, time\nopen({str(pids)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)"
    task = asyncio.create_task(find_key(command(code)))
    for _ in range(500):
        if pids.exists() and pids.read_text():
            break
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _all_gone(pids)


@pytest.mark.parametrize(
    "key", ["a\nb", "a\rb", "a\x00b", "a\x7fb", "a b", "schlüssel", "a\tb", "x" * 20_000]
)
async def test_impossible_keys_are_refused_and_not_shown(key: str) -> None:
    with pytest.raises(SamplerError, match="MY_KEY is not usable") as caught:
        await find_key(Settings(api_key_env="MY_KEY"), {"MY_KEY": f"{SECRET}{key}"})
    assert SECRET not in str(caught.value)


async def test_impossible_key_from_a_command() -> None:
    with pytest.raises(SamplerError, match="api_key_command") as caught:
        await find_key(command(f"print('{SECRET}\\x07')"))
    assert SECRET not in str(caught.value)


async def _all_gone(pids: Path) -> None:
    def runs(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    for _ in range(100):
        if not any(runs(int(pid)) for pid in pids.read_text().split()):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("a process of the key command still runs")
