"""From a model's text to a block of Python code.

Models wrap code in fences, explain it, repeat the prompt, lose the indentation and are cut off at the token
limit. Each of these has a small filter here. `_pass` applies them in order, and `clean` repeats that until
nothing changes, so that cleaning a cleaned candidate changes nothing.

Text that parses is touched least: it loses echoes of the prompt, words that are no code at its edges
("Sure", "Done"), runaway repetition and trailing blanks. A repair is kept only where the text does not parse
without it and does with it. What cannot be repaired is returned as it is: the verifier rejects it.
"""

import ast
import keyword
import re
import warnings
from dataclasses import dataclass
from typing import NamedTuple

from sciwright.repairs import STRING, Parser, dedented, indent, mended

MAX_CHARACTERS = 65_536  # of an answer; the rest is dropped as if the token limit had cut it off
MAX_PIECES = 20  # blocks and runs of code looked at in one answer
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


def clean(raw: str, *, task: str = "", context: str = "", truncated: bool = False) -> Candidate:
    """Return the code in a model's text; never raises.

    Args:
        raw: The model's text.
        task: The task comment's text in one line; an echo of it above the code is removed.
        context: The source text that the model saw above the task; an echo of it above the code is removed.
            Names in it are known, so a last line that only shows one (`df`) is code and not prose.
        truncated: The token limit ended the text. A last line without its newline is not known to be whole
            (`y = x` may be the start of `y = x + 1`) and is dropped.
    """
    text = _without_thinking(_plain(raw))
    if len(text) > MAX_CHARACTERS:
        text, truncated = text[:MAX_CHARACTERS], True
    cut = truncated
    if cut:
        text = text[: text.rfind("\n") + 1]
    prompt = _Prompt(
        task=_letters(task),
        lines=tuple(filter(None, map(_squeezed, context.split("\n")))),
        names=frozenset(re.findall(r"[^\W\d]\w*", context)),
    )
    parse = Parser()
    with warnings.catch_warnings():  # invalid escapes in generated code
        warnings.simplefilter("ignore")
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


class _Piece(NamedTuple):
    """A stretch of an answer that looks like code, and the prose before it."""

    intro: str
    code: str
    fenced: bool


def _pass(text: str, prompt: _Prompt, cut: bool, parse: Parser) -> str:
    if parse.accepts(text):
        pieces = [_Piece("", text, fenced=False)]
    else:
        pieces = _pieces(_with_own_fence_lines(_without_chat_tokens(_without_thinking(text))), parse)
    refined = []
    for number, piece in enumerate(pieces, start=1):
        code = mended(_without_echoes(piece.code, prompt), cut and number == len(pieces), parse)
        if parse.accepts(piece.code) and not parse.accepts(code):
            code = piece.code  # needs the lines that looked like an echo
        if code := _without_words(code, prompt, parse):
            refined.append(piece._replace(code=code.strip("\n")))
    return _tidy(_without_runaway(_joined(refined, parse), parse))


# ---- Characters and markup


def _plain(text: str) -> str:
    text = text.encode("utf-8", "replace").decode("utf-8")  # lone surrogates
    return text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")


def _without_thinking(text: str) -> str:
    """Drop what a reasoning model thinks aloud; the opening tag may have been part of the prompt."""
    if re.match(r"\s*<think>", text):
        text = text.partition("</think>")[2]
    return re.split(r"(?m)^[ \t]*</think>[ \t]*$", text)[-1]


_TOKEN = r"(?:<\|\w+\|>|</?s>|<eos>|<(?:start|end)_of_turn>|<\uff5c[^\uff5c\n]{1,40}\uff5c>|\[/?INST\])"


def _without_chat_tokens(text: str) -> str:
    """Drop leaked control tokens at the start, and everything from a later one on; not those in quotes."""
    text = re.sub(rf"\A\s*(?:{_TOKEN}(?:(?:assistant|model)\b)?\s*)+", "", text)
    return re.split(rf"(?<![\"'`]){_TOKEN}(?![\"'`])", text, maxsplit=1)[0]


def _with_own_fence_lines(text: str) -> str:
    """Put fences that share a line with prose or code on lines of their own; unwrap an answer in backticks."""
    if inline := re.fullmatch(r"\s*(`+)(?:python[ \t]+)?([^`\n]+)\1\s*", text):
        return inline[2]
    text = re.sub(r"(?m)^([ \t]*```(?:python|py)?)[ \t]+(?=import |from |\w+ = )", r"\1\n", text)
    return re.sub(r"(?m)^([^`\n]*[^`\s\"'])[ \t]*(```(?:python|py)?)[ \t]*$", r"\1\n\2", text)


# ---- Pieces: what is code and what is prose


_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})[ \t]*([^`]*)$")
_PYTHON = re.compile(r"[{. ]*(?:(?:i?python|py)[\w.]*|jupyter|code)?(?:[\s{},]|$)", re.IGNORECASE)
_TYPED = re.compile(r"[ \t]*(?:>>>|\.\.\.)(?: |$)")
# What introduces a block that shows something other than the next lines of the answer.
_ASIDE = re.compile(
    r"\b(?:outputs?|prints|results? (?:is|are|in)|alternativ\w+|instead|another|or|examples?|usage|optional\w*"
    r"|if you|you can also|explanation|explained|how it works|break\w* (?:\w+ )*down|breakdown)\b",
    re.IGNORECASE,
)
_QUOTED = re.compile(rf"(?<!\w)(?:{STRING}|\"\"\".*|'''.*)|(?<=\b[rbfuRBFU])(?:{STRING})|`[^`]*`")
_WORD = rf"(?!(?:{'|'.join([*keyword.kwlist, 'match', 'case', 'type', 'print'])})\b)[^\W\d][\w'’-]*"
_TWO_WORDS = re.compile(rf"\b{_WORD} (?={_WORD})")
# Bullets, numbers, rules, quotations, emphasis, tables, tags, shell lines and magics, emoji.
_MARKDOWN = re.compile(
    r"[-+*] |\d+[.)] |[-=*_]{3,}\s*$|>(?!>)|\*\*|\||<|[$!%]|[^\w\s\x00-\x7f\u200b-\u200d\u2060\ufeff“”‘’]"
)


def _pieces(text: str, parse: Parser) -> list[_Piece]:
    """Split an answer into its fenced blocks, runs of code and interpreter sessions, each with its intro.

    Runs of code count only where no fence holds code. A run that begins the answer and ends at a fence was
    opened by a fence in the prompt. A session below other code shows how that is used, and does not count.
    """
    lines = text.split("\n")
    kinds = _kinds(lines, parse)
    pieces: list[_Piece] = []
    i = intro = 0
    while i < len(lines) and len(pieces) < MAX_PIECES:
        kind, fence = kinds[i], _FENCE.match(lines[i])
        if kind in ("blank", "prose"):
            i += 1
            continue
        before, start = "\n".join(lines[intro:i]), i + bool(fence)
        end = _end(lines, kinds, start, fence[1] if fence else "", parse)
        closing = _FENCE.match(lines[end]) if end < len(lines) else None
        opened_by_prompt = kind == "code" and not before.strip() and closing is not None and not closing[2]
        code = _without_prompts(_without_language("\n".join(lines[start:end])))
        if code.strip() and (_PYTHON.match(fence[2]) if fence else kind == "code" or not pieces):
            pieces.append(_Piece(before, code, fenced=fence is not None or opened_by_prompt))
        # A fence with a language opens a block, even where the one before was not closed.
        closes = opened_by_prompt or (fence and closing and not closing[2])
        i = intro = end + bool(closes)
    return [piece for piece in pieces if piece.fenced] or pieces


def _kinds(lines: list[str], parse: Parser) -> list[str]:
    """Return for each line: "blank", "fence", "session" (a `>>>` prompt), "prose" or "code"."""
    kinds = []
    below = ""
    for line in reversed(lines):
        if not line.strip():
            kinds.append("blank")
            continue
        if _FENCE.match(line):
            below = "fence"
        elif line.lstrip().startswith(">>>"):
            below = "session"
        elif not line.startswith("#"):
            below = "prose" if _is_prose(line.strip()) and not parse.accepts(line.strip()) else "code"
        elif below != "prose":  # else a heading of the prose
            below = "code"
        kinds.append(below)
    return kinds[::-1]


def _is_prose(line: str) -> bool:
    """Whether a line reads like prose: Python never has two plain words in a row."""
    if line.startswith(("#", "@")) or keyword.iskeyword(line.rstrip(": ")):
        return False
    if _MARKDOWN.match(line) or re.search("[，。：！？、]", line):
        return True
    bare = _QUOTED.sub(" ", line).strip()
    pairs = len(_TWO_WORDS.findall(bare))
    if pairs == 1:
        return bare[-1] in ".,:;!?…" or not re.search(r"[=()\[\]{}]", bare)
    return pairs > 1 or bool(re.fullmatch(r"[^\W\d][^=()\[\]{}]*[.!?…]|[A-Z][^=()\[\]{}]*:|[\w-]+:", bare))


def _end(lines: list[str], kinds: list[str], start: int, ticks: str, parse: Parser) -> int:
    """Return where a piece of code ends: at the first stop above which it parses, else the first stop.

    Stops are fences (of the kind that opened it) and, outside a fence, sessions and prose: those inside
    a string leave code that does not parse.
    """
    if not ticks and parse.accepts(dedented("\n".join(lines[start:]))):
        return len(lines)
    stops = [j for j in range(start, len(lines)) if kinds[j] == "fence" and lines[j].lstrip().startswith(ticks)]
    if kinds[start] == "code" and not ticks: ...
    sound = (j for j in stops[:MAX_PIECES] if parse.accepts(dedented("\n".join(lines[start:j]))))
    return next(sound, stops[0] if stops else len(lines))


def _without_language(code: str) -> str:
    """Drop a first line that only names the language (its fence was in the prompt, or on another line)."""
    return re.sub(r"\A\s*(?:i?python3?|py)[ \t]*\n", "", code, flags=re.IGNORECASE)


def _without_prompts(code: str) -> str:
    """Keep of an interpreter session what was typed."""
    if not code.lstrip().startswith(">>>"):
        return code
    return "\n".join(line[typed.end() :] for line in code.split("\n") if (typed := _TYPED.match(line)))


def _joined(pieces: list[_Piece], parse: Parser) -> str:
    """Return the first piece that parses and does something, with the later ones that continue it.

    A later piece continues the code where it builds on a name from above or brings only new names, not
    where it repeats lines or starts over. An aside (output, example, alternative, explanation) ends the code.
    """
    sound = [piece for piece in pieces if parse.accepts(piece.code)]
    if not sound:
        return max((piece.code for piece in pieces), key=len, default="")
    first = next((piece for piece in sound if _acts(parse(piece.code))), sound[0])
    code = first.code
    for piece in pieces[pieces.index(first) + 1 :]:
        if _ASIDE.search(piece.intro):
            break
        if piece in sound and _continues(piece.code, code, parse):
            code = f"{code}\n\n{piece.code}"
    return code


def _acts(tree: ast.Module | SyntaxError) -> bool:
    return isinstance(tree, ast.Module) and any(
        not isinstance(statement, ast.Expr) or any(isinstance(node, ast.Call) for node in ast.walk(statement))
        for statement in tree.body
    )


def _continues(later: str, earlier: str, parse: Parser) -> bool:
    if not _acts(parse(later)) or set(map(str.strip, later.split("\n"))) <= set(map(str.strip, earlier.split("\n"))):
        return False
    (bound, used), (bound_above, _) = _names(parse(later)), _names(parse(earlier))
    return not bound & bound_above or bool((used - bound) & bound_above)


def _names(tree: ast.AST | SyntaxError) -> tuple[set[str], set[str]]:
    """Return the names that a tree binds, and those that it reads."""
    bound, used = set(), set()
    for node in ast.walk(tree) if isinstance(tree, ast.AST) else ():
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                used.add(name)
            case ast.Name(id=name) | ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
                bound.add(name)
            case ast.alias(name=name, asname=alias):
                bound.add(alias or name.partition(".")[0])
    return bound, used


# ---- Echoes of the prompt, and words at the edges


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
    words = {statement: _words(statement) for statement in tree.body}
    known = prompt.names.union(*(name for s in tree.body if not words[s] for name in _names(s)))
    solid = [i for i, s in enumerate(tree.body) if not words[s] or words[s] & known]
    if not solid:
        return ""
    first, last = tree.body[solid[0]], tree.body[solid[-1]]
    start = (tree.body[solid[0] - 1].end_lineno or 0) if solid[0] else 0
    lines = code.split("\n")
    end = tree.body[solid[-1] + 1].lineno - 1 if last is not tree.body[-1] else len(lines)
    if start >= first.lineno or end < (last.end_lineno or 0):
        return code  # on one line with code, beside a semicolon
    return "\n".join(lines[start:end])


_OPERATORS = (ast.boolop, ast.operator, ast.unaryop, ast.cmpop)
_WORDLIKE = (ast.Name, ast.Tuple, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Compare, ast.expr_context, *_OPERATORS)


def _words(statement: ast.stmt) -> set[str]:
    """Return the names in a statement that is nothing but names ("done", "Note: x"), else nothing."""
    match statement:
        case ast.AnnAssign(target=ast.Name(id=name), value=None):
            return {name}
        case ast.Expr(value=value) if all(isinstance(node, _WORDLIKE) for node in ast.walk(value)):
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
    lines = code.split("\n")
    if '"""' not in code and "'''" not in code:  # no blanks at the end of a line belong to a string
        lines = [line.rstrip() for line in lines]
    solid = [i for i, line in enumerate(lines) if line.strip()] or [len(lines)]
    lines = lines[solid[0] : solid[-1] + 1]
    for i, line in enumerate(lines):
        if not line.lstrip().startswith("#"):
            break
        lines[i] = line.lstrip()
    return "\n".join(lines)


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))


def _squeezed(line: str) -> str:
    return "".join(line.split())
