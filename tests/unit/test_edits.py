"""One insertion below the task, with the meaning of the code unchanged."""

import ast
import warnings
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sciwright.edits import Insertion, find_again, insert_below
from sciwright.tasks import Task, find_tasks


def inserted(source: str, code: str, number: int = -1) -> str:
    task = find_tasks(source)[number]
    insertion = insert_below(source, task, code)
    result = insertion.apply(source)
    # What was there stays, in one piece on either side.
    assert len(result) == len(source) + len(insertion.text)
    assert result.replace(insertion.text, "", 1) == source
    return result


@pytest.mark.parametrize(
    ("source", "code", "result"),
    [
        ("# Task: a\n", "x = 1", "# Task: a\nx = 1\n"),
        ("# Task: a", "x = 1", "# Task: a\nx = 1"),
        ("# Task: a\nz = 3\n", "x = 1\ny = 2", "# Task: a\nx = 1\ny = 2\nz = 3\n"),
        ("# Task: a\nz = 3", "x = 1", "# Task: a\nx = 1\nz = 3"),
        ("# Task: a\n# b\n# Check: x\nz = 3\n", "x = 1", "# Task: a\n# b\n# Check: x\nx = 1\nz = 3\n"),
        ("q = 0\n# Task: a\n# b", "x = 1\ny = 2", "q = 0\n# Task: a\n# b\nx = 1\ny = 2"),
        ("# Task: a\r\nz = 3\r\n", "x = 1\n\ny = 2", "# Task: a\r\nx = 1\r\n\r\ny = 2\r\nz = 3\r\n"),
        ("q\r\n# Task: a", "x = 1\ny = 2", "q\r\n# Task: a\r\nx = 1\r\ny = 2"),
        ("q\r# Task: a\rz", "x = 1\ny = 2", "q\r# Task: a\rx = 1\ry = 2\rz"),
        ("# Task: a\n", "x = 1\r\ny = 2", "# Task: a\nx = 1\ny = 2\n"),
        ("\ufeff# Task: a", "x = 1", "\ufeff# Task: a\nx = 1"),
        ("\f# Task: a\n", "if x:\n    y", "\f# Task: a\nif x:\n    y\n"),
        ("😀 = '\u2028\x85'\n# Task: a\n", "é = 1", "😀 = '\u2028\x85'\n# Task: a\né = 1\n"),
        ("if x:\n    # Task: a\n", "if y:\n    z", "if x:\n    # Task: a\n    if y:\n        z\n"),
        ("if x:\n\t# Task: a\n\ty\n", "if y:\n    z", "if x:\n\t# Task: a\n\tif y:\n\t    z\n\ty\n"),
        ("  # Task: a\n", "x = 1\n\n   \ny = 2", "  # Task: a\n  x = 1\n\n   \n  y = 2\n"),
        ("  # Task: a\n", "x = (1,\n2)", "  # Task: a\n  x = (1,\n  2)\n"),
        ("  # Task: a\n", "x = 1 + \\\n    2", "  # Task: a\n  x = 1 + \\\n      2\n"),
        ("  # Task: a\n", 'x = ("a"\n     "b")', '  # Task: a\n  x = ("a"\n       "b")\n'),
        ("  # Task: a\n", 'x = ("a"\n"""\nb""")', '  # Task: a\n  x = ("a"\n  """\nb""")\n'),
        ("  # Task: a\n", "x = 'a\\\nb'", "  # Task: a\n  x = 'a\\\nb'\n"),
        ("  # Task: a\n", 'x = f"""\n{y}\n"""\nz', '  # Task: a\n  x = f"""\n{y}\n"""\n  z\n'),
        (
            "  # Task: a\n",
            'def f():\n    """Doc.\n\n    More.\n    """\n    return """\n    a"""',
            '  # Task: a\n  def f():\n      """Doc.\n\n      More.\n      """\n      return """\n    a"""\n',
        ),
        ("  # Task: a\n", "# it's\nx = '''\na'''", "  # Task: a\n  # it's\n  x = '''\na'''\n"),
    ],
)
def test_insertion(source: str, code: str, result: str) -> None:
    assert inserted(source, code) == result


def test_the_position_counts_code_points_and_stands_below_the_comment() -> None:
    source = "x = 1\n# Task: plot 😀 and 𝒙"
    task = find_tasks(source)[0]
    assert insert_below(source, task, "y") == Insertion(1, 20, "\ny")
    source += "\n"
    assert insert_below(source, task, "y") == Insertion(2, 0, "y\n")


SNIPPETS = st.sampled_from(
    [
        "a = 1",
        "a = '''\n  x\n\ty\n'''",
        'b = """x""" + \'\'\'\ny\n z\'\'\'; c = """\n"""',
        "n = 3\nd = f'''{n}\n  {n + 1:>4}\n'''",
        'e = (\'x\'\n     \'y\'\n"""z\n z""")',
        "e = 'x' \\\n  'y'",
        "f = r'\\\n x' + b'\\\ny'.decode()",
        "def g(p='''\n q'''):\n    '''Doc\n    string'''\n    return p + '''\n    r'''\nh = g()",
        "class C:\n    '''Doc\n  string'''\n    v = '''\n  w'''\nh = C.v",
        "i = [\n1,\n\n  2]",
        "for j in range(3):\n    k = '''\n''' * j\nelse:\n\n    l = 1",
        "if True:\n    '''text\n  text'''\n    m = {'k':\n'''v\n'''}",
        "m = {'k':\n'''v\n'''\n}",
        '# it\'s a """ remark',
        "o = '#' + \"'''\" # '''",
        "p = '''a''' '''\nb''' + \"\"\"\nc\"\"\"",
        "q = lambda: '''\n '''\nr = q()",
        "async def s():\n    '''\n doc'''\n",
        "t = '''\\\n  u\\'''\n'''",
        "u = f'''{'x'}\n''' if True else '''\n'''",
        "if not a:\n  pass\nelif a: v = '''\n'''\n" if False else "v = ''",
    ]
)
INDENTS = st.sampled_from(["    ", "\t", " ", "        "])


def values(code: str) -> dict[str, Any]:
    """Return what running `code` leaves, as far as it can be compared."""
    names: dict[str, Any] = {}
    exec(code, names)
    return {name: value for name, value in names.items() if isinstance(value, str | int | list | dict)}


def under_a_condition(code: str, indent: str, end: str) -> str:
    return inserted(f"if True:{end}{indent}# Task: a{end}{indent}pass{end}", code)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(SNIPPETS, min_size=1, max_size=4).map("\n".join), INDENTS, st.sampled_from(["\n", "\r\n", "\r"])
)
def test_indented_code_gives_the_same_values(code: str, indent: str, end: str) -> None:
    expected, found = values(code), values(under_a_condition(code, indent, end))
    found.pop("__builtins__"), expected.pop("__builtins__")
    assert found == expected


STRINGS = st.lists(st.sampled_from([*"'\"\\\n{}#a \t", "'''", '"""', "\\\n"]), max_size=8).map("".join)


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(["", "r", "f", "b", "rb"]), STRINGS, st.sampled_from(["'''", '"""']), INDENTS)
def test_the_text_of_strings_stays(prefix: str, text: str, quotes: str, indent: str) -> None:
    code = f"x = {prefix}{quotes}{text}{quotes}\ny = ''"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            whole = ast.parse(code)
        except SyntaxError:
            assume(False)
        (condition,) = ast.parse(under_a_condition(code, indent, "\n")).body
    assert isinstance(condition, ast.If)
    assert [ast.dump(node) for node in condition.body[:-1]] == [ast.dump(node) for node in whole.body]


def found_again(now: str, earlier: str, number: int = 0) -> Task | None:
    return find_again(now, find_tasks(earlier)[number], earlier)


@pytest.mark.parametrize(
    ("earlier", "number", "now", "line"),
    [
        ("# Task: a\n", 0, "# Task: a\n", 0),
        ("# Task: a\n", 0, "x\ny\n# Task: a\n", 2),
        ("x\n# Task: a\ny\n", 0, "# Task: a\nz\n", 0),
        ("# Task: a\n", 0, "if x:\n    #task:   a  \n", 1),
        ("# Task: a\n# b\n", 0, "# Task: a b\n", 0),
        ("# Task: a\n# Check: c\n", 0, "x\n# Task: a\n# Check: c\n", 1),
        ("# Task: a\n# Task: b\n", 1, "# Task: b\n# Task: a\n", 0),
        ("# Task: a\nx\n# Task: a\n", 0, "\n# Task: a\nx\n# Task: a\n", 1),
        ("# Task: a\nx\n# Task: a\n", 1, "\n# Task: a\nx\n# Task: a\n", 3),
        ("# Task: a\n# Task: b\n", 0, "# Task: a\n", 0),
        # Not certain, or gone:
        ("# Task: a\n", 0, "", None),
        ("# Task: a\n", 0, "# Task: b\n", None),
        ("# Task: a\n", 0, "# Task: a\n# more\n", None),
        ("# Task: a\n", 0, "# Task: a\n# Check: c\n", None),
        ("# Task: a\n# Check: c\n", 0, "# Task: a\n# Check: d\n", None),
        ("# Task: a\n", 0, "# Task: a\n\n# Task: a\n", None),
        ("# Task: a\nx\n# Task: a\n", 1, "# Task: a\n", None),
        ("# Task: a\nx\n# Task: a\n", 1, "# Task: b\nx\n# Task: a\n", None),
        ("# Task: a\n", 0, "'''\n# Task: a\n'''\n", None),
    ],
)
def test_finding_a_task_again(earlier: str, number: int, now: str, line: int | None) -> None:
    found = found_again(now, earlier, number)
    assert (found and found.first_line) == line


def test_a_task_that_was_not_in_the_earlier_text_is_not_found() -> None:
    (task,) = find_tasks("x\n# Task: a\n")
    assert find_again("# Task: a\n", task, "# Task: a\n") is None


def test_finding_again_goes_by_the_trigger() -> None:
    text = "# Do: a\n"
    (task,) = find_tasks(text, "Do")
    assert find_again(f"\n{text}", task, text, "Do") == Task("a", (), 1, 1, "")
    assert find_again(f"\n{text}", task, text) is None


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["x = 1\n", "\n", "# Task: b\n", "'''\ny'''\n"])).map("".join), SNIPPETS)
def test_a_task_found_again_takes_the_code(above: str, code: str) -> None:
    earlier = "x = 1\n# Task: a\n"
    task = found_again(f"{above}# Task: a\nz = 3\n", earlier)
    assert task
    result = insert_below(f"{above}# Task: a\nz = 3\n", task, code).apply(f"{above}# Task: a\nz = 3\n")
    assert result == f"{above}# Task: a\n{code.rstrip()}\nz = 3\n"
