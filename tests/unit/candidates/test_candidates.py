"""The golden cases in golden/*.txt, and properties that hold for any text and for valid code.

A line `=== case NAME` starts a golden case; the sections `=== task`, `=== context`, `=== raw` and
`=== expected` follow. Words after a section's name:

    truncated   the token limit cut the raw text off
    broken      what is expected does not parse
    escaped     the text holds Python's escapes, for characters that an editor hides or changes (last word)

In golden/code.txt, `=== snippet NAME` starts a piece of valid code.
"""

import ast
import textwrap
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciwright.candidates import MAX_CHARACTERS, Candidate, clean

GOLDEN = Path(__file__).parent / "golden"


class Section(NamedTuple):
    file: str
    kind: str
    words: list[str]
    text: str


@dataclass
class Case:
    name: str
    sections: dict[str, str] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)


def sections() -> Iterator[Section]:
    for path in sorted(GOLDEN.glob("*.txt")):
        for part in path.read_text(encoding="utf-8").split("\n=== ")[1:]:
            heading, _, text = part.partition("\n")
            kind, *words = heading.split()
            if words[-1:] == ["escaped"]:
                text = text.encode("ascii").decode("unicode_escape")
            yield Section(
                path.stem, kind, words, text.rstrip("\n") if kind in ("expected", "snippet") else text
            )


def golden_cases() -> list[Case]:
    cases: list[Case] = []
    for section in sections():
        if section.kind == "case":
            cases.append(Case(f"{section.file}: {' '.join(section.words)}"))
        elif section.kind != "snippet":
            assert section.kind in {"task", "context", "raw", "expected"}, cases[-1].name
            assert set(section.words) <= {"truncated", "broken", "escaped"}, cases[-1].name
            cases[-1].sections[section.kind] = section.text
            cases[-1].flags |= set(section.words)
    return cases


CASES = golden_cases()


def parses(code: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ast.parse(code)
        except (SyntaxError, ValueError):
            return False
    return True


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_golden(case: Case) -> None:
    task, context = case.sections.get("task", ""), case.sections.get("context", "")
    raw, expected = case.sections["raw"], case.sections["expected"]
    truncated = "truncated" in case.flags

    candidate = clean(raw, task=task, context=context, truncated=truncated)

    assert candidate.code == expected
    assert candidate == Candidate(expected, raw, truncated)
    assert parses(candidate.code) is ("broken" not in case.flags)
    assert clean(candidate.code, task=task, context=context).code == candidate.code


def test_golden_cases_are_named_apart() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names)) > 150


# Any text


FRAGMENTS = [
    *(
        "```",
        "```python",
        "~~~",
        "````",
        "<think>",
        "</think>",
        "<|im_end|>",
        "<|im_start|>assistant",
        "</s>",
    ),
    *(">>> ", "... ", ">>> x = 1", "python", "Sure!", "Done", "Output:", "Note: x", "Here is the code:"),
    *("It doesn't work (yet).", "- a bullet", "1. import numpy", "### Heading", "**bold**", "Alternatively:"),
    *("import numpy as np", "x = 1", "for i in x:", "def f(x):", "try:", "else:", "return x", "print(x", ")"),
    *(
        "y = x + 1",
        "# Task: smooth y",
        "# smooth y",
        "# Check: y > 0",
        "# a comment",
        "'''",
        '"""',
        "'",
        "[",
        "}",
    ),
    *(
        "    ",
        "  ",
        "\t",
        "\u00a0",
        "\u200b",
        "\ufeff",
        "\f",
        "\r",
        "\r\n",
        "\u201cx\u201d",
        "`x`",
        "\\",
        "\0",
        "\ud800",
    ),
]
TEXTS = st.lists(st.sampled_from([*FRAGMENTS, *["\n"] * 40]) | st.text(max_size=5), max_size=40).map("".join)
CONTEXT = "import numpy as np\n\nx = 1\nfor i in x:\n    y = x + 1\n"


@given(TEXTS, st.booleans(), st.sampled_from(["", CONTEXT]))
def test_any_text_is_cleaned_for_good(raw: str, truncated: bool, context: str) -> None:
    candidate = clean(raw, task="smooth y", context=context, truncated=truncated)

    assert candidate.raw == raw
    assert candidate.code == candidate.code.strip("\n")
    assert not candidate.code[:1].isspace()
    assert clean(candidate.code, task="smooth y", context=context).code == candidate.code


# Any code


SNIPPETS = [section.text for section in sections() if section.kind == "snippet"]


@st.composite
def nested(draw: st.DrawFn, blocks: st.SearchStrategy[str]) -> str:
    header = draw(
        st.sampled_from(
            ["def f(x):", "if x > 0:", "for i in range(3):", "while True:", "class A:", "with a as b:"]
        )
    )
    return header + "\n" + textwrap.indent(draw(blocks), draw(st.sampled_from(["    ", "  "])))


def lines_of(blocks: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    separators = st.sampled_from(["\n", "\n\n", "\n\n\n# ---\n"])
    return st.builds(
        lambda between, parts: between.join(parts), separators, st.lists(blocks, min_size=1, max_size=4)
    )


BLOCKS = st.recursive(st.sampled_from(SNIPPETS), lambda inner: nested(lines_of(inner)), max_leaves=6)
CODES = lines_of(BLOCKS).filter(parses)
PROSE = [
    "Sure! Here is the code:",
    "Here's how you'd do it (with numpy):",
    "This code computes the mean of `y`, as in `x = np.mean(y)`.",
    "1. First, import **numpy** as np.",
    "- the array `t`",
    "### What it does\n\nIt doesn't change the data.",
    "**Note:** the result is a float.",
    "Hier ist der Code:",
]
PROSES = st.lists(st.sampled_from(PROSE), max_size=3).map("\n\n".join)


@given(CODES)
def test_code_passes_unchanged(code: str) -> None:
    assert clean(code).code == code
    assert clean(f"\n\n{code}\n\n").code == code


@given(CODES)
def test_unparsed_code_passes_unchanged(code: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = ast.unparse(ast.parse(code))
    assert clean(code).code == code


@given(
    CODES,
    st.sampled_from(["```", "~~~", "````", "   ```"]),
    st.sampled_from(["python", "py", "", "Python"]),
    st.booleans(),
    PROSES,
    PROSES,
)
def test_fenced_code_comes_out(
    code: str, fence: str, tag: str, closed: bool, before: str, after: str
) -> None:
    raw = f"{before}\n{fence}{tag}\n{code}\n" + (f"{fence}\n{after}" if closed else "")
    assert clean(raw).code == code


@given(CODES, PROSES, PROSES, st.sampled_from(["\n", "\n\n"]))
def test_code_between_prose_comes_out(code: str, before: str, after: str, between: str) -> None:
    assert clean(f"{before}{between}{code}{between}{after}").code == code


@given(CODES, st.sampled_from(["  ", "    ", "        ", "\t"]), st.booleans())
def test_indented_code_comes_out(code: str, by: str, fenced: bool) -> None:
    raw = textwrap.indent(code, by)
    assert same_code(clean(f"```python\n{raw}\n```" if fenced else raw).code, code)


def same_code(one: str, other: str) -> bool:
    """Whether two texts are equal, or differ in what stands for a tab only."""
    return one == other or ("\t" in other and one == other.expandtabs(4))


@given(CODES, st.data())
def test_cut_code_keeps_whole_statements(code: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(code)), label="cut at")
    for raw in (code[:at], f"Here is the code:\n\n```python\n{code[:at]}"):
        candidate = clean(raw, truncated=True)
        assert candidate.truncated
        assert parses(candidate.code)
        assert code.split("\n")[: candidate.code.count("\n") + bool(candidate.code)] == (
            candidate.code.split("\n") if candidate.code else []
        )


# Size and depth


@pytest.mark.parametrize(
    "raw",
    [
        "x" * 1_000_000,
        "x = 1\n" * 170_000,
        "This is a sentence of prose.\n" * 35_000,
        "prose\n```python\nx = (\n```\n" * 40_000,
        "```\n" * 250_000,
        "x = (\nThis is a sentence.\n" * 43_000,
        "# Task: smooth y\n" * 60_000,
        "import numpy as np\n" * 50_000,
        " " * 1_000_000,
        "\n" * 1_000_000,
        "  x = 1\n    y = 2\n" * 50_000,
        "try:\n  x = 1\n" * 70_000,
        "'" * 1_000_000,
        "\"'`\\" * 250_000,
        '\\"' * 500_000,
        "a-" * 500_000,
        'x = """\n' * 100_000 + "'",
        "<think>\n" * 120_000,
        "</think>\n" * 110_000,
        "<|im_end|>" * 100_000,
        "a b " * 250_000,
        "1<" * 500_000,
        "f(a)\n" * 200_000 + "x = = 1",
    ],
    ids=lambda raw: raw[:12],
)
@pytest.mark.parametrize("truncated", [False, True])
def test_a_megabyte_ends_soon(raw: str, truncated: bool) -> None:
    began = time.process_time()
    candidate = clean(raw, task="smooth y", context=CONTEXT * 100, truncated=truncated)
    assert time.process_time() - began < 5.0
    assert len(candidate.code) <= MAX_CHARACTERS


@pytest.mark.parametrize(
    "opening", ["(", "[", "{", "f(", "{0:", "([{", "-", "not ", "lambda: ", "1 if x else ", "x**"]
)
@pytest.mark.parametrize("count", [80, 95, 190, 10_000])
def test_depth_is_survived(opening: str, count: int) -> None:
    for raw in (opening * count, f"```python\nx = {opening * count}1\n```"):
        code = clean(raw).code
        assert clean(code).code == code


def test_what_follows_the_limit_counts_as_cut_off() -> None:
    line = "value = 1 + 1\nother = 2\n"
    candidate = clean(line * (MAX_CHARACTERS // len(line) + 10))
    assert candidate.truncated
    assert parses(candidate.code)


def test_warnings_stay_silent(recwarn: pytest.WarningsRecorder) -> None:
    warnings.simplefilter("always")
    assert clean(r"pattern = '\d'").code == r"pattern = '\d'"
    assert not recwarn.list
