"""From a model's text to a block of Python code.

Models wrap code in fences, explain it, repeat the prompt, lose the indentation and are cut off at the token
limit. Each of these has a small filter here. `_pass` applies them in order, and `clean` repeats that until
nothing changes, so that cleaning a cleaned candidate changes nothing.

Text that parses is touched least: it loses echoes of the prompt, words that are no code at its edges
("Sure", "Done"), runaway repetition and trailing blanks. A repair is kept only where the text does not parse
without it and does with it. What cannot be repaired is returned as it is: the verifier rejects it.
"""

import ast
import re
from dataclasses import dataclass
from typing import NamedTuple

from sciwright.answers import Piece, bound_and_used, joined, pieces, without_thinking
from sciwright.repairs import Parser, indent, mended, without_open_string
from sciwright.tasks import find_tasks

MAX_CHARACTERS = 65_536  # of an answer; the rest is dropped as if the token limit had cut it off
PASSES = 5
RUNAWAY = 8  # equal lines, or groups of up to four lines, at the end that make a runaway loop


@dataclass(frozen=True, slots=True)
class Candidate:
    """A block of code, as it could be inserted.

    Args:
        code: Starts at column 0, has no blank lines around it and no newline at its end; "" when the text
            held no code.
        raw: The model's text as it came.
        truncated: The token limit cut the text off (or it was longer than `MAX_CHARACTERS`); what remains of
            its last block are the statements that were complete.
    """

    code: str
    raw: str
    truncated: bool


def clean(
    raw: str, *, task: str = "", context: str = "", truncated: bool = False, trigger: str = "Task"
) -> Candidate:
    """Return the code in a model's text; never raises.

    Args:
        raw: The model's text.
        task: The task comment's text in one line; an echo of it above the code is removed.
        context: The source text that the model saw above the task; an echo of it above the code is removed.
            Names in it are known, so a last line that only shows one (`df`) is code and not prose.
        truncated: The token limit ended the text. A last line without its newline is not known to be whole
            (`y = x` may be the start of `y = x + 1`) and is dropped.
        trigger: The word that starts a task comment; the code ends before a further task.
    """
    text = without_thinking(_plain(raw))
    if len(text) > MAX_CHARACTERS:
        text, truncated = text[:MAX_CHARACTERS], True
    cut = truncated
    if cut:
        text = without_open_string(text[: text.rfind("\n") + 1])
    prompt = _Prompt(
        task=_letters(task),
        lines=tuple(filter(None, map(_squeezed, context.split("\n")))),
        names=frozenset(re.findall(r"[^\W\d]\w*", context)),
        trigger=trigger,
    )
    parse = Parser()
    for _ in range(PASSES):
        code = _pass(text, prompt, cut, parse)
        if code == text:
            return Candidate(code, raw, truncated)
        text, cut = code, False
    return Candidate("", raw, truncated)  # what does not settle is no code


class _Prompt(NamedTuple):
    """The task and the context, in the forms that answers are compared with."""

    task: str
    lines: tuple[str, ...]
    names: frozenset[str]
    trigger: str


def _pass(text: str, prompt: _Prompt, cut: bool, parse: Parser) -> str:
    parts = [Piece("", text, fenced=False)] if parse.accepts(text) else pieces(text, parse)
    refined = []
    for number, part in enumerate(parts, start=1):
        code = mended(_without_echoes(part.code, prompt), cut and number == len(parts), parse)
        if parse.accepts(part.code) and not parse.accepts(code):
            code = part.code  # needs the lines that looked like an echo
        if code := _without_words(code, prompt, parse):
            refined.append(part._replace(code=code.strip("\n")))
    return _tidy(_without_further_tasks(_without_runaway(joined(refined, parse), parse), prompt, parse))


def _without_further_tasks(code: str, prompt: _Prompt, parse: Parser) -> str:
    """Drop task comments: in the buffer they would be live tasks, and nobody has asked for them.

    A small model goes on with a task of its own; the code ends there. One above the first statement that
    does something is the model's own wording of what it was asked for, and only the comment goes.
    """
    while tasks := find_tasks(code, prompt.trigger):
        lines = code.split("\n")
        above = "\n".join(lines[: tasks[0].first_line])
        does_something = any(
            line.strip() and not line.lstrip().startswith(("#", "import ", "from "))
            for line in above.split("\n")
        )
        if does_something and parse.accepts(above):
            return above
        del lines[tasks[0].first_line : tasks[0].last_line + 1]
        code = "\n".join(lines)
    return code


def _plain(text: str) -> str:
    text = text.encode("utf-8", "replace").decode("utf-8")  # lone surrogates
    return _without_byte_order_mark(text.replace("\r\n", "\n").replace("\r", "\n"))


def _without_byte_order_mark(text: str) -> str:
    return re.sub(r"\A\s*\ufeff[\s\ufeff]*", "", text)


def _without_echoes(code: str, prompt: _Prompt) -> str:
    """Drop what repeats the prompt above the code: lines of the context, the task comment, `# Check:` lines.

    Leading lines echo the context where they repeat lines of it in order and end with its last one (two
    lines at least, or the whole context), or where the task comment follows. Imports and comments among them
    that the context does not have stay, and so does a single repeated line, such as an import.
    """
    lines = code.split("\n")
    kept: list[str] = []
    echoed: list[str] = []
    task_seen = False
    i = at = 0
    while i < min(len(lines), 500):
        line, squeezed = lines[i], _squeezed(lines[i])
        if size := _task_echo(lines[i : i + 12], prompt.task):
            task_seen = True
            i += size - 1
        elif squeezed and not task_seen and squeezed in prompt.lines[at:]:
            at = prompt.lines.index(squeezed, at) + 1
            echoed.append(line)
        elif not squeezed or line.lstrip().startswith(("#", "import ", "from ")):
            if not squeezed.casefold().startswith("#check:"):
                kept.append(line)
        else:
            break
        i += 1
    if echoed and not task_seen:
        deeper = i < len(lines) and indent(lines[i]) > indent(echoed[0])
        partial = len(echoed) == 1 or deeper or _squeezed(echoed[-1]) != prompt.lines[-1]
        if partial and len(echoed) < len(prompt.lines):
            return code
    return "\n".join(kept + lines[i:])


def _task_echo(lines: list[str], task: str) -> int:
    """Return how many comment lines at the top repeat the task, with or without a `Task:` before it."""
    said = ""
    for size, line in enumerate(lines, start=1):
        if not task or not line.lstrip().startswith("#"):
            return 0
        said += line.lstrip(" \t#") + " "
        if task in (_letters(said), _letters(said.partition(":")[2])):
            return size
    return 0


def _without_words(code: str, prompt: _Prompt, parse: Parser) -> str:
    """Drop statements at the edges that only combine unknown names: a stray "Sure" or "Done" parses too."""
    tree = parse(code)
    if not isinstance(tree, ast.Module):
        return code
    edges = tree.body[:1] + tree.body[-1:]
    if edges and not any(map(_words, edges)):
        return code
    words = [_words(statement) for statement in tree.body]
    solid = [statement for statement, names in zip(tree.body, words, strict=True) if not names]
    known = prompt.names.union(*(names for statement in solid for names in bound_and_used(statement)))
    kept = [i for i, names in enumerate(words) if not names or names & known]
    if not kept:
        return ""
    first, last = tree.body[kept[0]], tree.body[kept[-1]]
    start = (tree.body[kept[0] - 1].end_lineno or 0) if kept[0] else 0
    lines = code.split("\n")
    end = tree.body[kept[-1] + 1].lineno - 1 if last is not tree.body[-1] else len(lines)
    if start >= first.lineno or end < (last.end_lineno or 0):
        return code  # on one line with code, beside a semicolon
    return "\n".join(lines[start:end])


_EXPRESSIONS = (ast.Name, ast.Tuple, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Compare)
_SYNTAX = (ast.expr_context, ast.boolop, ast.operator, ast.unaryop, ast.cmpop)


def _words(statement: ast.stmt) -> set[str]:
    """Return the names in a statement that is nothing but names ("done", "Note: x"), else nothing."""
    match statement:
        case ast.AnnAssign(target=ast.Name(id=name), value=None):
            return {name}
        case ast.Expr(value=value) if all(
            isinstance(node, _EXPRESSIONS + _SYNTAX) for node in ast.walk(value)
        ):
            return {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}
    return set()


def _without_runaway(code: str, parse: Parser) -> str:
    """Cut a small model's endless repetition at the end to one; code that parses goes on parsing."""
    lines = code.split("\n")
    size = 1
    while size <= 4:
        repeats = 1
        while lines[-size:] == lines[-size * (repeats + 1) : -size * repeats]:
            repeats += 1
        if repeats >= RUNAWAY:
            del lines[-size * (repeats - 1) :]
        size = 1 if repeats >= RUNAWAY else size + 1
    shorter = "\n".join(lines)
    return code if parse.accepts(code) and not parse.accepts(shorter) else shorter


def _tidy(code: str) -> str:
    code = _without_byte_order_mark(code)
    lines = code.split("\n")
    if '"""' not in code and "'''" not in code:  # no blanks at the end of a line belong to a string
        lines = [line.rstrip() for line in lines]
    solid = [i for i, line in enumerate(lines) if line.strip()] or [len(lines)]
    lines = lines[solid[0] : solid[-1] + 1]
    for i, line in enumerate(lines):  # comments at the top may be indented and parse
        lines[i] = line.lstrip()
        if not lines[i].startswith("#"):
            break
    return "\n".join(lines)


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))


def _squeezed(line: str) -> str:
    return "".join(line.split())
