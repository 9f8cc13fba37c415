"""`textDocument/codeAction`: "Generate code for this task" on the lines of a task comment."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lsprotocol import types

from sciwright.lsp.documents import task_in
from sciwright.lsp.generations import GENERATE

if TYPE_CHECKING:
    from sciwright.lsp.server import SciwrightServer

KIND = "refactor.rewrite.sciwright"
TITLE = "Generate code for this task"


def register(server: "SciwrightServer") -> None:
    """Add the feature to `server`."""

    @server.feature(
        types.TEXT_DOCUMENT_CODE_ACTION,
        types.CodeActionOptions(code_action_kinds=[KIND], resolve_provider=False),
    )
    def code_actions(params: types.CodeActionParams) -> list[types.CodeAction]:
        if not _wanted(params.context.only):
            return []
        document = server.workspace.get_text_document(params.text_document.uri)
        for line in {params.range.start.line, params.range.end.line}:
            if task := task_in(document, line, server.settings.trigger):
                # Its indentation is white space, of the same length in every position encoding.
                position = types.Position(task.first_line, len(task.indent))
                command = types.Command(TITLE, GENERATE, arguments=[params.text_document.uri, position])
                return [types.CodeAction(TITLE, kind=KIND, command=command)]
        return []


def _wanted(only: Sequence[types.CodeActionKind | str] | None) -> bool:
    """Return whether the client asks for our kind or for one that includes it."""
    return only is None or any(kind == KIND or KIND.startswith(f"{kind}.") for kind in map(str, only))
