"""The verdict: how far a candidate was proven, and by what evidence."""

from dataclasses import dataclass
from enum import IntEnum


class Tier(IntEnum):
    """How far a candidate was proven; a higher one is better."""

    REJECTED = 0
    PARSED = 1
    RAN_ON_STAND_INS = 2
    RAN = 3
    CHECKED = 4

    @property
    def label(self) -> str:
        """The name that users see: "ran-on-stand-ins"."""
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found out about one candidate.

    Args:
        tier: How far it was proven.
        reason: Why it was rejected, or not proven further; "" when there is nothing to say.
    """

    tier: Tier
    reason: str = ""
