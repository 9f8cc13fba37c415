"""Lines as the language server protocol and Python's tokenizer see them.

`str.splitlines` also breaks at form feeds, U+2028, U+0085 and others; editors do not, so positions would
drift apart. Here a line ends at \\n, \\r\\n or \\r and nowhere else.
"""

import re

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_ENDS_FOR_SPLITLINES_ONLY = re.compile("[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")


def split_lines(text: str) -> list[str]:
    """Return the lines of `text` with their ends; a text that ends in a line end has no empty last line."""
    if _ENDS_FOR_SPLITLINES_ONLY.search(text):
        return _LINE.findall(text)
    return text.splitlines(keepends=True)  # several times faster, and nearly every text allows it


def line_end(text: str) -> str:
    """Return the first line end of `text`, or "\\n" where it has none."""
    match = re.search(r"\r\n|\r|\n", text)
    return match.group() if match else "\n"
