"""The README tells the truth: its table of settings is the one in the code."""

import re
from dataclasses import fields
from pathlib import Path

from sciwright.settings import Settings

README = Path(__file__).parents[2] / "README.md"


def settings_table() -> str:
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for field in fields(Settings):
        default = "" if field.default in ("", ()) else f"`{field.default}`"
        rows.append(f"| `{field.name}` | {default} | {field.metadata['describe']} |")
    return "\n".join(rows)


def test_settings_table_is_complete():
    text = README.read_text(encoding="utf-8")
    table = re.search(r"<!-- settings table.*?-->\n(.*?)<!-- end of settings table -->", text, re.DOTALL)
    assert table
    assert table[1].strip() == settings_table(), f"replace the table in README.md by:\n\n{settings_table()}"


def test_one_line_for_each_of_the_two_commands():
    blocks = re.findall(
        r"```sh\n([^`]*python3 -m venv .*?)```", README.read_text(encoding="utf-8"), re.DOTALL
    )
    assert [block.count("\n") for block in blocks] == [1, 1]
