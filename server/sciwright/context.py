"""What is visible above a task, cut down to what the model needs and can hold.

Of the source's units (see `sciwright.units`), the headers of the blocks around the task, imports and what
binds the names that the task mentions come first, then what those depend on, then the nearest ones, until
the budget is used up. The chosen units keep the order and the indentation they have in the file.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from sciwright.lines import split_lines
from sciwright.tasks import Task
from sciwright.units import WORD, Unit, units_above

# Code has about three characters to a token in the vocabularies of the models in use. The budget bounds time
# and memory, so an estimate that needs no tokenizer will do.
_CHARACTERS_PER_TOKEN = 3


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


def gather(text: str, task: Task, budget: int) -> Context:
    """Return the context of `task` in `text`.

    Args:
        text: The whole buffer; only what stands above the task counts.
        task: A task that `find_tasks` found in it.
        budget: The most tokens for `Context.source`, estimated from its length.
    """
    above = split_lines(text.removeprefix("\ufeff"))[: task.first_line]
    units = units_above(above, task.indent)
    chosen = _choose(units, set(WORD.findall(" ".join((task.text, *task.checks)))), budget)
    imports: dict[str, str] = {}
    names: dict[str, None] = {}
    for unit in units:
        imports |= unit.imports
        for name in sorted(unit.binds - unit.imports.keys()):
            names.pop(name, None)
            names[name] = None
    imports.pop("*", None)
    functions = [unit.function for unit in units if unit.function]
    return Context(
        source="".join(chosen),
        imports=imports,
        names=tuple(names),
        function=functions[-1] if functions else "",
    )


def token_estimate(text: str) -> int:
    """Return about how many tokens `text` has, without a tokenizer."""
    return -(-len(text) // _CHARACTERS_PER_TOKEN)


def _choose(units: list[Unit], mentioned: set[str], budget: int) -> list[str]:
    """Return the texts of the units to show, in order, within `budget` tokens."""
    chosen: dict[int, str] = {}
    left = budget
    for index in _by_importance(units, mentioned):
        unit = units[index]
        text = unit.text if token_estimate(unit.text) <= left else unit.short
        if token_estimate(text) <= left or unit.is_header:  # without its header a block makes no sense
            chosen[index] = text
            left -= token_estimate(text)
    return [chosen[index] for index in sorted(chosen)]


def _by_importance(units: list[Unit], mentioned: set[str]) -> Iterator[int]:
    """Yield unit indexes, the most needed first."""
    nearest_first = range(len(units) - 1, -1, -1)
    seen: set[int] = set()
    binders: dict[str, list[int]] = {}
    for index in nearest_first:
        for name in units[index].binds:
            binders.setdefault(name, []).append(index)

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
        level = sorted({i for name in wanted for i in binders.get(name, ())}, reverse=True)
        yield from fresh(level)
        followed |= wanted
        wanted = set[str]().union(*(units[i].uses for i in level)) - followed
    yield from fresh(i for i in nearest_first if not units[i].is_comment)
    yield from fresh(nearest_first)
