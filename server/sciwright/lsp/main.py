"""Runs the language server over stdio or TCP, with its log."""

import logging
import sys
from pathlib import Path

from sciwright.errors import UsageError
from sciwright.lsp.server import create_server
from sciwright.settings import load

# They log message bodies (buffer text) at INFO.
_TALKATIVE = ("pygls", "httpx", "httpcore", "asyncio")


def serve(address: tuple[str, int] | None, log_level: str, log_file: Path | None) -> None:
    """Serve one client until it leaves.

    Args:
        address: Host and port to listen on; None for stdin and stdout.
        log_level: A name of the logging module. Buffer text is logged at "debug" only.
        log_file: Where to log instead of stderr.

    Raises:
        UsageError: The log file or the address cannot be used, or the user's settings file is broken.
    """
    _configure_logging(log_level.upper(), log_file)
    settings, problems = load()
    for problem in problems:
        logging.getLogger(__name__).warning("%s", problem)
    server = create_server(settings)
    if address is None:
        server.start_io()
        return
    host, port = address
    try:
        server.start_tcp(host, port)
    except OSError as error:
        raise UsageError(
            f"Cannot listen on {host}:{port} ({error.strerror})", "Choose another port"
        ) from None


def _configure_logging(level: str, path: Path | None) -> None:
    try:
        handler = logging.FileHandler(path, encoding="utf-8") if path else logging.StreamHandler(sys.stderr)
    except OSError as error:
        raise UsageError(f"Cannot write the log to {path} ({error.strerror})") from None
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    if level != "DEBUG":
        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.WARNING)
