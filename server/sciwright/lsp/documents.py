"""Open documents: their lines, tasks and positions."""

import functools
from urllib.parse import unquote

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.workspace import ServerTextPosition, TextDocument

from sciwright.lines import split_lines
from sciwright.tasks import Task, task_at


@functools.lru_cache(maxsize=8)
def lines_of(source: str) -> tuple[str, ...]:
    """Return the lines of a document's text; a keystroke and the request that follows it split it once."""
    return tuple(split_lines(source))


# pygls splits lines with str.splitlines, which also breaks at form feeds, U+2028 and others: from the first
# of them on, the server's copy of a document would drift away from the editor's with each change.
setattr(TextDocument, "lines", property(lambda self: lines_of(self.source)))  # noqa: B010


def find_open(server: LanguageServer, uri: str) -> TextDocument | None:
    """Return the document or notebook cell if the client has it open."""
    documents: dict[str, TextDocument] = server.workspace.text_documents
    return documents.get(unquote(uri))


def task_in(document: TextDocument, line: int, trigger: str) -> Task | None:
    """Return the task whose comment covers `line` of the document."""
    return task_at(document.source, line, trigger, lines=document.lines)


def client_position(document: TextDocument, line: int, character: int) -> types.Position:
    """Return a position in the client's units; `character` counts code points."""
    return document.position_to_client_units(ServerTextPosition(line, character))
