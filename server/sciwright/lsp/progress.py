"""`$/progress` for one generation, with cancellation by the user."""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from lsprotocol import types
from pygls.lsp.server import LanguageServer

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_REPORTS = 0.1
_SECONDS_FOR_CREATION = 5.0

# Called with a message and, where it is known, the part that is done (0 to 1).
Report = Callable[..., None]


@asynccontextmanager
async def work_done_progress(
    server: LanguageServer, title: str, cancel: Callable[[], object]
) -> AsyncIterator[Report]:
    """Show a cancellable progress while the block runs; without client support, do nothing.

    Args:
        server: The server whose client shows it.
        title: Its first line.
        cancel: Called when the user cancels it.
    """
    window = server.client_capabilities.window
    token = str(uuid.uuid4())
    if not (window and window.work_done_progress) or not await _create(server, token):
        yield lambda *_, **__: None
        return
    progress = server.work_done_progress
    progress.begin(token, types.WorkDoneProgressBegin(title=title, cancellable=True))
    progress.tokens[token].add_done_callback(lambda future: cancel() if future.cancelled() else None)
    last = 0.0

    def report(message: str, fraction: float | None = None) -> None:
        nonlocal last
        if time.monotonic() - last >= _SECONDS_BETWEEN_REPORTS:
            last = time.monotonic()
            percentage = None if fraction is None else round(100 * min(fraction, 1))
            progress.report(token, types.WorkDoneProgressReport(message=message, percentage=percentage))

    end = "failed"
    try:
        yield report
        end = "done"
    except asyncio.CancelledError:
        end = "cancelled"
        raise
    finally:
        progress.tokens.pop(token, None)  # pygls keeps them forever
        progress.end(token, types.WorkDoneProgressEnd(message=end))


async def _create(server: LanguageServer, token: str) -> bool:
    """Return whether the client has made a progress for `token`."""
    # Shielded: pygls fails on the reply to a request whose future was cancelled.
    request = asyncio.ensure_future(server.work_done_progress.create_async(token))
    try:
        await asyncio.wait_for(asyncio.shield(request), _SECONDS_FOR_CREATION)
    except Exception as error:  # the client's fault; the work goes on without a progress
        logger.info("the client made no progress: %s", type(error).__name__)
        return False
    return True
