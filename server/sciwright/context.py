"""What is visible above a task, cut down to what the model needs and can hold.

The source is read with tree-sitter, which copes with a file that is being edited and does not parse. It is
split into units (a statement, or the header of a block that the task is inside of); imports and units that
bind what the task mentions come first, then what those depend on, then the nearest ones, until the budget
is used up. The chosen units keep the order and the indentation they have in the file.
"""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sciwright.lines import split_lines
from sciwright.tasks import Task

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

# Code has about three characters to a token in the vocabularies of the models in use. The budget bounds time
# and memory, so an estimate that needs no tokenizer will do.
_CHARACTERS_PER_TOKEN = 3
_LONGEST_SHORTENED_LINE = 120
# Bounds in characters that hold the work down: a longer line is data; what is farther away is seldom meant.
_LONGEST_LINE = 20_000
_LONGEST_TEXT = 500_000
_WORD = re.compile(r"\w+")
_AT_LEFT_MARGIN = re.compile(r"(?m)^(?=[^\s)\]}])")

_IMPORTS = {"import_statement", "import_from_statement", "future_import_statement"}
_WITH_NAME_FIRST = {"default_parameter", "typed_default_parameter", "typed_parameter"}
_DEFINITIONS = {"function_definition", "class_definition"}
# Where a binding can hide without a scope of its own around it; anything else is not searched.
_BINDING_PLACES = {
    "as_pattern", "assignment", "augmented_assignment", "block", "boolean_operator", "case_clause",
    "comparison_operator", "decorated_definition", "elif_clause", "else_clause", "except_clause",
    "expression_statement", "finally_clause", "for_statement", "if_statement", "match_statement",
    "named_expression", "parenthesized_expression", "try_statement", "while_statement", "with_clause",
    "with_item", "with_statement",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Context:
    """What the model is told about the buffer above the task.

    Args:
        source: The chosen part of the text above the task; "" or ending in a line end.
        imports: Names bound by imports, to what they stand for: {"fit": "scipy.optimize.curve_fit"}.
        names: All other names bound above the task and visible there, the latest binding last.
        function: The header of the innermost function around the task, or "".
    """

    source: str
    imports: Mapping[str, str]
    names: tuple[str, ...]
    function: str


@dataclass(frozen=True, slots=True)
class _Unit:
    """A statement, or the header of a block around the task, as whole lines."""

    text: str
    binds: frozenset[str]
    uses: frozenset[str]
    imports: Mapping[str, str]
    is_header: bool = False
    is_comment: bool = False
    is_definition: bool = False


def gather(text: str, task: Task, budget: int) -> Context:
    """Return the context of `task` in `text`.

    Args:
        text: The whole buffer; only what stands above the task counts.
        task: A task that `find_tasks` found in it.
        budget: The most tokens for `Context.source`, estimated from its length.
    """
    above = split_lines(text)[: task.first_line]
    # A statement in the task's place closes the block it stands in.
    units = list(_units_of(f"{_bounded(above)}{task.indent}pass\n".encode(errors="replace")))
    chosen = _choose(units, set(_WORD.findall(" ".join((task.text, *task.checks)))), budget)
    imports: dict[str, str] = {}
    names: dict[str, None] = {}
    for unit in units:
        imports |= unit.imports
        for name in sorted(unit.binds - unit.imports.keys()):
            names.pop(name, None)
            names[name] = None
    functions = [u.text for u in units if u.is_header and re.match(r"\s*(async\s+)?def\s", u.text)]
    return Context(
        source="".join(chosen),
        imports=imports,
        names=tuple(names),
        function=functions[-1].strip() if functions else "",
    )


def _bounded(lines: list[str]) -> str:
    """Return the last part of `lines` that can be read in well under a second, overlong lines shortened."""
    kept: list[str] = []
    size = 0
    for line in reversed(lines):
        if len(line) > _LONGEST_LINE:
            line = _shortened_line(line)
        size += len(line)
        if size > _LONGEST_TEXT:
            break
        kept.append(line)
    return "".join(reversed(kept))


def token_estimate(text: str) -> int:
    """Return about how many tokens `text` has, without a tokenizer."""
    return -(-len(text) // _CHARACTERS_PER_TOKEN)


@functools.cache
def _parser() -> "Parser":
    import tree_sitter
    import tree_sitter_python

    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_python.language()))


def _units_of(source: bytes) -> Iterator[_Unit]:
    """Yield the units of `source`, whose last line is the statement that stands in for the task."""
    root = _parser().parse(source).root_node
    if not root.has_error:
        yield from _units(root, source, len(source) - 2)
        return
    # One open bracket can swallow all that follows it: what starts at the left margin is then read alone.
    chunks = [chunk.encode() for chunk in _AT_LEFT_MARGIN.split(source.decode()) if chunk]
    for number, chunk in enumerate(chunks, start=1):
        inside = len(chunk) - 2 if number == len(chunks) else len(chunk)
        yield from _units(_parser().parse(chunk).root_node, chunk, inside)


def _units(block: "Node", source: bytes, inside: int) -> Iterator[_Unit]:
    """Yield the units of `block` in order; a block that holds the byte `inside` follows its header."""
    statements: list[Node] = []  # those that share lines: `a = 1; b = 2  # why`
    end = -1
    for node in block.children:
        if node.start_byte >= end and statements:
            yield _unit(source[_line_start(source, statements[0].start_byte) : end], statements)
            statements = []
        if node.start_byte <= inside < node.end_byte:
            body = _block_around(node, inside)
            if body is None:  # the stand-in itself, or text that makes no sense
                return
            start, start_of_body = (_line_start(source, n.start_byte) for n in (node, body))
            yield _unit(source[start:start_of_body], list(_header(node, body)), is_header=True)
            yield from _units(body, source, inside)
            return
        statements.append(node)
        end = max(end, (source.find(b"\n", max(node.start_byte, node.end_byte - 1)) + 1) or len(source))
    if statements:
        yield _unit(source[_line_start(source, statements[0].start_byte) : end], statements)


def _line_start(source: bytes, offset: int) -> int:
    return source.rfind(b"\n", 0, offset) + 1


def _block_around(node: "Node", inside: int) -> "Node | None":
    """Return the first block on the way from `node` down to the byte `inside`."""
    for child in node.children:
        if child.start_byte <= inside < child.end_byte:
            return child if child.type == "block" else _block_around(child, inside)
    return None


def _header(node: "Node", body: "Node") -> Iterator["Node"]:
    """Yield the parts of a compound statement that stand beside the way from it down to `body`."""
    for child in node.children:
        if child.start_byte <= body.start_byte < child.end_byte:
            if child != body:
                yield from _header(child, body)
        else:
            yield child


def _unit(text: bytes, nodes: list["Node"], *, is_header: bool = False) -> _Unit:
    binds: set[str] = set()
    imports: dict[str, str] = {}
    for node in nodes:
        if node.type in _IMPORTS:
            imports |= dict(_imported(node))
        else:
            binds |= set(_bound(node))
    decoded = text.decode()
    return _Unit(
        text=decoded,
        binds=frozenset(binds | imports.keys()),
        uses=frozenset(_WORD.findall(decoded[:_LONGEST_LINE])),
        imports=imports,
        is_header=is_header,
        is_comment=nodes[0].type == "comment",
        is_definition=nodes[0].type in _DEFINITIONS or nodes[0].type == "decorated_definition",
    )


def _text(node: "Node | None") -> str:
    return node.text.decode() if node and node.text else ""


def _imported(node: "Node") -> Iterator[tuple[str, str]]:
    """Yield the names that an import statement binds, with what they stand for."""
    module = _text(node.child_by_field_name("module_name"))
    for child in node.children_by_field_name("name"):
        if child.type == "aliased_import":
            name, alias = _text(child.child_by_field_name("name")), _text(child.child_by_field_name("alias"))
        else:
            name = _text(child)
            alias = name if module else name.partition(".")[0]
            if not module:
                name = alias
        yield alias, f"{module}.{name}" if module else name


def _bound(node: "Node") -> Iterator[str]:
    """Yield the names that a statement, or a part of a block's header, binds in its own scope."""
    if node.type in _DEFINITIONS:
        yield _text(node.child_by_field_name("name"))
    elif node.type == "as_pattern_target" or (node.parent and node.parent.type in _DEFINITIONS):
        yield from _target_names(node)
    elif node.type in _BINDING_PLACES:
        for field in ("left", "name"):
            for target in node.children_by_field_name(field):
                yield from _target_names(target)
        for child in node.children:
            yield from _bound(child)


def _target_names(node: "Node") -> Iterator[str]:
    """Yield the names in an assignment's target or a list of parameters."""
    if node.type == "identifier":
        yield _text(node)
    elif node.type in _WITH_NAME_FIRST:
        yield from _target_names(node.named_children[0])
    elif node.type not in ("attribute", "subscript"):
        for child in node.children:
            yield from _target_names(child)


def _choose(units: list[_Unit], mentioned: set[str], budget: int) -> list[str]:
    """Return the texts of the units to show, in order, within `budget` tokens."""
    chosen: dict[int, str] = {}
    left = budget
    for index in _by_importance(units, mentioned):
        unit = units[index]
        text = unit.text
        if token_estimate(text) > left and not unit.is_header:
            text = _shortened(unit)
        if token_estimate(text) <= left or unit.is_header:  # without its header a block makes no sense
            chosen[index] = text
            left -= token_estimate(text)
    return [chosen[index] for index in sorted(chosen)]


def _by_importance(units: list[_Unit], mentioned: set[str]) -> Iterator[int]:
    """Yield unit indexes, the most needed first."""
    nearest_first = range(len(units) - 1, -1, -1)
    seen: set[int] = set()

    def fresh(indexes: Iterable[int]) -> Iterator[int]:
        for index in indexes:
            if index not in seen:
                seen.add(index)
                yield index

    yield from fresh(i for i in nearest_first if units[i].is_header)
    yield from fresh(i for i in nearest_first if units[i].imports)
    wanted = set(mentioned)
    followed: set[str] = set()
    while wanted:  # what the task mentions, then what that depends on, and so on
        level = [i for i in nearest_first if units[i].binds & wanted]
        yield from fresh(level)
        followed |= wanted
        wanted = set[str]().union(*(units[i].uses for i in level)) - followed
    yield from fresh(i for i in nearest_first if not units[i].is_comment)
    yield from fresh(nearest_first)


def _shortened(unit: _Unit) -> str:
    """Return a unit that is too long in a form that still says what it binds."""
    lines = split_lines(unit.text)
    if unit.is_definition:
        indent = lines[0][: len(lines[0]) - len(lines[0].lstrip())]
        header = next((i for i, line in enumerate(lines) if line.rstrip().endswith(":")), 0)
        return "".join(lines[: header + 1]) + f"{indent}    ...\n"
    return _shortened_line(lines[0])


def _shortened_line(line: str) -> str:
    """Return a line of at most about 120 characters that keeps an assignment's targets."""
    target, equals, _ = line[:_LONGEST_SHORTENED_LINE].partition("=")
    return f"{target.rstrip()} = ...\n" if equals else "...\n"
