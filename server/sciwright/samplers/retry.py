"""When a failed request is tried again, and after how long: full jitter, or what the server asks for."""

import random
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from sciwright.errors import SamplerError

ATTEMPTS = 4
FIRST_DELAY = 0.5
LONGEST_DELAY = 8.0
LONGEST_WAIT = 60.0


class Transient(SamplerError):
    """A failure that the next attempt may not meet.

    Args:
        problem: As in SciwrightError.
        mend: As in SciwrightError.
        wait: Seconds that the server asks to wait, where it says so.
    """

    def __init__(self, problem: str, mend: str = "", wait: float | None = None) -> None:
        super().__init__(problem, mend)
        self.wait = wait


def delay(failure: Transient, attempt: int) -> float:
    """Return the seconds to wait after the failed attempt number `attempt` (from 1).

    Raises:
        SamplerError: There is no further attempt, or the server asks for more than `LONGEST_WAIT` seconds.
    """
    if failure.wait is not None and failure.wait > LONGEST_WAIT:
        raise SamplerError(
            f"{failure.problem}; the server asks to wait {failure.wait:.0f} s", "Try again after that time"
        )
    if attempt >= ATTEMPTS:
        raise SamplerError(f"{failure.problem} (after {attempt} attempts)", failure.mend)
    if failure.wait is not None:
        return failure.wait
    return random.uniform(0, min(LONGEST_DELAY, FIRST_DELAY * 2 ** (attempt - 1)))


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Return a Retry-After header's value, seconds or an HTTP date, in seconds; None if there is none."""
    text = (value or "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())
