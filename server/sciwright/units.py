"""Python source as a list of units: statements, and the headers of the blocks around a place in it.

The source is read with tree-sitter, which copes with a file that is being edited and does not parse.
"""

import functools
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sciwright.lexing import lines_in_strings
from sciwright.lines import split_lines

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

WORD = re.compile(r"\w+")

# Bounds that hold the work down: a longer line is data; what is farther away is seldom meant.
_LONGEST_LINE = 20_000
_LONGEST_TEXT = 200_000
_MOST_LINES = 10_000
_ALWAYS_SHORT = 120
# The start of an overlong line that is an assignment, up to its "=".
_ASSIGNED = re.compile(r"""(?:[\w.,*:\[\] \t]|"[^"]*"|'[^']*')*=(?!=)""")
# A line at the left margin that starts a statement of its own.
_STARTS_STATEMENT = re.compile(r"(?!(?:else|elif|except|finally)\b)[^\s)\]}#]")

_IMPORTS = {"import_statement", "import_from_statement", "future_import_statement"}
_DEFINITIONS = {"function_definition", "class_definition"}
_ASSIGNMENTS = {"assignment", "augmented_assignment"}
# The field that holds what is bound.
_TARGETS = {
    "assignment": "left", "augmented_assignment": "left", "for_statement": "left", "named_expression": "name",
}  # fmt: skip
# Nodes that are targets, whatever they stand in.
_TARGET_NODES = {"as_pattern_target", "case_pattern", "parameters"}
_WITH_TARGET_FIRST = {"default_parameter", "typed_default_parameter", "typed_parameter"}
_WITH_TARGETS_LAST = {"class_pattern", "keyword_pattern"}
# Where a binding can hide without a scope of its own around it. Other nodes are searched only for ":=".
_BINDING_PLACES = {
    "ERROR", "as_pattern", "assignment", "augmented_assignment", "block", "case_clause",
    "decorated_definition", "elif_clause", "else_clause", "except_clause", "expression_statement",
    "finally_clause", "for_statement", "if_statement", "match_statement", "parenthesized_expression",
    "try_statement", "while_statement", "with_clause", "with_item", "with_statement",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Unit:
    """A statement, or the header of a block around the place in question, as whole lines.

    Args:
        text: Its source.
        short: The same with `...` for the bodies of blocks and for assigned values.
        binds: The names it binds, imports included.
        uses: All words in it.
        imports: Names bound by imports to what they stand for: {"fit": "scipy.optimize.curve_fit"};
            "*" for all names of a module.
        is_comment: It holds nothing but comments.
        is_header: It is the header of a block around the place.
        function: The header alone, where it is a function's.
    """

    text: str
    short: str
    binds: frozenset[str]
    uses: frozenset[str]
    imports: Mapping[str, str]
    is_comment: bool
    is_header: bool
    function: str


def units_above(lines: Sequence[str], indent: str) -> list[Unit]:
    """Return the units of `lines`, with the headers of the blocks around a line at `indent` below them."""
    # A statement in that place closes the blocks that it does not stand in.
    return list(_units_of(f"{_bounded(lines)}{indent}pass\n".encode(errors="replace")))


def _bounded(lines: Sequence[str]) -> str:
    """Return the last part of `lines` that can be read in about a second, with "\\n" at each line's end."""
    kept: list[str] = []
    size = 0
    for line in reversed(lines[-_MOST_LINES:]):
        line = line.rstrip("\r\n")
        if len(line) > _LONGEST_LINE:
            line = _shortened_line(line)
        size += len(line) + 1
        if size > _LONGEST_TEXT:
            break
        kept.append(f"{line}\n")
    return "".join(reversed(kept))


def _shortened_line(line: str) -> str:
    """Return a line that is data without the data: what it is assigned to, or at least its indentation."""
    start = line[:_ALWAYS_SHORT]
    kept = _ASSIGNED.match(start) or re.match(r"\s*", start)
    assert kept
    return f"{kept.group()}..."


@functools.cache
def _parser() -> "Parser":
    import tree_sitter
    import tree_sitter_python

    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_python.language()))


def _units_of(source: bytes) -> Iterator[Unit]:
    """Yield the units of `source`, whose last line is the stand-in."""
    root = _parser().parse(source).root_node
    if not root.has_error:
        yield from _units(root, source, len(source) - 2)
        return
    # One open bracket can swallow all that follows it: what starts at the left margin is then read alone.
    chunks = [chunk.encode() for chunk in _chunks(source.decode())]
    for number, chunk in enumerate(chunks, start=1):
        inside = len(chunk) - 2 if number == len(chunks) else len(chunk)
        yield from _units(_parser().parse(chunk).root_node, chunk, inside)


def _chunks(source: str) -> Iterator[str]:
    """Yield the parts of `source` that start at the left margin, outside strings."""
    inside = lines_in_strings(source)
    chunk: list[str] = []
    for number, line in enumerate(split_lines(source)):
        if chunk and number not in inside and _STARTS_STATEMENT.match(line):
            yield "".join(chunk)
            chunk = []
        chunk.append(line)
    yield "".join(chunk)


def _units(block: "Node", source: bytes, inside: int) -> Iterator[Unit]:
    """Yield the units of `block` in order; a block that holds the byte `inside` follows its header."""
    inner: Node | None = block
    while inner:
        block, inner = inner, None
        statements: list[Node] = []  # those that share lines: `a = 1; b = 2  # why`
        end = -1
        for node in block.children:
            if node.start_byte >= end and statements:
                yield _unit(source, statements, end)
                statements = []
            if node.start_byte <= inside < node.end_byte:
                path = _path(node, inside)
                end = _line_start(source, inside)
                if path[-1].type == "block":
                    inner = path[-1]
                    # Not the block's own start: a `match` without cases has one that starts on its line.
                    end = _line_start(source, min(n.start_byte for n in inner.children))
                if inner or node.start_byte < end:  # else it is the stand-in itself
                    yield _unit(source, [*statements, node], end, path)
                statements = []
                break
            statements.append(node)
            end = max(end, (source.find(b"\n", max(node.start_byte, node.end_byte - 1)) + 1) or len(source))
        if statements:
            yield _unit(source, statements, end)


def _line_start(source: bytes, offset: int) -> int:
    return source.rfind(b"\n", 0, offset) + 1


def _path(node: "Node", inside: int) -> list["Node"]:
    """Return the nodes that hold the byte `inside`, from `node` down to the first block.

    Where the text makes no sense they end with another node: an open bracket takes in what is below it.
    """
    path = []
    holder: Node | None = node
    while holder:
        path.append(holder)
        if holder.type == "block":
            break
        holder = next((n for n in holder.children if n.start_byte <= inside < n.end_byte), None)
    return path


def _unit(source: bytes, nodes: list["Node"], end: int, path: Sequence["Node"] = ()) -> Unit:
    """Return the unit of `nodes`, up to the byte `end`; `path` leads to the block that it introduces."""
    start = _line_start(source, nodes[0].start_byte)
    text = source[start:end].decode()
    bindings = list(_bindings(nodes, end, path, has_walrus=":=" in text))
    return Unit(
        text=text,
        short=text if len(text) <= _ALWAYS_SHORT else _without_details(source, start, end, nodes),
        binds=frozenset(name for name, _ in bindings),
        uses=frozenset(WORD.findall(text[:_LONGEST_LINE])),
        imports={name: origin for name, origin in bindings if origin},
        is_comment=all(node.type == "comment" for node in nodes),
        is_header=bool(path) and path[-1].type == "block",
        function=_function_header(source, path),
    )


def _without_details(source: bytes, start: int, end: int, nodes: Sequence["Node"]) -> str:
    """Return `source[start:end]` with `...` for the bodies of blocks and for assigned values."""
    kept = []
    rest = [*reversed(nodes)]
    while rest:
        node = rest.pop()
        if node.start_byte >= end:
            break
        value = node.child_by_field_name("right") if node.type in _ASSIGNMENTS else None
        detail = node if node.type == "block" else value
        if detail and detail.type not in _ASSIGNMENTS and detail.end_byte <= end:
            kept.append(source[start : detail.start_byte])
            start = detail.end_byte
        elif node.type in _BINDING_PLACES or node.type in _DEFINITIONS:
            rest.extend(reversed(node.children))
    return b"...".join((*kept, source[start:end])).decode()


def _function_header(source: bytes, path: Sequence["Node"]) -> str:
    """Return the header of the function whose body `path` leads to, with its decorators, or ""."""
    for node in path:
        if node.type == "function_definition":
            colons = [child.end_byte for child in node.children if child.type == ":"]
            start = _line_start(source, path[0].start_byte)
            return textwrap.dedent(source[start : colons[0]].decode()).strip() if colons else ""
    return ""


def _text(node: "Node | None") -> str:
    return node.text.decode() if node and node.text else ""


def _bindings(
    nodes: Sequence["Node"], end: int, path: Sequence["Node"], *, has_walrus: bool
) -> Iterator[tuple[str, str]]:
    """Yield the names that `nodes` bind above `end`, each with what it stands for if it is imported.

    The scopes on `path` are looked into, others are not.
    """
    rest = [*reversed(nodes)]
    while rest:
        node = rest.pop()
        if node.start_byte >= end:
            continue
        if node.type in _IMPORTS:
            yield from _imported(node)
        elif node.type in _DEFINITIONS:
            yield _text(node.child_by_field_name("name")), ""
            if node in path:
                rest.extend(reversed(node.children))
        elif node.type in _TARGET_NODES:
            yield from ((name, "") for name in _target_names(node))
        else:
            field = _TARGETS.get(node.type)
            if field and (target := node.child_by_field_name(field)):
                yield from ((name, "") for name in _target_names(target))
            if node.type in _BINDING_PLACES or (has_walrus and node.type != "lambda"):
                rest.extend(reversed(node.children))


def _imported(node: "Node") -> Iterator[tuple[str, str]]:
    """Yield the names that an import statement binds, with what they stand for; "*" for all of a module's."""
    future = "__future__" if node.type == "future_import_statement" else ""
    module = _text(node.child_by_field_name("module_name")) or future
    prefix = module if module.endswith(".") or not module else f"{module}."
    for child in node.children:
        if child.type == "wildcard_import":
            yield "*", f"{prefix}*"
    for child in node.children_by_field_name("name"):
        if child.type == "aliased_import":
            name, alias = _text(child.child_by_field_name("name")), _text(child.child_by_field_name("alias"))
        else:
            name = _text(child)
            alias = name if module else name.partition(".")[0]
            if not module:
                name = alias
        yield alias, f"{prefix}{name}"


def _target_names(node: "Node") -> Iterator[str]:
    """Yield the names in an assignment's target, a pattern or a list of parameters."""
    rest = [node]
    while rest:
        node = rest.pop()
        if node.type == "identifier":
            yield _text(node)
        elif node.type in _WITH_TARGET_FIRST:
            rest.extend(node.named_children[:1])
        elif node.type in _WITH_TARGETS_LAST:
            rest.extend(node.named_children[1:])
        elif node.type == "dotted_name" and len(node.named_children) > 1:
            pass  # a constant in a pattern: `case Color.RED`
        elif node.type not in ("attribute", "subscript"):
            rest.extend(node.children)
