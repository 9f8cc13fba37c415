"""`sciwright serve`: the language server over stdio or TCP, with its log."""

import argparse
import logging
import sys
from pathlib import Path

from sciwright.errors import SciwrightError, UsageError
from sciwright.lsp.server import create_server
from sciwright.settings import load

# They log message bodies (buffer text) at INFO.
_TALKATIVE = ("pygls", "httpx", "httpcore", "asyncio")


def main(arguments: list[str]) -> None:
    """Run the command `sciwright serve` and exit: 0 done, 1 the work failed, 2 wrong use."""
    parser = argparse.ArgumentParser(prog="sciwright serve", description="Run the language server.")
    transport = parser.add_mutually_exclusive_group()
    transport.add_argument("--stdio", action="store_true", help="speak over stdin and stdout (the default)")
    transport.add_argument("--tcp", metavar="HOST:PORT", help="listen for one client")
    levels = ["debug", "info", "warning", "error"]
    parser.add_argument("--log-level", choices=levels, default="warning", help="only debug logs buffer text")
    parser.add_argument("--log-file", type=Path, help="log to a file instead of stderr")
    options = parser.parse_args(arguments)
    try:
        serve(_address(options.tcp) if options.tcp else None, options.log_level, options.log_file)
    except SciwrightError as error:
        print(f"sciwright: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65_535:
        raise UsageError(f"{text!r} is not of the form HOST:PORT", "For example 127.0.0.1:2087")
    return host.strip("[]") or "127.0.0.1", int(port)


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
