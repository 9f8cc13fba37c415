"""Finds task comments in Python text, also in text that does not parse.

A task is a comment on lines of its own::

    # Task: fit an exponential decay to t and y,
    # with the uncertainties as weights
    # Check: len(params) == 2

Comment lines at the same indentation continue it; it ends at the first other line, at the next task and at
a cell marker (`# %%`). "# Task:" inside a string is no task.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from sciwright.lines import split_lines

# Text that leaves no string open: code, comments, and strings that are closed (or, with single quotes, ended
# by their line's end, as for Python). One match of it reaches from the top to a given "#" or stops at the
# string that holds the "#". Possessive quantifiers: it takes one pass, and no text can make it backtrack.
_NO_OPEN_STRING = re.compile(
    r"""(?:
      [^\#"']++
    | \#[^\r\n]*+
    | \"{3} (?: [^"\\]++ | \\(?:\r\n|.) | "(?!"") )*+ \"{3}
    | '{3}  (?: [^'\\]++ | \\(?:\r\n|.) | '(?!'') )*+ '{3}
    | "(?!"") (?: [^"\\\r\n]++ | \\(?:\r\n|.) )*+ (?:"|(?=[\r\n]))
    | '(?!'') (?: [^'\\\r\n]++ | \\(?:\r\n|.) )*+ (?:'|(?=[\r\n]))
    )*+""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT_LINE = re.compile(r"(?P<indent>[ \t\f]*)#+(?P<text>[^\r\n]*)")
_CELL_MARKER = re.compile(r"\s*(?:%%|In\[[\d ]*\]:|<codecell>)")
_CHECK = re.compile(r"\s*check\s*:\s*(?P<expression>.*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Task:
    """A task comment.

    Args:
        text: What is asked for, on one line; "" for a comment that asks for nothing.
        checks: The expressions of the `# Check:` lines.
        first_line: Line of the trigger word, from 0.
        last_line: Last line of the comment, from 0.
        indent: The white space before its "#".
    """

    text: str
    checks: tuple[str, ...]
    first_line: int
    last_line: int
    indent: str

    def same_request(self, other: "Task") -> bool:
        """Return whether `other` asks for the same, wherever it stands."""
        return (self.text, self.checks) == (other.text, other.checks)


def find_tasks(text: str, trigger: str = "Task") -> list[Task]:
    """Return the tasks of `text` from top to bottom.

    Args:
        text: Python source, complete or not.
        trigger: The word before the colon; upper and lower case are the same.
    """
    pattern = _trigger_pattern(trigger)
    offsets = list(_outside_strings(text, _trigger_offsets(text, pattern)))
    if not offsets:
        return []
    lines = split_lines(text)
    starts = list(accumulate(map(len, lines), initial=0))
    return [_read_task(lines, bisect_right(starts, offset) - 1, pattern) for offset in offsets]


def task_at(text: str, line: int, trigger: str = "Task") -> Task | None:
    """Return the task whose comment covers `line` (from 0), or None."""
    for task in find_tasks(text, trigger):
        if task.first_line <= line <= task.last_line:
            return task
    return None


def _trigger_pattern(trigger: str) -> re.Pattern[str]:
    # It begins with a literal "#", which the search for it can jump to.
    return re.compile(rf"##*+[ \t]*+(?i:{re.escape(trigger)})[ \t]*+:(?P<text>[^\r\n]*)")


def _trigger_offsets(text: str, trigger: re.Pattern[str]) -> list[int]:
    """Return where the "#" stands of the lines that look like a task: cheap, and nearly always empty."""
    return [
        match.start()
        for match in trigger.finditer(text)
        if not text[_line_start(text, match.start()) : match.start()].strip(" \t\f")
    ]


def _line_start(text: str, offset: int) -> int:
    return max(text.rfind("\n", 0, offset), text.rfind("\r", 0, offset)) + 1


def _outside_strings(text: str, offsets: list[int]) -> Iterator[int]:
    """Yield those of the ascending `offsets` of a "#" that start a comment and are no part of a string."""
    reached = 0
    for offset in offsets:
        match = _NO_OPEN_STRING.match(text, reached, offset)
        assert match  # it matches the empty text, too
        reached = match.end()
        if reached == offset:
            yield offset


def _read_task(lines: list[str], first: int, trigger: re.Pattern[str]) -> Task:
    start = trigger.search(lines[first])
    assert start
    indent = lines[first][: start.start()]
    words = [start["text"].strip()]
    checks = []
    last = first
    for line in lines[first + 1 :]:
        comment = _COMMENT_LINE.match(line)
        if not comment or comment["indent"] != indent:
            break
        if trigger.match(line, len(indent)) or _CELL_MARKER.match(comment["text"]):
            break
        if check := _CHECK.match(comment["text"]):
            checks.append(check["expression"].strip())
        else:
            words.append(comment["text"].strip())
        last += 1
    return Task(" ".join(filter(None, words)), tuple(filter(None, checks)), first, last, indent)
