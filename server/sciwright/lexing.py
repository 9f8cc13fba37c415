"""Comments and string literals of Python text, also of text that does not parse.

A string with single quotes ends with its line at the latest, as for Python; one with triple quotes that is
never closed reaches to the end of the text.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import accumulate

from sciwright.lines import split_lines

# Possessive quantifiers, and no alternative can fail after its first character: one pass, whatever the text.
_COMMENT_OR_STRING = re.compile(
    r"""
      \#[^\r\n]*+
    | \"\"\" (?: [^"\\]++     | \\(?:\r\n|.)?+ | "(?!"") )*+ (?:\"\"\")?+
    | '''    (?: [^'\\]++     | \\(?:\r\n|.)?+ | '(?!'') )*+ (?:''')?+
    | "      (?: [^"\\\r\n]++ | \\(?:\r\n|.)?+           )*+ "?+
    | '      (?: [^'\\\r\n]++ | \\(?:\r\n|.)?+           )*+ '?+
    """,
    re.VERBOSE | re.DOTALL,
)

# Text that leaves no string open. One match of it reaches from the top to a given "#", or stops at the string
# that holds the "#": a lot faster than going from token to token.
_NO_OPEN_STRING = re.compile(
    r"""(?:
      [^\#"']++
    | \#[^\r\n]*+
    | \"\"\" (?: [^"\\]++ | \\(?:\r\n|.) | "(?!"") )*+ \"\"\"
    | '''    (?: [^'\\]++ | \\(?:\r\n|.) | '(?!'') )*+ '''
    | "(?!"") (?: [^"\\\r\n]++ | \\(?:\r\n|.) )*+ (?:"|(?=[\r\n]))
    | '(?!'') (?: [^'\\\r\n]++ | \\(?:\r\n|.) )*+ (?:'|(?=[\r\n]))
    )*+""",
    re.VERBOSE | re.DOTALL,
)


def starts_comment(text: str, offset: int) -> bool:
    """Return whether the "#" at `offset`, the first one of its line's text, starts a comment."""
    match = _NO_OPEN_STRING.match(text, 0, offset)
    return match is not None and match.end() == offset


def comment_offsets(text: str) -> Iterator[int]:
    """Yield where the "#" of each comment stands; a "#" inside a string starts none."""
    for match in _COMMENT_OR_STRING.finditer(text):
        if text[match.start()] == "#":
            yield match.start()


def lines_in_strings(text: str) -> set[int]:
    """Return the lines (from 0) that begin inside a string, where white space is part of the value."""
    starts = list(accumulate(map(len, split_lines(text)), initial=0))
    return {
        line
        for match in _COMMENT_OR_STRING.finditer(text)
        for line in range(bisect_right(starts, match.start()), bisect_left(starts, match.end()))
    }
