import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciwright.edits import find_again, insert_below
from sciwright.tasks import find_tasks

SNIPPETS = [
    "y = 1",
    "for i in range(3):\n    y = i\n\nz = y",
    'text = """a\n  b\nc"""',
    'text = f"""a\n  {1 + 1}\n"""',
    "total = (1 +\n  2)",
    'def f():\n    """Doc.\n\n    More."""\n    return 1\ny = f()',
    "s = 'a\\\nb'",
]


def inserted(source: str, code: str, number: int = 0) -> str:
    return insert_below(source, find_tasks(source)[number], code).apply(source)


@pytest.mark.parametrize(
    ("source", "code", "expected"),
    [
        ("# Task: a\nx\n", "y = 1", "# Task: a\ny = 1\nx\n"),
        ("# Task: a", "y = 1\nz = 2", "# Task: a\ny = 1\nz = 2"),
        ("# Task: a\r\nx\r\n", "y\nz", "# Task: a\r\ny\r\nz\r\nx\r\n"),
        ("a = 1\r# Task: a\rx", "y\nz", "a = 1\r# Task: a\ry\rz\rx"),
        ("if a:\n\t# Task: a\n\t# b\n\tpass\n", "y\n\nz", "if a:\n\t# Task: a\n\t# b\n\ty\n\n\tz\n\tpass\n"),
        ("    # Task: a\n", 's = """\nraw\n"""', '    # Task: a\n    s = """\nraw\n"""\n'),
    ],
)
def test_insertion(source, code, expected):
    assert inserted(source, code) == expected


@given(st.lists(st.sampled_from(SNIPPETS), min_size=1, max_size=4), st.sampled_from(["    ", "\t", "  "]))
def test_indented_code_means_the_same(parts, indent):
    code = "\n".join(parts)
    plain: dict[str, object] = {}
    exec(code, plain)
    indented: dict[str, object] = {}
    exec(inserted(f"if True:\n{indent}# Task: a\n", code), indented)
    values = [
        {k: v for k, v in names.items() if isinstance(v, str | int) and not k.startswith("__")}
        for names in (plain, indented)
    ]
    assert values[0] == values[1]


def test_found_again_by_its_rank_among_equals():
    earlier = "# Task: a\n\n# Task: a\n"
    second = find_tasks(earlier)[1]
    now = find_again("x\n\n" + earlier, second, earlier)
    assert now is not None
    assert now.first_line == 4


@pytest.mark.parametrize(
    "now", ["", "# Task: b\n\n# Task: a\n", "# Task: a\n", "'''\n# Task: a\n\n# Task: a\n'''"]
)
def test_not_found_when_one_came_or_went(now):
    earlier = "# Task: a\n\n# Task: a\n"
    assert find_again(now, find_tasks(earlier)[1], earlier) is None
