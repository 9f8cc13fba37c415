"""Comments and strings are where Python's own tokenizer sees them."""

import io
import tokenize

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sciwright.lexing import comment_offsets, lines_in_strings, starts_comment
from support.tokens import tokens_of

FRAGMENTS = st.sampled_from(
    [*"\"'#\\\n ax(f", '"""', "'''", "r'", 'b"', "\\\n", "\r\n", '\\"', "# a 'b\n", "é"]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(FRAGMENTS, max_size=12).map("".join))
def test_comments_are_those_of_the_tokenizer(text: str) -> None:
    starts = [0]
    for line in io.StringIO(text, newline=""):
        starts.append(starts[-1] + len(line))
    expected = [
        starts[token.start[0] - 1] + token.start[1]
        for token in tokens_of(text)
        if token.type == tokenize.COMMENT
    ]
    assert list(comment_offsets(text)) == expected


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('x = """a\nb\n"""\ny = 1', {1, 2}),
        ("x = ('a'\n     'b')", set()),
        ("x = 'a\\\nb'", {1}),
        ("x = '''a\r\nb\rc'''\n", {1, 2}),
        ("x = 'never closed\ny = 1", set()),
        ('x = """never closed\ny = 1\n', {1}),
        ("# it's\nx = f'''\n{x}'''", {2}),
        ("''''''\n'''''\n'''", {2}),
        ("", set()),
    ],
)
def test_lines_in_strings(text: str, lines: set[int]) -> None:
    assert lines_in_strings(text) == lines


@given(
    st.lists(
        st.sampled_from(["'", '"', '"""', "'''", "\\", "\n", "\r\n", "#", "# x", " ", "a", "f("]), max_size=25
    ).map("".join)
)
def test_a_comment_on_a_line_of_its_own_is_found_both_ways(text):
    text += "\n# Task: x"
    offset = len(text) - len("# Task: x")
    assert starts_comment(text, offset) == (offset in set(comment_offsets(text)))
