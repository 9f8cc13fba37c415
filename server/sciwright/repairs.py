"""Makes generated Python parse: characters that it does not take, lost indentation, tails that were cut off.

A repair is kept only where the code does not parse without it and does with it.
"""

import ast
import re
import warnings
from collections.abc import Iterator
from itertools import accumulate

MAX_NESTING = 90  # brackets; deeper ones can exhaust the stack of Python's parser
PARSE_BUDGET = 200_000  # characters parsed for one answer, 0.1 to 0.5 s

# A string; one without an end goes on to the end of its line, or is no match if it has three quotes.
STRING = r"""\"{3}[\s\S]*?\"{3}|'{3}[\s\S]*?'{3}|"(?!"")(?:\\.|[^"\\\n])*"?|'(?!'')(?:\\.|[^'\\\n])*'?"""
LITERAL = rf"(?:(?<!\w)|(?<=\b[rbfuRBFU]))(?:{STRING})"  # an apostrophe in prose starts none


class Parser:
    """`ast.parse` that returns its error, remembers its results, and refuses what would take too long."""

    def __init__(self) -> None:
        self._left = PARSE_BUDGET
        self._seen: dict[str, ast.Module | SyntaxError] = {}

    def __call__(self, text: str) -> ast.Module | SyntaxError:
        """Return the tree, or why there is none."""
        if text not in self._seen:
            self._seen[text] = self._parse(text)
        return self._seen[text]

    def accepts(self, text: str) -> bool:
        """Return whether the text parses."""
        return isinstance(self(text), ast.Module)

    def _parse(self, text: str) -> ast.Module | SyntaxError:
        self._left -= len(text) + 100
        depths = accumulate(1 if bracket in "([{" else -1 for bracket in re.findall(r"[()\[\]{}]", text))
        if self._left < 0 or max(depths, default=0) > MAX_NESTING:
            return SyntaxError("not examined")
        try:
            with warnings.catch_warnings():  # of invalid escapes
                warnings.simplefilter("ignore")
                return ast.parse(text)
        except SyntaxError as error:
            return error
        except (ValueError, RecursionError, MemoryError) as error:
            return SyntaxError(str(error))


def mended(code: str, cut: bool, parse: Parser) -> str:
    """Return the first variant that parses; of code that was cut off, the one with most whole statements."""
    if cut:
        return max((_whole_statements(variant, parse) for variant in _variants(code, parse)), key=_line_count)
    return next(filter(parse.accepts, _variants(code, parse)), dedented(code))


_BLANKS = dict.fromkeys("\u00a0\u2007\u202f\u3000\f", " ") | dict.fromkeys(
    "\u200b\u200c\u200d\u2060\ufeff", ""
)
_QUOTES = dict.fromkeys("“”„", '"') | dict.fromkeys("‘’", "'")


def _variants(code: str, parse: Parser) -> Iterator[str]:
    blanks = _outside_strings(code, _BLANKS)
    for text in dict.fromkeys([code, blanks, _outside_strings(blanks, _QUOTES)]):
        yield text
        error = parse(text)
        if not isinstance(error, IndentationError) or "expected an" in error.msg:
            continue  # a block that is missing cannot be guessed
        mixed = re.search(r"(?m)^\t", text) and re.search(r"(?m)^\t* ", text)
        evened = [_with_tabs_as(4, text), _with_tabs_as(8, text)] if mixed else [text]
        yield from evened
        for even in evened:
            yield dedented(even)
            yield _with_first_line_in_step(even)
            yield _without_stray_indents(dedented(even), parse)


def _outside_strings(code: str, replacements: dict[str, str]) -> str:
    either = rf"({STRING}|#.*)|([{''.join(replacements)}])"
    return re.sub(either, lambda found: found[1] or replacements[found[2]], code)


def _with_tabs_as(size: int, code: str) -> str:
    return "\n".join(
        line[: indent(line)].expandtabs(size) + line[indent(line) :] for line in code.split("\n")
    )


def _with_first_line_in_step(code: str) -> str:
    """The prompt held the first line's indentation: take it off the others too."""
    first, *rest = code.strip("\n").split("\n")
    width = min((indent(line) for line in rest if line.strip()), default=0)
    return "\n".join([first, *(_shifted(line, width) for line in rest)])


def _without_stray_indents(code: str, parse: Parser) -> str:
    """Shift each run of lines that the parser finds indented for no reason back in step."""
    for _ in range(20):
        error = parse(code)
        if not isinstance(error, IndentationError) or error.msg != "unexpected indent" or not error.lineno:
            break
        lines = code.split("\n")
        start = error.lineno - 1
        depth = indent(lines[start])
        above = (indent(line) for line in reversed(lines[:start]) if line.strip() and line.lstrip()[0] != "#")
        width = depth - next(above, 0)
        for i in range(start, len(lines)):
            if lines[i].strip() and indent(lines[i]) < depth:
                break
            lines[i] = _shifted(lines[i], width)
        code = "\n".join(lines)
    return code


def _whole_statements(code: str, parse: Parser) -> str:
    """Drop lines from the end until the rest parses, and comments that announce what did not come."""
    lines = code.split("\n")
    while lines:
        tree = parse("\n".join(lines))
        if isinstance(tree, ast.Module):
            return "\n".join(lines[: tree.body[-1].end_lineno]) if tree.body else ""
        end = min(tree.lineno or 1, len(lines)) - 1
        if "expected 'except'" in tree.msg:  # without a handler the whole try statement goes
            end = max((i for i in range(end) if lines[i].strip() == "try:"), default=end)
        del lines[end:]
    return ""


def without_open_string(text: str) -> str:
    """Drop the text from the line on that opens a string of three quotes which has no end."""
    for found in re.finditer(rf"{LITERAL}|#.*|(?P<open>\"{{3}}|'{{3}})", text):
        if found["open"]:
            return text[: text.rfind("\n", 0, found.start()) + 1]
    return text


def dedented(code: str) -> str:
    """Take the first line's indentation off all lines, as far as they have it."""
    lines = code.split("\n")
    width = next((indent(line) for line in lines if line.strip()), 0)
    return "\n".join(_shifted(line, width) for line in lines)


def indent(line: str) -> int:
    """Return how many blanks and tabs a line begins with."""
    return len(line) - len(line.lstrip(" \t"))


def _shifted(line: str, width: int) -> str:
    """Take up to `width` blanks off a line; a blank line may belong to a string and stays."""
    return line[min(width, indent(line)) :] if line.strip() else line


def _line_count(code: str) -> int:
    return code.count("\n") + bool(code)
