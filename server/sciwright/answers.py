"""Tells the code in a model's answer from the prose around it."""

import ast
import keyword
import re
from typing import NamedTuple

from sciwright.repairs import LITERAL, Parser, dedented, indent, without_open_string

MAX_PIECES = 20  # blocks and runs of code looked at in one answer, and stops looked at to end each

_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})[ \t]*([^`]*)$")
_PYTHON = re.compile(r"[{. ]*(?:(?:i?python|py)[\w.]*|jupyter|code)?(?:[\s{},]|$)", re.IGNORECASE)
_TYPED = re.compile(r"[ \t]*(?:>>>|\.\.\.)(?: |$)")
_TOKEN = r"(?:<\|\w+\|>|</?s>|<eos>|<(?:start|end)_of_turn>|<\uff5c[^\uff5c\n]{1,40}\uff5c>|\[/?INST\])"
# What introduces a block that shows something other than the next lines of the answer.
_ASIDE = re.compile(
    r"\b(?:outputs?|prints|results? (?:is|are|in)|alternativ\w+|instead|another|examples?|usage|optional\w*"
    r"|if you|you can also|explanation|explained|how it works|break\w* (?:\w+ )*down|breakdown)\b|(?m:^or\b)",
    re.IGNORECASE,
)
_QUOTED = re.compile(rf"{LITERAL}|`[^`]*`|(?:#|\"\"\"|''').*")
_WORD = rf"(?!(?:{'|'.join([*keyword.kwlist, 'match', 'case', 'type', 'print'])})\b)[^\W\d][\w'’-]*"
_TWO_WORDS = re.compile(rf"\b{_WORD} (?={_WORD})")
# Bullets, numbers, rules, quotations, emphasis, tables, tags, shell lines and magics, emoji.
_MARKDOWN = re.compile(
    r"[-+*] |\d+[.)] |[-=*_]{3,}\s*$|>(?!>)|\*\*|\||<|[$!%]|[^\w\s\x00-\x7f\u200b-\u200d\u2060\ufeff“”‘’]"
)
_SENTENCE = re.compile(r"[^\W\d][^=()\[\]{}]*[.!?…]|[A-Z][^=()\[\]{}]*:|[\w-]+:")


class Piece(NamedTuple):
    """A stretch of an answer that looks like code, and the prose before it."""

    intro: str
    code: str
    fenced: bool


def without_thinking(text: str) -> str:
    """Drop what a reasoning model thinks aloud; the opening tag may have been part of the prompt."""
    if re.match(r"\s*<think>", text):
        text = text.partition("</think>")[2]
    return re.split(r"(?m)^[ \t]*</think>[ \t]*$", text)[-1]


def pieces(text: str, parse: Parser) -> list[Piece]:
    """Split an answer into its fenced blocks, runs of code and interpreter sessions, each with its intro.

    Runs of code count only where no fence holds code. A run that begins the answer and ends at a fence was
    opened by a fence in the prompt. A session below other code shows how that is used, and does not count.
    """
    lines = _with_own_fence_lines(_without_chat_tokens(without_thinking(text))).split("\n")
    kinds = _kinds(lines, parse)
    fences = [fence for line in lines if (fence := _FENCE.match(line))]
    unpaired = any(fence[2] for fence in fences) or len(fences) % 2 == 1
    found: list[Piece] = []
    below = 0
    for _ in range(MAX_PIECES):
        start = next((i for i in range(below, len(lines)) if kinds[i] not in ("blank", "prose")), None)
        if start is None:
            break
        fence, end = _FENCE.match(lines[start]), _end(lines, kinds, start, parse)
        intro, code = "\n".join(lines[below:start]), "\n".join(lines[start + bool(fence) : end])
        closing = _FENCE.match(lines[end]) if end < len(lines) else None
        if closing and closing[2]:
            closing = None  # with a language it opens a block, even where the one before was not closed
        if fence:
            fenced, counts = True, bool(_PYTHON.match(fence[2]) and {"code", "session"} & {*kinds[start:end]})
        elif kinds[start] == "code":
            fenced, counts = bool(closing and unpaired and not intro.strip() and not _idle(parse(code))), True
        else:
            fenced, counts = False, not found
        if counts:
            found.append(Piece(intro, _without_prompts(_without_language(code)), fenced))
        below = end + bool(fenced and closing)
    return [piece for piece in found if piece.fenced] or found


def joined(parts: list[Piece], parse: Parser) -> str:
    """Return the first piece that parses and does something, with the later ones that continue it.

    A later piece continues the code where it builds on a name from above or brings only new names, not
    where it repeats lines or starts over. An aside (output, example, alternative, explanation) ends the code.
    """
    sound = [part for part in parts if parse.accepts(part.code)]
    if not sound:
        return max((part.code for part in parts), key=len, default="")
    first = next((part for part in sound if not _idle(parse(part.code))), sound[0])
    code = first.code
    for part in parts[parts.index(first) + 1 :]:
        if _ASIDE.search(part.intro):
            break
        if part in sound and _continues(part.code, code, parse):
            code = f"{code}\n\n{part.code}"
    return code


def bound_and_used(tree: ast.AST | SyntaxError) -> tuple[set[str], set[str]]:
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


def _without_chat_tokens(text: str) -> str:
    """Drop leaked control tokens at the start, and everything from a later one on; those in strings stay."""
    text = re.sub(rf"\A\s*(?:{_TOKEN}(?:(?:assistant|model)\b)?\s*)+", "", text)
    for found in re.finditer(rf"{LITERAL}|(?P<token>{_TOKEN})", text):
        if found["token"]:
            return text[: found.start()]
    return text


def _with_own_fence_lines(text: str) -> str:
    """Move fences off the lines of prose and code that they share; unwrap an answer that is all backticks."""
    if inline := re.fullmatch(r"\s*(`+)(?:python[ \t]+)?([^`\n]+)\1\s*", text):
        return inline[2]
    text = re.sub(r"(?m)^([ \t]*```(?:python|py)?)[ \t]+(?=import |from |\w+ = )", r"\1\n", text)
    return re.sub(r"(?m)^([^`\n]*[^`\s\"'])[ \t]*(```(?:python|py)?)[ \t]*$", r"\1\n\2", text)


def _without_language(code: str) -> str:
    """Drop a first line that only names the language (its fence was in the prompt, or on another line)."""
    return re.sub(r"\A\s*(?:i?python3?|py)[ \t]*\n", "", code, flags=re.IGNORECASE)


def _without_prompts(code: str) -> str:
    """Keep of an interpreter session what was typed."""
    if not code.lstrip().startswith(">>>"):
        return code
    return "\n".join(line[typed.end() :] for line in code.split("\n") if (typed := _TYPED.match(line)))


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
            below = "prose" if _is_prose(line.strip()[:500]) and not parse.accepts(line.strip()) else "code"
        elif below != "prose":  # else it is a heading of the prose
            below = "code"
        kinds.append(below)
    return kinds[::-1]


def _is_prose(line: str) -> bool:
    """Whether a line reads like prose: Python never has two plain words in a row."""
    if line.startswith(("#", "@")):
        return False
    if _MARKDOWN.match(line) or re.search("[，。：！？、]", line):
        return True
    bare = _QUOTED.sub(" ", line).strip()
    if keyword.iskeyword(bare.rstrip(": ")):
        return False
    pairs = len(_TWO_WORDS.findall(bare))
    if pairs == 1:
        return bare[-1] in ".,:;!?…" or not re.search(r"[=()\[\]{}]", bare)
    return pairs > 1 or bool(_SENTENCE.fullmatch(bare))


def _end(lines: list[str], kinds: list[str], opening: int, parse: Parser) -> int:
    """Return where the piece that opens at a line ends: at the first stop above which its code parses.

    Stops are fences (of the sort that opened it) and, for code outside fences, sessions and prose no deeper
    than it. Those inside a string leave code that does not parse. Where nothing parses, it ends at the first
    stop that is neither deeper nor inside a string.
    """
    kind, fence = kinds[opening], _FENCE.match(lines[opening])
    start = opening + bool(fence)
    if kind == "code" and parse.accepts(dedented("\n".join(lines[start:]))):
        return len(lines)
    deep = [indent(line) > indent(lines[opening]) for line in lines]
    stops = [
        i
        for i in range(start, len(lines))
        if (kinds[i] == "fence" and lines[i].lstrip().startswith(fence[1] if fence else ""))
        or (kind == "code" and kinds[i] in ("session", "prose") and not deep[i])
    ][:MAX_PIECES]
    outer = [*(i for i in stops if not deep[i]), len(lines)]
    above = {i: "\n".join(lines[start:i]) for i in [*stops, len(lines)]}
    sound = (i for i, code in above.items() if parse.accepts(dedented(code)))
    whole = (i for i in outer if without_open_string(above[i]) == above[i])
    return next(sound, next(whole, outer[0]))


def _idle(tree: ast.Module | SyntaxError) -> bool:
    """Whether code parses but has no statement that could do anything."""
    return isinstance(tree, ast.Module) and all(
        isinstance(statement, ast.Expr)
        and not any(isinstance(node, ast.Call) for node in ast.walk(statement))
        for statement in tree.body
    )


def _continues(later: str, earlier: str, parse: Parser) -> bool:
    repeats = set(map(str.strip, later.split("\n"))) <= set(map(str.strip, earlier.split("\n")))
    (bound, used), (bound_above, _) = bound_and_used(parse(later)), bound_and_used(parse(earlier))
    starts_over = bound & bound_above and not (used - bound) & bound_above
    return not (repeats or starts_over or _idle(parse(later)))
