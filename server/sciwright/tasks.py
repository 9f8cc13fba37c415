"""Finds task comments in Python text, also in text that does not parse.

A task is a comment on lines of its own::

    # Task: fit an exponential decay to t and y,
    # with the uncertainties as weights
    # Check: len(params) == 2

Comment lines at the same indentation continue it; it ends at the first other line, at the next task and at
a cell marker (`# %%`). "# Task:" inside a string is no task.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sciwright.lexing import comment_offsets, starts_comment
from sciwright.lines import split_lines

# Its indentation is what Python counts: a form feed, or a byte order mark, starts the line anew.
_BEFORE_COMMENT = r"(?:[ \t]*+[\f\ufeff])*+(?P<indent>[ \t]*+)"
_COMMENT_LINE = re.compile(rf"{_BEFORE_COMMENT}#+(?P<text>[^\r\n]*)")
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
        indent: Its indentation.
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
    lines = split_lines(text)
    triggers: dict[int, int] = {}  # the offset of the "#" to its line
    offset = 0
    for number, line in enumerate(lines):
        if start := pattern.match(line):
            triggers[offset + start.end("indent")] = number
        offset += len(line)
    if not triggers:
        return []
    return [_read_task(lines, triggers[o], pattern) for o in comment_offsets(text) if o in triggers]


def task_at(text: str, line: int, trigger: str = "Task", *, lines: Sequence[str] = ()) -> Task | None:
    """Return the task whose comment covers `line` (from 0), or None.

    It looks no farther than it must: editors ask at each move of the cursor.

    Args:
        text: Python source, complete or not.
        line: Any line of the comment.
        trigger: The word before the colon.
        lines: The lines of `text` where the caller has them already.
    """
    lines = lines or split_lines(text)
    pattern = _trigger_pattern(trigger)
    first = line
    while 0 <= first < len(lines) and _COMMENT_LINE.match(lines[first]):
        if start := pattern.match(lines[first]):
            offset = sum(map(len, lines[:first])) + start.end("indent")
            if not starts_comment(text, offset):
                return None
            task = _read_task(lines, first, pattern)
            return task if line <= task.last_line else None
        first -= 1
    return None


def _trigger_pattern(trigger: str) -> re.Pattern[str]:
    return re.compile(rf"{_BEFORE_COMMENT}#++[ \t]*+(?i:{re.escape(trigger)})[ \t]*+:(?P<text>[^\r\n]*)")


def _read_task(lines: Sequence[str], first: int, trigger: re.Pattern[str]) -> Task:
    start = trigger.match(lines[first])
    assert start
    words = [start["text"].strip()]
    checks = []
    last = first
    for number in range(first + 1, len(lines)):
        comment = _COMMENT_LINE.match(lines[number])
        if not comment or comment["indent"] != start["indent"]:
            break
        if trigger.match(lines[number]) or _CELL_MARKER.match(comment["text"]):
            break
        if check := _CHECK.match(comment["text"]):
            checks.append(check["expression"].strip())
        else:
            words.append(comment["text"].strip())
        last = number
    return Task(" ".join(filter(None, words)), tuple(filter(None, checks)), first, last, start["indent"])
