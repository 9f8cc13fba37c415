"""What a user is told when something goes wrong: what it is, and what mends it."""


class SciwrightError(Exception):
    """The work failed for a reason that a person can act on.

    Args:
        problem: What is wrong, in one sentence without a full stop.
        mend: What the user can do about it, or "" when there is nothing.
    """

    exit_code = 1

    def __init__(self, problem: str, mend: str = "") -> None:
        super().__init__(f"{problem}. {mend}" if mend else problem)
        self.problem = problem
        self.mend = mend


class UsageError(SciwrightError):
    """The request itself makes no sense (no such file, line or option)."""

    exit_code = 2


class SamplerError(SciwrightError):
    """The model could not be reached, or its answer could not be used."""


class ModelError(SciwrightError):
    """The weights are missing, cannot be fetched, or are not what they should be."""
