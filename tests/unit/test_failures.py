"""Error texts: they quote the server, but never the key or the prompt."""

import json
from dataclasses import replace

import pytest

from sciwright.samplers.failures import Link, Rejected, from_status, wrong_type
from sciwright.samplers.retry import Transient

KEY = "sk-canary-0123456789"
PROMPT = 'You write Python.\n# Task: plot the "secret" spectrum of sample XQ-17\nimport numpy as np\n'
LINK = Link("model.example:443", "", "small", True, 10.0, 60.0, secrets=(KEY,), prompts=(PROMPT, "Hi"))


def quoted(text: str) -> str:
    body = json.dumps({"error": {"message": text}}).encode()
    return str(from_status(LINK, 418, {}, body))


def test_the_servers_reason_is_quoted_on_one_line() -> None:
    assert ": Hi, the model is gone" in quoted("Hi, the model\n\tis\x1b gone")


def test_a_long_reason_is_cut() -> None:
    text = quoted("z" * 1000)
    assert 195 <= text.count("z") <= 200


@pytest.mark.parametrize(
    "echo",
    [
        KEY,
        f"bad key {KEY[:12]}***",
        PROMPT,
        'cannot parse: plot the "secret" spectrum of sample',
        "cannot parse: spectrum   of\nsample XQ-17",
        json.dumps({"nested": PROMPT}),
    ],
)
def test_no_echo_of_key_or_prompt(echo: str) -> None:
    for text in (quoted(echo), str(from_status(LINK, 418, {}, echo.encode()))):
        assert KEY[:10] not in text
        assert "spectrum" not in text
        assert "(418)" in text


def test_an_echo_behind_the_cut_hides_the_quote_too() -> None:
    assert "zzz" not in quoted("z" * 300 + KEY)


def test_refused_keys_are_never_quoted() -> None:
    for status in (401, 403):
        text = str(from_status(LINK, status, {}, b'{"error": {"message": "wrong: sk-***89"}}'))
        assert "refuses the key" in text
        assert "sk-" not in text
        assert "api_key_env" in text
        assert "api_key_command" in text
    assert "wants a key" in str(from_status(replace(LINK, has_key=False), 401, {}, b""))


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        ("Unsupported parameter: 'seed'", {"seed"}),
        ("n must be 1 when using greedy sampling, got n=4.", {"n"}),
        ([{"loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}], {"stream_options"}),
        ("extra fields not permitted: seed, stream_options", {"seed", "stream_options"}),
        ("no\n of tokens", set()),
        ("n_ctx exceeded, reseed", set()),
    ],
)
def test_rejected_fields(message: object, fields: set[str]) -> None:
    error = from_status(LINK, 400, {}, json.dumps({"detail": message}).encode())
    assert isinstance(error, Rejected)
    assert error.fields == fields


def test_escapes_in_a_raw_body_name_no_field() -> None:
    error = from_status(LINK, 422, {}, rb"bad\n{value\n}")
    assert isinstance(error, Rejected)
    assert error.fields == set()


def test_waiting_time_is_taken_from_the_header() -> None:
    error = from_status(LINK, 429, {"retry-after": "7"}, b"")
    assert isinstance(error, Transient)
    assert error.wait == 7.0


def test_what_other_statuses_mean() -> None:
    assert "/v1" in str(from_status(LINK, 404, {}, b""))
    assert "'small'" in str(from_status(LINK, 404, {}, b""))
    assert "elsewhere (302)" in str(from_status(LINK, 302, {"location": f"https://x/?k={KEY}"}, b""))
    assert KEY not in str(from_status(LINK, 302, {"location": f"https://x/?k={KEY}"}, b""))
    assert "proxy p:3128" in str(from_status(replace(LINK, proxy="p:3128"), 407, {}, b""))
    assert "<" not in str(from_status(LINK, 500, {}, b"<html><body>oops"))


def test_web_pages() -> None:
    assert "web page" in str(wrong_type(LINK, "text/html", b"<p>Log in"))
    assert "web page" in str(wrong_type(LINK, "", b" <!doctype html>"))
    assert "without an event stream: hello" in str(wrong_type(LINK, "text/plain", b"hello"))
