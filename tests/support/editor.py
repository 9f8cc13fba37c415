"""An editor for tests: a language client that keeps its own copies of the documents and applies edits to them.

Its copies are what a user would see. It refuses edits for an older version, as VS Code does.
"""

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path

from lsprotocol import types
from pytest_lsp import LanguageClient, client_capabilities, make_test_lsp_client

REPOSITORY = Path(__file__).parents[2]
SERVE = (sys.executable, "-m", "sciwright", "serve")
KIND = "refactor.rewrite.sciwright"


class Editor:
    """A language client with documents."""

    def __init__(self, client: LanguageClient) -> None:
        self.client = client
        self.texts: dict[str, str] = {}
        self.versions: dict[str, int] = {}
        self.edits: list[types.WorkspaceEdit] = []
        self.refuse: str | None = None
        self.before_edit = None

        @client.feature(types.WORKSPACE_APPLY_EDIT)
        def apply_edit(params: types.ApplyWorkspaceEditParams) -> types.ApplyWorkspaceEditResult:
            return self._apply_edit(params)

    @property
    def messages(self) -> list[str]:
        return [message.message for message in self.client.messages]

    @property
    def progress(self) -> list[object]:
        return [report for reports in self.client.progress_reports.values() for report in reports]

    def open(self, text: str, uri: str = "file:///task.py") -> str:
        self.texts[uri], self.versions[uri] = text, 1
        item = types.TextDocumentItem(uri, "python", 1, text)
        self.client.text_document_did_open(types.DidOpenTextDocumentParams(item))
        return uri

    def type(self, uri: str, line: int, character: int, text: str) -> None:
        """Insert `text` as a user would (the position is in the client's units)."""
        place = types.Position(line, character)
        change = types.TextDocumentContentChangePartial(types.Range(place, place), text)
        self.texts[uri] = self._changed(uri, types.TextEdit(change.range, text))
        self._tell_change(uri, change)

    def replace(self, uri: str, text: str) -> None:
        """Replace the whole document."""
        self.texts[uri] = text
        self._tell_change(uri, types.TextDocumentContentChangeWholeDocument(text))

    async def code_actions(
        self, uri: str, line: int, only: list[str] | None = None
    ) -> list[types.CodeAction]:
        place = types.Position(line, 0)
        return await self.client.text_document_code_action_async(
            types.CodeActionParams(
                types.TextDocumentIdentifier(uri),
                types.Range(place, place),
                types.CodeActionContext([], only=only),
            )
        )

    async def generate(self, uri: str, line: int) -> None:
        """Run the code action of a task line; its generation goes on afterwards."""
        (action,) = await self.code_actions(uri, line)
        command = action.command
        await self.client.workspace_execute_command_async(
            types.ExecuteCommandParams(command.command, command.arguments)
        )

    async def until(self, condition, seconds: float = 30.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)

    async def until_ended(self, generations: int = 1) -> None:
        """Wait until that many generations have ended their progress."""

        def ended() -> int:
            return sum(isinstance(report, types.WorkDoneProgressEnd) for report in self.progress)

        await self.until(lambda: ended() >= generations)

    def _apply_edit(self, params: types.ApplyWorkspaceEditParams) -> types.ApplyWorkspaceEditResult:
        if self.before_edit:
            self.before_edit()
            self.before_edit = None
        if self.refuse:
            return types.ApplyWorkspaceEditResult(applied=False, failure_reason=self.refuse)
        if params.edit.changes:
            ((uri, (edit,)),) = params.edit.changes.items()
            return self._accept(uri, edit, params.edit)
        (document,) = params.edit.document_changes
        uri = document.text_document.uri
        if document.text_document.version != self.versions[uri]:
            return types.ApplyWorkspaceEditResult(applied=False, failure_reason="the document has changed")
        (edit,) = document.edits
        return self._accept(uri, edit, params.edit)

    def _accept(
        self, uri: str, edit: types.TextEdit, whole: types.WorkspaceEdit
    ) -> types.ApplyWorkspaceEditResult:
        self.edits.append(whole)
        self.texts[uri] = self._changed(uri, edit)
        self._tell_change(uri, types.TextDocumentContentChangePartial(edit.range, edit.new_text))
        return types.ApplyWorkspaceEditResult(applied=True)

    def _changed(self, uri: str, edit: types.TextEdit) -> str:
        """Return the text after an edit, by the editor's own rules for lines and columns."""
        text = self.texts[uri]
        start, end = (self._offset(text, place) for place in (edit.range.start, edit.range.end))
        return text[:start] + edit.new_text + text[end:]

    def _offset(self, text: str, place: types.Position) -> int:
        offset = 0
        for _ in range(place.line):
            ends = [text.find(end, offset) for end in ("\n", "\r")]
            offset = min(e for e in ends if e >= 0)
            offset += 2 if text[offset : offset + 2] == "\r\n" else 1
        encoding = self.client_encoding
        units = 0
        while units < place.character:
            units += len(text[offset].encode(encoding)) // (
                1 if encoding == "utf-8" else int(encoding[4:6]) // 8
            )
            offset += 1
        return offset

    @property
    def client_encoding(self) -> str:
        name = self.encoding
        return name if name == "utf-8" else f"{name}-le"

    def _tell_change(self, uri: str, change: types.TextDocumentContentChangeEvent) -> None:
        self.versions[uri] += 1
        self.client.text_document_did_change(
            types.DidChangeTextDocumentParams(
                types.VersionedTextDocumentIdentifier(self.versions[uri], uri), [change]
            )
        )


@asynccontextmanager
async def editing(
    *command: str,
    encoding: str = "utf-16",
    configuration: dict | None = None,
    environment: dict[str, str] | None = None,
    edit_capabilities=None,
):
    """Start a server and an editor for it, and end both."""
    client = make_test_lsp_client()
    # lsprotocol takes every code action that carries a command for a bare command.
    client.protocol._converter.register_structure_hook(
        types.Command | types.CodeAction,
        lambda value, _: client.protocol._converter.structure(value, types.CodeAction),
    )
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("SCIWRIGHT_ENDPOINT")
    } | (environment or {})
    await client.start_io(*(command or SERVE), env=environment)
    editor = Editor(client)
    editor.encoding = encoding
    client.set_configuration({"sciwright": configuration or {}})
    capabilities = client_capabilities("visual-studio-code")
    capabilities.general.position_encodings = [encoding]
    if edit_capabilities:
        edit_capabilities(capabilities)
    try:
        result = await client.initialize_session(
            types.InitializeParams(capabilities=capabilities, root_uri=REPOSITORY.as_uri())
        )
        editor.server_capabilities = result.capabilities
        yield editor
        await asyncio.wait_for(client.shutdown_session(), 10)
    finally:
        if client._server and client._server.returncode is None:
            try:
                await asyncio.wait_for(client._server.wait(), 2)
            except TimeoutError:
                client._server.kill()
        await client.stop()
