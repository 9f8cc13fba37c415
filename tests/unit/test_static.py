"""What static checks tell of a candidate."""

import warnings

import pytest

from sciwright.verification import static
from sciwright.verification.verdict import Tier


@pytest.mark.parametrize(
    "code",
    [
        "x = 1",
        "df",
        "print('done')",
        "import numpy as np\n\nnp.sin(1)",
        "def f():\n    return 1",
        "await fetch()",
        "x = 1\n# remark",
        "'''Text.'''\nx = 1",
        "\n\nx = '😀'\n",
        "x = '\\d'",
        "assert (1, 'always true')",
        "1 is 1 and print()",
    ],
)
def test_code_that_does_something_is_parsed(code: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what Python warns of in a candidate is not ours to show
        verdict = static.check(code)
    assert (verdict.tier, verdict.reason) == (Tier.PARSED, "")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("", "holds no code"),
        (" \n\t\n", "holds no code"),
        ("# only\n# remarks", "only comments"),
        ("pass", "does nothing"),
        ("...", "does nothing"),
        ("'''Text.'''\npass", "does nothing"),
        ("x = 1\ny = (2", "line 2: '(' was never closed"),
        ("Here is the code:", "line 1: invalid syntax"),
        ("  x = 1", "line 1: unexpected indent"),
        ("print 'a'", "line 1: Missing parentheses"),
        ("x = 'a", "line 1: unterminated string"),
        ("return 1", "line 1: 'return' outside function"),
        ("x = 1\nbreak", "line 2: 'break' outside loop"),
        ("def f():\n    yield = 1", "line 2: "),
        ("nonlocal x", "line 1: nonlocal declaration not allowed"),
        ("f(a=1, a=2)", "line 1: keyword argument repeated"),
        ("x = '\ud800'", "cannot be parsed"),
        ("x = 1\0", "null bytes"),
        ("(" * 300, "too many nested parentheses"),
        ("-" * 100_000 + "1", ""),
        ("x" + ".y" * 100_000, ""),
        ("x = " + "1" * 5_000, "line 1: Exceeds the limit"),
    ],
)
def test_what_is_no_code_is_rejected_with_the_reason(code: str, reason: str) -> None:
    verdict = static.check(code)
    assert verdict.tier is Tier.REJECTED
    assert reason in verdict.reason
    assert verdict.reason
    assert "parsed ()" not in verdict.reason  # an exception without a text is called by its name


@pytest.mark.parametrize("code", ["return 1", "yield x", "break", "await f()"])
def test_inside_a_block_such_statements_make_sense(code: str) -> None:
    assert static.check(code, at_top_level=False).tier is Tier.PARSED


def test_tiers_are_ordered_and_labelled() -> None:
    assert [tier.label for tier in sorted(Tier)] == [
        "rejected",
        "parsed",
        "ran-on-stand-ins",
        "ran",
        "checked",
    ]
