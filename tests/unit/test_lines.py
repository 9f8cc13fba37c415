"""Lines end at \\n, \\r\\n and \\r, and nowhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciwright.lines import line_end, split_lines

LOOKALIKES = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"  # where str.splitlines breaks, too


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("a", ["a"]),
        ("a\n", ["a\n"]),
        ("a\nb", ["a\n", "b"]),
        ("a\r\nb\rc\n", ["a\r\n", "b\r", "c\n"]),
        ("\n\r\n\r\r", ["\n", "\r\n", "\r", "\r"]),
        ("\n\r", ["\n", "\r"]),
        (f"a{LOOKALIKES}b\nc", [f"a{LOOKALIKES}b\n", "c"]),
    ],
)
def test_lines_are_split_as_editors_split_them(text: str, lines: list[str]) -> None:
    assert split_lines(text) == lines


@given(st.text(alphabet=st.sampled_from("ab\r\n \t" + LOOKALIKES)))
def test_splitting_agrees_with_pythons_bytes_and_loses_nothing(text: str) -> None:
    assert "".join(split_lines(text)) == text
    # bytes.splitlines knows the same three line ends.
    assert [line.encode() for line in split_lines(text)] == text.encode().splitlines(keepends=True)


@pytest.mark.parametrize(
    ("text", "end"), [("", "\n"), ("a", "\n"), ("a\nb\r\n", "\n"), ("a\r\nb\n", "\r\n"), ("a\rb\n", "\r")]
)
def test_the_first_line_end_is_the_documents(text: str, end: str) -> None:
    assert line_end(text) == end
