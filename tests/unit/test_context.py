"""What the model is told about the text above a task."""

import ast
import re
import time
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sciwright.context import Context, gather, token_estimate
from sciwright.tasks import Task, find_tasks

GOLDEN = sorted((Path(__file__).parent / "context").glob("*.txt"))
AMPLE = 1_000_000


def context_of(above: str, *, indent: str = "", task: str = "plot y", budget: int = AMPLE) -> Context:
    """Return the context of a task on the line below `above`."""
    text = f"{above}{indent}# Task: {task}\nbelow = 1\n"
    return gather(text, find_tasks(text)[-1], budget)


def buffer_and_cases(file: Path) -> tuple[str, list[str]]:
    """Read a buffer, and what is chosen of it: after each `=== BUDGET remark` the expected source."""
    buffer, *cases = re.split(r"(?m)^=== (.*)\n", file.read_text(encoding="utf-8"))
    return buffer, cases


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_golden(file: Path) -> None:
    buffer, cases = buffer_and_cases(file)
    task = find_tasks(buffer)[-1]
    assert cases
    for heading, expected in zip(cases[::2], cases[1::2], strict=True):
        assert gather(buffer, task, int(heading.split()[0])).source == expected, heading


@pytest.mark.parametrize(
    ("statement", "imports"),
    [
        ("import numpy", {"numpy": "numpy"}),
        ("import numpy as np, scipy", {"np": "numpy", "scipy": "scipy"}),
        ("import scipy.optimize", {"scipy": "scipy"}),
        ("import scipy.optimize as so", {"so": "scipy.optimize"}),
        ("from scipy.optimize import curve_fit as fit", {"fit": "scipy.optimize.curve_fit"}),
        ("from scipy import (\n    stats,  # tests\n    signal as sg,\n)", {"stats": "scipy.stats", "sg": "scipy.signal"}),
        ("from . import a", {"a": ".a"}),
        ("from .. import a as b", {"b": "..a"}),
        ("from .a.b import c", {"c": ".a.b.c"}),
        ("from __future__ import annotations", {"annotations": "__future__.annotations"}),
        ("from pylab import *", {}),
        ("import a; import b", {"a": "a", "b": "b"}),
        ("import a\nimport b as a", {"a": "b"}),
        ("try:\n    import a\nexcept ImportError:\n    import b as a", {"a": "b"}),
        ("if x:\n    from a import b\nelse:\n    from c import d", {"b": "a.b", "d": "c.d"}),
        ("with x:\n    import a", {"a": "a"}),
        ("def f():\n    import a", {}),
        ("import", {}),
        ("from a import", {}),
    ],
)  # fmt: skip
def test_imports(statement: str, imports: dict[str, str]) -> None:
    assert context_of(f"{statement}\n").imports == imports
    assert not context_of(f"{statement}\n").names or "def" in statement


def test_imports_of_the_function_around_the_task_count() -> None:
    context = context_of("def f(t):\n    import numpy as np\n", indent="    ")
    assert context.imports == {"np": "numpy"}
    assert context.names == ("f", "t")


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        ("a = 1", "a"),
        ("a = b = 1", "a b"),
        ("a, (b, *c), [d] = x", "a b c d"),
        ("*a, b = x", "a b"),
        ("a += 1", "a"),
        ("a: int = 1", "a"),
        ("a.b = x; a[b] = x; a.b: int = x; a[0], c = x", "c"),
        ("(a := 1)", "a"),
        ("print(1, [a := f(b)], key=(c := 2))", "a c"),
        ("if (a := f()) and (b := g()):\n    pass", "a b"),
        ("x[lambda q: (q := 1)] = 2", ""),
        ("if a and b or not c:\n    d = 1\nelif e:\n    f = 1\nelse:\n    g = 1", "d f g"),
        ("for a, (b, *c) in x:\n    d = 1\nelse:\n    e = 2", "a b c d e"),
        ("async def f():\n    async for a in b:\n        pass", "f"),
        ("while a:\n    b = 1", "b"),
        ("with open(a) as b, c() as (d, e), f:\n    g = 1", "b d e g"),
        ("with (a() as b, c() as d):\n    pass", "b d"),
        ("try:\n    a = 1\nexcept (B, C) as d:\n    e = 1\nelse:\n    f = 1\nfinally:\n    g = 1", "a d e f g"),
        ("try:\n    pass\nexcept* B as a:\n    pass", "a"),
        (
            "match x:\n"
            "    case P(q=0, r=a) | P(a): pass\n"
            "    case [b, *c], 'text': pass\n"
            "    case {'k': d, N.M: _, **e}: pass\n"
            "    case (str() | N.O) as f if (g := f): pass\n"
            "    case h: i = 1",
            "a b c d e f g h i",
        ),
        ("def a(b, c=d):\n    e = 1", "a"),
        ("class A(B):\n    c = 1\n    def d(self): pass", "A"),
        ("@a\n@b(c)\nasync def d(): pass", "d"),
        ("a = [b for b in c if b]\nd = {e: f for e, f in g}", "a d"),
        ("a = lambda b, c=d: b", "a"),
        ("f(a=1)\ndel a\nassert b\nreturn c\nraise D from e\n'f = 1'\n# g = 1", ""),
        ("a = 1; b = 2  # c = 3", "a b"),
        ("a = 1\nb = 2\na = 3", "b a"),
        ("é = 1\n𝒙 = 2\n名前 = 3", "é 𝒙 名前"),
    ],
)  # fmt: skip
def test_names_bound(statement: str, names: str) -> None:
    for end in ("\n", "\r\n", "\r"):
        assert context_of(f"{statement}\n".replace("\n", end)).names == tuple(names.split())
    # The same inside a function, where all of it stands deeper.
    inside = "".join(f"    {line}\n" for line in statement.split("\n"))
    context = context_of(f"def outer():\n{inside}", indent="    ")
    assert context.names == tuple(f"outer {names}".split())


@pytest.mark.parametrize(
    ("above", "function", "names"),
    [
        ("def f(a, b=1, *c, d: int, e: X = 2, **g) -> R:\n    ", None, "a b c d e f g"),
        ("def f(a, /, b, *, c):  # why\n    # remark\n    ", "def f(a, /, b, *, c):", "a b c f"),
        ("async def f():\n    ", "async def f():", "f"),
        ("@a\n@b(1)\ndef f(x): # c\n    ", "@a\n@b(1)\ndef f(x):", "f x"),
        ("def f(a, b={'k': [1, 2]}, c=lambda q: q):\n    ", None, "a b c f"),
        ("def f(\n    a,\n    b,\n):\n    ", None, "a b f"),
        ("class A(B, metaclass=C):\n    d = 1\n    @e\n    def m(self, x):\n        ",
         "@e\ndef m(self, x):", "A d m self x"),
        ("def f(a):\n    def g(b):\n        ", "def g(b):", "a f b g"),
        ("def f(a):\n    def g(b):\n        pass\n    ", "def f(a):", "a f g"),
        ("def f(a):\n    for i, j in a:\n        with open(i) as k:\n            ", "def f(a):", "a f i j k"),
        ("class A:\n    ", "", "A"),
        ("def f(a):\n    pass\n", "", "f"),
        ("def f(a):\n\tpass\n\t", "def f(a):", "a f"),
        ("\x0cdef f(a):\n    pass\n\x0c    ", "def f(a):", "a f"),
    ],
)  # fmt: skip
def test_the_function_around_the_task(above: str, function: str | None, names: str) -> None:
    lines, _, indent = above.rpartition("\n")
    for end in ("\n", "\r\n", "\r"):
        context = context_of(f"{lines}\n".replace("\n", end), indent=indent)
        assert context.function == (lines.strip() if function is None else function)
        assert context.names == tuple(names.split())


@pytest.mark.parametrize(
    ("block", "names"),
    [
        ("if x:\n    a = 1\n", "a"),
        ("def f(q):\n    a = 1\n", "f"),
        ("for a in x:\n    pass\n\n    # a remark that ends the block\n", "a"),
        ("class A:\n    def f(self):\n        b = 1\n", "A"),
        ("try:\n    a = 1\nexcept E:\n    b = 1\n", "a b"),
    ],
)
def test_a_task_at_the_margin_is_outside_the_block_above(block: str, names: str) -> None:
    context = context_of(block)
    assert context.names == tuple(names.split())
    assert context.function == ""
    assert context_of(block, budget=0).source == ""  # a block around the task would show its header


@pytest.mark.parametrize(
    ("above", "headers"),
    [
        ("if x:\n    a = 1\nelse:\n", "if x:\n    ...\nelse:\n"),
        ("if x:\n    a = 1\nelif y:\n    b = 1\nelif z:\n", "if x:\n    ...\nelif y:\n    ...\nelif z:\n"),
        ("try:\n    a = 1\n", "try:\n"),
        ("try:\n    a = 1\nexcept E as e:\n", "try:\n    ...\nexcept E as e:\n"),
        ("try:\n    a = 1\nfinally:\n", "try:\n    ...\nfinally:\n"),
        ("for i in x:\n    a = 1\nelse:\n", "for i in x:\n    ...\nelse:\n"),
        ("while x:\n    a = 1\n\n", "while x:\n"),
        ("match x:\n    case 1:\n        a = 1\n", "match x:\n"),
        ("with a as b, \\\n    c as d:\n", "with a as b, \\\n    c as d:\n"),
    ],
)
def test_headers_are_kept_without_their_other_branches(above: str, headers: str) -> None:
    long_branch = above.replace("a = 1", f"a = 1\n    {'spam ' * 100}".strip())
    assert context_of(long_branch, indent="    ", budget=0).source == headers
    assert context_of(above, indent="    ").source == above.replace("\n\n", "\n")


@pytest.mark.parametrize(
    ("broken", "indent", "names"),
    [
        ("a = [1, 2\n", "", "b c"),
        ("f(x,\n", "", "b c"),
        ("def f(x\n", "", "b c"),
        ("def f(x):\n", "", "b f c"),
        ("if x:\n", "", "b c"),
        ("@decorator\n", "", "b c"),
        ("a = \n", "", "b c"),
        ("a = 'never closed\n", "", "b a c"),
        ("<<<<<<< HEAD\na = 1\n=======\na = 2\n>>>>>>> theirs\n", "", "b a c"),
        ("%matplotlib inline\n!ls 'it\n?np.sum\n", "", "b c"),
        ("    a = 1\n  d = 2\n", "", "b a d c"),
        ("x = 1 +* 2\n)\n]\n", "", "b c"),
        ("This is prose, it's no code. Isn't it?\n", "", "b c"),
        ("def f(x):\n    a = [1, 2\n", "    ", "b f x"),
        ("def f(x):\n    g(a\n    d = 1\n", "    ", "b f x"),
        ("try:\n    a = 1\n", "    ", "b a c"),
    ],
)
def test_text_that_does_not_parse(broken: str, indent: str, names: str) -> None:
    above = f"import numpy as np\nb = 1\n{broken}{indent}c = 2\n"
    context = context_of(above, indent=indent)
    assert context.source == above
    assert context.imports == {"np": "numpy"}
    # Further names, in the broken part itself, may or may not be found.
    assert [name for name in context.names if name in names.split()] == names.split()
    assert context.function == ("def f(x):" if "f x" in names else "")


def test_cells_and_magics_above_a_task() -> None:
    above = dedent("""\
        # %%
        %matplotlib inline
        import pandas as pd

        # %% Load
        df = pd.read_csv("a.csv")
        !echo "it's done"
        # %% [markdown]
        # Now the fit. It isn't hard.
        # %%
        """)
    context = context_of(above)
    assert context.imports == {"pd": "pandas"}
    assert context.names == ("df",)
    assert context.source == above.replace("\n\n", "\n")


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_line_ends_are_the_same_for_the_model(end: str) -> None:
    for file in GOLDEN:
        text, _ = buffer_and_cases(file)
        task = find_tasks(text)[-1]
        assert gather(text.replace("\n", end), task, AMPLE) == gather(text, task, AMPLE)


def test_unusual_characters() -> None:
    above = "\ufeffimport numpy as np\nα = '😀\u2028\x85\x0b'\n\x0cb = 1\nc = '\ud800'\n"
    context = context_of(above)
    assert context.imports == {"np": "numpy"}
    assert context.names == ("α", "b", "c")
    # A lone surrogate is no text; all else stays.
    assert context.source == above.removeprefix("\ufeff").replace("\ud800", "?")


def test_only_what_stands_above_counts() -> None:
    assert context_of("") == Context("", {}, (), "")
    assert context_of("\n\n# remark\n") == Context("# remark\n", {}, (), "")


@pytest.mark.parametrize("check", ["len(fit) == 2", "fit['a'] > 0"])
def test_a_check_mentions_names_too(check: str) -> None:
    text = f"fit = 1\nother = 2\n# Task: plot\n# Check: {check}\n"
    assert gather(text, find_tasks(text)[0], 4).source == "fit = 1\n"


def test_one_line_of_five_megabytes() -> None:
    data = "1," * 2_500_000
    for line, short in [
        (f"x['a=b'], y = [{data}]", "x['a=b'], y =..."),
        (f"if x == [{data}]: y = 1", "..."),
        (f"print([{data}])", "..."),
    ]:
        started = time.process_time()
        context = context_of(f"def f():\n    {line}\n    z = 1\n", indent="    ")
        assert time.process_time() - started < 1.5
        assert context.source == f"def f():\n    {short}\n    z = 1\n"
        assert context.names[-1] == "z"


@pytest.mark.parametrize(
    "statements",
    [
        "".join(f"value{i} = value{i - 1} + 1\n" for i in range(10_000)),
        "".join(f"x = x + {i}\n" for i in range(10_000)),
        "open_bracket(\n" + "".join(f"value{i} = value{i - 1}\n" for i in range(10_000)),
        "def f():\n" + "".join(f"    value{i} = value{i - 1}\n" for i in range(10_000)),
    ],
    ids=["chain", "one name", "open bracket", "function"],
)
def test_ten_thousand_statements(statements: str) -> None:
    started = time.process_time()
    context = context_of(statements, task="plot value9999 and x", budget=1000)
    assert time.process_time() - started < 1.5
    assert token_estimate(context.source) <= 1000


DEEP = 5_000


@pytest.mark.parametrize(
    "above",
    [
        "(" * DEEP,
        "x = " + "(" * DEEP + "1" + ")" * DEEP,
        "(" * DEEP + "x" + ")" * DEEP + " = 1",
        "x = " + "[" * DEEP,
        "f(" * DEEP + "y := 1" + ")" * DEEP,
        "if " + "a and " * DEEP + "b:\n    c = 1",
        "if x:\n    pass\n" + "elif y:\n    pass\n" * 1_000,
        "".join(" " * i + "if x:\n" for i in range(500)),
        "x = " * DEEP + "1",
        "x" + ".y()" * DEEP,
        "not " * DEEP + "x",
        "lambda: " * DEEP + "x",
        "f'" + "{f'" * DEEP,
        "case " * DEEP,
        "{" * DEEP + "}" * DEEP,
    ],
)
def test_deep_nesting(above: str) -> None:
    for indent in ("", " " * 500):
        context_of(f"y = 1\n{above}\n", indent=indent, budget=100)


# fmt: off
LINES = st.sampled_from([
    "x = 1", "if x:", "    y = 2", "        z = 3", "def f(a, b=2):", "    return a", "else:", "    else:", "# c",
    "    # c", "", "   ", "class A:", "    def m(self):", "@d", "    @d", "a = [1,", "  2]", "(", ")", "'''",
    "s = 'it", "=======", "%matplotlib inline", "!ls it's", "try:", "except E as e:", "    pass", "import a",
    "from b import (c,", "with a as b: c = 1", "a = 1; b = 2  # z", "\tt = 1", "\x0cq = 1", "x = 'é😀'", "\x0b",
    "\x00", "f'{", "match x:", "  case y:", "async def g():", "return", "}", "    )", "   odd = 1", "'k': 1,",
    "$?", "# \ud800", "if a: b = 1", "def h(x): return x; y = 1", "finally:", "for i in x: pass", "print 'a'",
    "x = '\u2028'", "lambda",
])
# fmt: on
STATEMENTS = st.sampled_from(
    [
        "x = 1",
        "import a",
        "# c",
        "'''a\nb'''",
        "class A: b = 1",
        "x = 1 + \\\n    2",
        "x.y[0] += f(\n    a, b, c,\n)",
        "a = 1; b = {'k': 'v' * 1000, 'l': 'w' * 200, 'm': 'x' * 300, 'n': 'y' * 400, 'o': 'z' * 500, 'p': 'a' * 6}",
        "data = [\n    1, 2, 3,\n    4, 5, 6,\n]  # more than a little data, which does not fit into a small budget",
        "if x:\n    y = [\n2]\nelse:\n    z = 'a text that is longer than a small budget, and a bit more of it here'",
        "if x:\n\ty = 'a long text that does not fit into a small budget, and a longer one than that'\n\tz = 3 + y",
        "for i in x:\n    # remark\n\n    for j in i: print(i, j)\n    k = i\nelse: j = 'more and more and more text'",
        "try:\n    y = a / b\nexcept E:  # why\n    # remark\n    pass\nfinally:\n    z = 'text that is long enough'",
        "match x:\n    case 1: y = 2\n    case [a, *b]:\n        y = 'a text that is longer than a small budget'",
        "@d\ndef f(a,\n      b):\n    '''Doc\nstring'''\n    return a * (b + 3) / (a - b) * (a + 2) - a * (b + 9)",
        "def f(a, b=2): return 'a text that is longer than a small budget and what is always short enough, we hope'",
        "async def g():\n    async with a as b: await b\n    return 'a text that is longer than a small budget so far'",
    ]
)
SOURCE = st.lists(LINES, max_size=10).map(lambda lines: "".join(f"{line}\n" for line in lines))
VALID_SOURCE = st.lists(STATEMENTS, max_size=10).map(lambda lines: "".join(f"{line}\n" for line in lines))


def gather_below(above: str, indent: str, budget: int) -> Context:
    line = len(above.split("\n")) - 1
    return gather(above, Task("plot x", (), line, line, indent), budget)


def written_lines(text: str) -> list[str]:
    return [line.replace("\ud800", "?") for line in text.split("\n") if line.strip()]


@settings(max_examples=120, deadline=None)
@given(SOURCE, st.sampled_from(["", "    ", "        ", "\t", " "]))
def test_with_an_ample_budget_every_line_is_there_once_and_in_order(above: str, indent: str) -> None:
    assert written_lines(gather_below(above, indent, AMPLE).source) == written_lines(above)


@settings(max_examples=100, deadline=None)
@given(SOURCE | st.text(), st.sampled_from(["", "    "]), st.integers(0, 60))
def test_the_budget_holds_for_all_but_the_headers(above: str, indent: str, budget: int) -> None:
    headers = token_estimate(gather_below(above, indent, 0).source)
    source = gather_below(above, indent, budget).source
    assert source == "" or source.endswith("\n")
    # A header that fits is shown with its other branches, so it may be longer than at budget 0.
    assert token_estimate(source) <= budget + headers


@settings(max_examples=100, deadline=None)
@given(VALID_SOURCE, st.integers(0, 100))
def test_what_parses_still_parses_when_cut_down(above: str, budget: int) -> None:
    ast.parse(above)
    ast.parse(gather_below(above, "", budget).source)
