"""Where generated code goes: one insertion below the task comment, indented as the comment is."""

from dataclasses import dataclass

from sciwright.lexing import lines_in_strings
from sciwright.lines import line_end, split_lines
from sciwright.tasks import Task, find_tasks


@dataclass(frozen=True, slots=True)
class Insertion:
    """Text to put in before a position.

    Args:
        line: Line of the position, from 0; one past the last line for a text that ends in a line end.
        character: Column of the position in code points; not 0 only at the end of an unended last line.
        text: What to insert, with the document's line ends.
    """

    line: int
    character: int
    text: str

    def apply(self, source: str) -> str:
        """Return `source` with the insertion made."""
        lines = split_lines(source)
        offset = sum(map(len, lines[: self.line])) + self.character
        return source[:offset] + self.text + source[offset:]


def insert_below(source: str, task: Task, code: str) -> Insertion:
    """Return the insertion of `code` below `task`, which `find_tasks` found in `source`.

    Args:
        source: The document as it is now.
        task: The task, with its place in `source`.
        code: Code that starts in column 0, without a line end after its last line.
    """
    lines = split_lines(source)
    end = line_end(source)
    body = end.join(_indented(code, task.indent))
    last = lines[task.last_line]
    if last.endswith(("\n", "\r")):
        return Insertion(task.last_line + 1, 0, body + end)
    # The comment ends the file without a line end, and so will the code.
    return Insertion(task.last_line, len(last), end + body)


def find_again(source: str, task: Task, earlier: str, trigger: str = "Task") -> Task | None:
    """Return where `task` of the text `earlier` stands in `source` now, or None when that is not certain.

    A comment that occurs several times with the same words is found by its rank among them, as long as none
    of them came or went.
    """
    before = [t for t in find_tasks(earlier, trigger) if t.same_request(task)]
    now = [t for t in find_tasks(source, trigger) if t.same_request(task)]
    if task not in before or len(before) != len(now):
        return None
    return now[before.index(task)]


def _indented(code: str, indent: str) -> list[str]:
    """Return the lines of `code` at `indent`; lines inside a multi-line string stay where they are."""
    lines = [line.rstrip("\r\n") for line in split_lines(code)]
    inside = lines_in_strings(code) - _docstring_lines(code) if indent else set()
    return [
        line if number in inside or not line.strip() else indent + line for number, line in enumerate(lines)
    ]


def _docstring_lines(code: str) -> set[int]:
    """Return the lines (from 0) that begin inside a docstring, which is indented as the code is."""
    import ast
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the code's text, not of ours
            tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    return {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and ast.get_docstring(node, clean=False)
        for line in range(node.body[0].lineno, node.body[0].end_lineno or 0)
    }
