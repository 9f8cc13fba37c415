"""Task comments are found in any text, and nothing else is taken for one."""

import time
import tokenize
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sciwright.lines import split_lines
from sciwright.tasks import Task, find_tasks, task_at
from support.tokens import tokens_of


def only(text: str, trigger: str = "Task") -> Task:
    (task,) = find_tasks(text, trigger)
    return task


@pytest.mark.parametrize(
    "line",
    [
        "# Task: plot y",
        "# task: plot y",
        "# TASK: plot y",
        "#Task:plot y",
        "#\tTask\t:\tplot y\t",
        "## Task: plot y",
        "#### Task : plot y  ",
        "\f# Task: plot y",
        " \f# Task: plot y",
        "\ufeff# Task: plot y",
    ],
)
def test_a_task_is_written_in_many_ways(line: str) -> None:
    assert only(line) == Task("plot y", (), 0, 0, "")
    assert only(f"{line}\r\nx = 1\r\n") == Task("plot y", (), 0, 0, "")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Task: plot y",
        "x = 1  # Task: plot y",
        "# A Task: plot y",
        "# Tasks: plot y",
        "# Task plot y",
        "# # Task: plot y",
        "#: Task: plot y",
        "\u00a0# Task: plot y",
        "x\r\x0b# Task: plot y",
        "x\u2028# Task: plot y",
        "x\x85# Task: plot y",
    ],
)
def test_what_is_no_task(line: str) -> None:
    assert find_tasks(line) == []


@pytest.mark.parametrize(
    ("comment", "text", "checks", "last_line"),
    [
        ("# Task:", "", (), 0),
        ("# Task:\n# plot y", "plot y", (), 1),
        ("# Task: plot y\n#\n#   against x\n", "plot y against x", (), 2),
        ("# Task: plot y\n## against x", "plot y against x", (), 1),
        ("# Task: plot y\n\n# a remark", "plot y", (), 0),
        ("# Task: plot y\nx = 1\n# a remark", "plot y", (), 0),
        ("# Task: plot y\n    # deeper", "plot y", (), 0),
        ("# Task: plot y\n# Task: fit y", "plot y", (), 0),
        ("# Task: plot y\n# Check: len(a) == 2", "plot y", ("len(a) == 2",), 1),
        ("# Task: plot y\n#check :a>1\n# against x\n# CHECK: b", "plot y against x", ("a>1", "b"), 3),
        ("# Task: plot y\n# Check:\n# Checks: fine", "plot y Checks: fine", (), 2),
        ("# Check: a\n# Task: plot y", "plot y", (), 1),
        ("# Task: plot y\n# %% next cell", "plot y", (), 0),
        ("# Task: plot y\n#%%", "plot y", (), 0),
        ("# Task: plot y\n# In[12]:", "plot y", (), 0),
        ("# Task: plot y\n# <codecell>", "plot y", (), 0),
        ("# %%\n# Task: plot y", "plot y", (), 1),
        ("\f# Task: plot y\n# against x", "plot y against x", (), 1),
    ],
)
def test_the_lines_of_a_task(comment: str, text: str, checks: tuple[str, ...], last_line: int) -> None:
    for end in ("\n", "\r\n", "\r"):
        task = find_tasks(comment.replace("\n", end))[0]
        assert (task.text, task.checks, task.last_line) == (text, checks, last_line)


def test_indentation_separates_tasks() -> None:
    text = dedent("""\
        # Task: one
        def f():
            # Task: two
            # more
        # remark
        \t# Task: three
            # no more
    """)
    assert find_tasks(text) == [
        Task("one", (), 0, 0, ""),
        Task("two more", (), 2, 3, "    "),
        Task("three", (), 5, 5, "\t"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        'x = """\n# Task: no\n"""',
        "x = '''\n# Task: no\n'''",
        'def f():\n    """Doc.\n\n    # Task: no\n    """',
        'x = r"""\\\n# Task: no\n"""',
        'x = r"\\\n# Task: no"',
        "x = f'''{\n# Task: no\n1}'''",
        'x = Rb"""\n# Task: no\n"""',
        "x = 'a\\\n# Task: no'",
        "x = 'a\\\r\n# Task: no'",
        'x = """a\\"""\n# Task: no\n"""',
        'x = """a""\n# Task: no\n"""',
        "x = '''\"\"\"\n# Task: no\n'''",
        '# it\'s """\nx = """\n# Task: no\n"""',
        'x = """never closed\n# Task: no\n',
        'x = "" """\n# Task: no\n"""',
    ],
)
def test_a_task_in_a_string_is_none(text: str) -> None:
    assert find_tasks(text) == []


@pytest.mark.parametrize(
    "above",
    [
        "x = '# Task: no'",
        "x = 'never closed",
        'x = "never closed\\\\',
        '""',
        '""""""',
        "x = '''a'''; y = '''b'''",
        'x = """\\""""""',
        "it's prose",
        "# it's \"\"\" a comment '''",
        "x = [1, (2, {",
        "def f(:",
        "%matplotlib inline",
        '!echo "it\'s"',
        "!echo it's",
        "<<<<<<< HEAD",
        "x = 1 \\",
        "# trailing \\",
        "$?\x00\ud800",
        "if x:\n        y\n   z",
    ],
)
def test_a_task_is_found_below_any_text(above: str) -> None:
    assert [task.text for task in find_tasks(f"{above}\n# Task: plot y\n")] == ["plot y"]


@pytest.mark.parametrize("trigger", ["Generate", "AI!", "a+b", "(x)", "Aufgabe 1", "[", "\\d", "Tâche"])
def test_the_trigger_is_a_setting(trigger: str) -> None:
    assert only(f"# {trigger}: plot y\n# more\n", trigger).text == "plot y more"
    assert only(f"# {trigger.upper()}: plot y", trigger).text == "plot y"
    assert find_tasks("# Task: plot y\n# aab: plot y\n# 7: plot y", trigger) == []


def test_a_task_at_a_line() -> None:
    text = "# Task: one\n# more\nx = 1\n# Task: two\n"
    assert [task and task.text for task in (task_at(text, line) for line in range(-1, 6))] == [
        None, "one more", "one more", None, "two", None, None,
    ]  # fmt: skip


# fmt: off
FRAGMENTS = st.sampled_from([
    "# Task: a\n", "    # task : b\n", "# Task: a \\\n", "# Task: it's\n", "#x\n", "# Check: c\n", "\n",
    "x = 1\n", "if x:\n", "    y = 2\n", "x = 'a' # Task: no\n", '"""', "'''", '"', "'", "\\\n", "\\", "r'",
    "\r\n", "f'", "{x}", "(", ")\n", "'''\n", '"""\n', "\f", "\t", " ", "é",
])
# fmt: on


@settings(max_examples=100, deadline=None)
@given(st.lists(FRAGMENTS, max_size=12).map("".join))
def test_tasks_are_the_comments_that_pythons_tokenizer_finds(text: str) -> None:
    expected = [
        token.start[0] - 1
        for token in tokens_of(text)
        if token.type == tokenize.COMMENT
        and not token.line[: token.start[1]].strip()
        and token.string.lstrip("#").lstrip().lower().replace(" ", "").startswith("task:")
    ]
    assert [task.first_line for task in find_tasks(text)] == expected


CHARACTERS = st.characters() | st.sampled_from("#'\"\\\r\n\t\f :\x00\ud800\ufeff")


@settings(max_examples=100, deadline=None)
@given(st.text(CHARACTERS) | st.lists(FRAGMENTS).map("".join))
def test_any_text_can_be_searched(text: str) -> None:
    lines = split_lines(text)
    below = 0
    for task in find_tasks(text):
        assert below <= task.first_line <= task.last_line < len(lines)
        assert set(task.indent) <= {" ", "\t"}
        for line in lines[task.first_line : task.last_line + 1]:
            assert line.lstrip(" \t\f\ufeff").startswith("#")
        below = task.last_line + 1


@settings(max_examples=120, deadline=None)
@given(st.lists(FRAGMENTS).map("".join))
def test_the_task_at_a_line_is_the_one_that_a_search_of_the_text_finds(text: str) -> None:
    tasks = find_tasks(text)
    for line in range(-1, len(split_lines(text)) + 2):
        covering = [task for task in tasks if task.first_line <= line <= task.last_line]
        assert task_at(text, line) == (covering[0] if covering else None)


@pytest.mark.parametrize("end", ["\r\n", "\r"])
@settings(max_examples=100, deadline=None)
@given(text=st.lists(FRAGMENTS, max_size=12).map("".join))
def test_line_ends_make_no_difference(end: str, text: str) -> None:
    text = text.replace("\r", "")
    assert find_tasks(text.replace("\n", end)) == find_tasks(text)


SIZE = 2_000_000


@pytest.mark.parametrize(
    ("text", "tasks"),
    [
        ('"""' + "# Task: x\n" * (SIZE // 10), 0),
        ('"""' + '\'"\\# Task: x\n"" \\\\' * (SIZE // 20), 0),
        ("'\n# Task: x\r" * (SIZE // 50), SIZE // 50),
        ("# Task: x\n" + "#" * SIZE, 1),
        ("# Task: x\n" + "'" * SIZE, 1),
        ('# Task: x\n"' + "\\" * SIZE, 1),
        ("# Task: x\n" + " \f" * (SIZE // 2), 1),
        ("x # Task: x" * (SIZE // 10), 0),
    ],
    ids=["open string", "quotes", "many", "hashes", "apostrophes", "backslashes", "blanks", "one line"],
)
def test_two_megabytes_take_no_more_than_two_seconds(text: str, tasks: int) -> None:
    started = time.process_time()
    assert len(find_tasks(text)) == tasks
    task_at(text, len(split_lines(text)) - 1)
    assert time.process_time() - started < 2
