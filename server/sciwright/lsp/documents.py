"""Open documents: their lines, tasks and positions."""

import functools
from urllib.parse import unquote

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.workspace import ServerTextPosition, TextDocument

from sciwright.lines import split_lines
from sciwright.tasks import Task, find_tasks

# pygls splits lines with str.splitlines, which also breaks at form feeds, U+2028 and others: from the first
# of them on, the server's copy of a document would drift away from the editor's with each change.
setattr(TextDocument, "lines", property(lambda self: tuple(split_lines(self.source))))  # noqa: B010


def find_open(server: LanguageServer, uri: str) -> TextDocument | None:
    """Return the document or notebook cell if the client has it open."""
    documents: dict[str, TextDocument] = server.workspace.text_documents
    return documents.get(unquote(uri))


@functools.lru_cache(maxsize=32)
def tasks_in(source: str, trigger: str) -> tuple[Task, ...]:
    """Return the tasks of a document's text; asked again for the same text, it answers at once."""
    return tuple(find_tasks(source, trigger))


def client_position(document: TextDocument, line: int, character: int) -> types.Position:
    """Return a position in the client's units; `character` counts code points."""
    return document.position_to_client_units(ServerTextPosition(line, character))
