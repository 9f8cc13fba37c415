"""The child process that runs the local engine: `python -P -m sciwright.samplers.engine`.

It reads one line of JSON from stdin (see `Order`), loads the model, serves it on a free port of 127.0.0.1
and prints one line of JSON, {"address": "http://127.0.0.1:PORT"}. Then it lives until stdin ends: however
the parent goes away, its end of that pipe is closed, and the engine ends too. llama.cpp's log goes to stderr.

The key comes through stdin because others can read a process's arguments and environment.
"""

import contextlib
import json
import os
import signal
import sys
import threading
from dataclasses import dataclass, field

ERRORS_ONLY = 1
"""llama.cpp's verbosity; from "debug" on it would log prompts."""
BATCH = 32
"""Prompt tokens computed at once. llama.cpp looks for a cancelled request between batches only: with its own
2,048 it would work on for many seconds, and on a CPU smaller batches cost next to nothing."""


@dataclass(frozen=True, slots=True)
class Order:
    """What the parent wants.

    Args:
        model: Path of the GGUF file.
        adapters: Paths of LoRA adapters in GGUF format, each with its scale.
        threads: To compute with.
        parallel: How many candidates are drawn at once; more wait for their turn.
        context: Tokens that all of them share.
        key: What a request must carry as its bearer token.
    """

    model: str
    adapters: tuple[tuple[str, float], ...]
    threads: int
    parallel: int
    context: int
    key: str = field(repr=False)


def main() -> None:
    """Serve until stdin ends."""
    # Ctrl-C in a terminal reaches every process there; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    order = Order(**json.loads(sys.stdin.buffer.readline()))
    _end_with_parent()

    import xllamacpp

    try:
        server = xllamacpp.Server(_parameters(order))
    except RuntimeError:
        # llama.cpp says why on stderr; a thread of its own writes that, which a quick exit would cut off.
        sys.exit(1)
    print(json.dumps({"address": server.listening_address}), flush=True)
    threading.Event().wait()


def _end_with_parent() -> None:
    """Exit, at once and without clean-up, when stdin ends."""

    def wait_for_end() -> None:
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=wait_for_end, daemon=True).start()
    # No thread runs while the model is loaded (it holds the interpreter's lock), and a large model takes a
    # while. There the kernel ends this process: by SIGIO, whose default action that is, when stdin changes.
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)


def _parameters(order: Order):  # type: ignore[no-untyped-def]  # xllamacpp has no types
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = order.model
    adapters = []
    for path, scale in order.adapters:
        adapter = xllamacpp.CommonAdapterLoraInfo()
        adapter.path, adapter.scale = path, scale
        adapters.append(adapter)
    parameters.lora_adapters = adapters
    parameters.cpuparams.n_threads = order.threads
    parameters.cpuparams_batch.n_threads = order.threads
    parameters.n_parallel = order.parallel
    parameters.n_ctx = order.context
    # One pool of context for all candidates: each alone would reserve all of it.
    parameters.kv_unified = True
    parameters.n_batch = BATCH
    parameters.n_ubatch = BATCH
    # Gigabytes for the prompts of long ago: the places remember their last ones anyway.
    parameters.cache_ram_mib = 0
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.api_keys = [order.key]
    parameters.cors_origins = ""
    parameters.ui = False
    parameters.offline = True
    parameters.warmup = False
    # The sizes are chosen above; trying out what fits would double the time to load.
    parameters.fit_params = False
    parameters.verbosity = ERRORS_ONLY
    return parameters


if __name__ == "__main__":
    main()
