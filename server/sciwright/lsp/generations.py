"""The commands `sciwright.generate` and `sciwright.cancel`, and the generations under way."""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING

from lsprotocol import types
from pygls.workspace import TextDocument

from sciwright.edits import find_again, insert_below
from sciwright.errors import SciwrightError, UsageError
from sciwright.lsp.documents import client_position, find_open, task_in
from sciwright.lsp.progress import Report, work_done_progress
from sciwright.samplers.protocol import Preparing, Token
from sciwright.settings import Settings
from sciwright.tasks import Task

if TYPE_CHECKING:
    from sciwright.lsp.server import SciwrightServer

logger = logging.getLogger(__name__)

GENERATE = "sciwright.generate"
CANCEL = "sciwright.cancel"

_EDIT_ATTEMPTS = 5
# An editor may hold its changes back for a while (Neovim: 0.15 s).
_SECONDS_BETWEEN_EDIT_ATTEMPTS = 0.3


class Generations:
    """The generations under way. They are tasks of their own: a request that started one is long answered."""

    def __init__(self) -> None:
        self._running: dict[asyncio.Task[None], str] = {}

    def start(self, uri: str, work: "asyncio._CoroutineLike[None]") -> None:
        """Run `work` for the document `uri`, and keep hold of it until it ends."""
        task = asyncio.create_task(work)
        self._running[task] = uri
        task.add_done_callback(lambda done: self._running.pop(done, None))

    def cancel(self, uri: str | None = None) -> list[asyncio.Task[None]]:
        """Cancel the generations in the document `uri`, or all of them; return what was cancelled."""
        chosen = [task for task, its_uri in self._running.items() if uri in (None, its_uri)]
        for task in chosen:
            task.cancel()
        return chosen

    async def cancel_all(self) -> None:
        """Cancel everything and wait until it has ended."""
        await asyncio.gather(*self.cancel(), return_exceptions=True)


def register(server: "SciwrightServer") -> None:
    """Add the commands to `server`."""

    @server.command(GENERATE)
    def start_generation(uri: str, position: types.Position) -> None:
        server.generations.start(uri, _run(server, uri, position.line))

    @server.command(CANCEL)
    def cancel_generations(*uris: str) -> None:
        for uri in uris or (None,):  # without a document: all of them
            server.generations.cancel(uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def closed(params: types.DidCloseTextDocumentParams) -> None:
        server.generations.cancel(params.text_document.uri)


async def _run(server: "SciwrightServer", uri: str, line: int) -> None:
    """Generate code for the task at `line` and insert it; every failure becomes a message."""
    this = asyncio.current_task()
    assert this
    try:
        # The settings may change meanwhile; one generation goes by those of its start.
        settings = server.settings
        document, task = _find_task(server, uri, line, settings)
        source = document.source
        async with work_done_progress(server, "Generating code", this.cancel) as report:
            code = await _generate(server, source, task, settings, report)
            await _insert(server, uri, source, task, code, settings)
    except SciwrightError as error:
        logger.info("generation failed: %s", type(error).__name__)
        server.tell(str(error))
    except Exception as error:
        logger.error("generation failed: %s", type(error).__name__)
        logger.debug("details", exc_info=error)
        server.tell("something went wrong inside; start the server with --log-level debug for details")


def _find_task(
    server: "SciwrightServer", uri: str, line: int, settings: Settings
) -> tuple[TextDocument, Task]:
    document = find_open(server, uri)
    if document is None:
        raise UsageError("The document is not open")
    if task := task_in(document, line, settings.trigger):
        return document, task
    raise UsageError(f"There is no task comment on line {line + 1}", f"Write one: # {settings.trigger}: ...")


async def _generate(
    server: "SciwrightServer", source: str, task: Task, settings: Settings, report: Report
) -> str:
    """Return the code for `task`."""
    from sciwright.generation import Done, generate  # with the first generation, not with the start

    sampler = await server.sampler()
    tokens = 0
    async with aclosing(generate(source, task, sampler, settings)) as events:
        async for event in events:
            if isinstance(event, Token):
                tokens += 1
                report("1 token" if tokens == 1 else f"{tokens} tokens")
            elif isinstance(event, Preparing):
                report(event.message, event.fraction)
            elif isinstance(event, Done):
                return event.code
    raise AssertionError("a generation ends with Done or raises")


async def _insert(
    server: "SciwrightServer", uri: str, earlier: str, task: Task, code: str, settings: Settings
) -> None:
    """Put `code` below `task`, wherever it stands by now.

    Raises:
        SciwrightError: The task is not there any more, or the client refuses the edit.
    """
    for _ in range(_EDIT_ATTEMPTS):
        document = find_open(server, uri)
        if document is None:
            raise SciwrightError("The document was closed before the code was ready")
        source, version = document.source, document.version
        found = find_again(source, task, earlier, settings.trigger)
        if found is None:
            raise SciwrightError(
                "The task comment was changed while its code was generated, so nothing was inserted",
                "Run it again",
            )
        insertion = insert_below(source, found, code)
        position = client_position(document, insertion.line, insertion.character)
        edits = [types.TextEdit(types.Range(position, position), insertion.text)]
        # Shielded: pygls fails on the reply to a request whose future was cancelled.
        request = server.workspace_apply_edit_async(
            types.ApplyWorkspaceEditParams(
                _workspace_edit(server, uri, version, edits), label="Generate code"
            )
        )
        result = await asyncio.shield(asyncio.ensure_future(request))
        if result.applied:
            return
        await asyncio.sleep(_SECONDS_BETWEEN_EDIT_ATTEMPTS)
        if document.version == version:
            raise SciwrightError(
                f"The editor refused the edit ({result.failure_reason or 'it gave no reason'})"
            )
    raise SciwrightError("The document kept changing, so nothing was inserted", "Run it again")


def _workspace_edit(
    server: "SciwrightServer", uri: str, version: int | None, edits: Iterable[types.TextEdit]
) -> types.WorkspaceEdit:
    workspace = server.client_capabilities.workspace
    if workspace and workspace.workspace_edit and workspace.workspace_edit.document_changes:
        identifier = types.OptionalVersionedTextDocumentIdentifier(uri=uri, version=version)
        return types.WorkspaceEdit(document_changes=[types.TextDocumentEdit(identifier, list(edits))])
    return types.WorkspaceEdit(changes={uri: list(edits)})
