"""How long to wait before the next attempt."""

from datetime import UTC, datetime

import pytest

from sciwright.errors import SamplerError
from sciwright.samplers import retry

NOW = datetime(2031, 5, 6, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("12", 12.0),
        (" 1.5 ", 1.5),
        ("0", 0.0),
        ("Tue, 06 May 2031 12:00:30 GMT", 30.0),
        ("Tue, 06 May 2031 14:00:30 +0200", 30.0),
        ("Tue, 06 May 2031 12:00:30 -0000", 30.0),
        ("Tue, 06 May 2031 11:00:00 GMT", 0.0),
        ("", None),
        (None, None),
        ("soon", None),
        ("-3", None),
        ("nan", None),
        ("Tue, 99 May 2031 11:00:00 GMT", None),
    ],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry.retry_after(header, NOW) == seconds


def test_full_jitter_grows_and_is_bounded() -> None:
    failure = retry.Transient("x")
    for attempt in (1, 2, 3):
        most = retry.FIRST_DELAY * 2 ** (attempt - 1)
        delays = [retry.delay(failure, attempt) for _ in range(200)]
        assert 0 <= min(delays) < 0.2 * most
        assert 0.8 * most < max(delays) <= min(most, retry.LONGEST_DELAY)


def test_the_server_decides_where_it_says_so() -> None:
    assert retry.delay(retry.Transient("x", wait=3.0), 1) == 3.0


def test_last_attempt() -> None:
    with pytest.raises(SamplerError, match=r"x \(after 4 attempts\). y"):
        retry.delay(retry.Transient("x", "y"), 4)


def test_a_long_wait_is_not_waited_for() -> None:
    with pytest.raises(SamplerError, match="asks to wait 3600 s"):
        retry.delay(retry.Transient("x", wait=3600.0), 1)
