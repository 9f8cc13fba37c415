import pytest

from sciwright.verification.static import check
from sciwright.verification.verdict import Tier


@pytest.mark.parametrize(
    ("code", "at_top_level", "tier"),
    [
        ("y = 1", True, Tier.PARSED),
        ("await x", True, Tier.PARSED),
        ("return 1", True, Tier.REJECTED),
        ("return 1", False, Tier.PARSED),
        ("f(a=1, a=2)", True, Tier.REJECTED),
        ("", True, Tier.REJECTED),
        ("# only words", True, Tier.REJECTED),
        ("x = '\\d'", True, Tier.PARSED),
        ("y = (", True, Tier.REJECTED),
        ("x = '\0'", True, Tier.REJECTED),
    ],
)
def test_verdicts(code, at_top_level, tier, recwarn):
    verdict = check(code, at_top_level=at_top_level)
    assert verdict.tier is tier
    assert bool(verdict.reason) == (tier is Tier.REJECTED)
    assert not recwarn.list


def test_labels_and_order():
    assert [tier.label for tier in sorted(Tier)] == [
        "rejected",
        "parsed",
        "ran-on-stand-ins",
        "ran",
        "checked",
    ]
