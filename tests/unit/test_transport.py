"""The way to an endpoint: addresses and proxies."""

import pytest

from sciwright.errors import SamplerError
from sciwright.samplers.transport import Endpoint, proxy_for, shown_proxy


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_parts_of_an_address() -> None:
    endpoint = Endpoint.parse(" https://me:p%40ss@Model.Example/base/v1/?api-version=3 ")
    assert endpoint.address == "model.example:443"
    assert endpoint.login == ("me", "p@ss")
    assert endpoint.url("/models") == "https://model.example:443/base/v1/models?api-version=3"
    assert Endpoint.parse("http://[::1]:8080/v1").url("/x") == "http://[::1]:8080/v1/x"


@pytest.mark.parametrize(
    "url", ["", "localhost:8000/v1", "/v1", "ftp://x/v1", "http://", "http://x:y/", "http://a b/"]
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(SamplerError, match="`endpoint` is no http"):
        Endpoint.parse(url)


def test_a_wrong_address_is_not_shown() -> None:
    with pytest.raises(SamplerError) as caught:
        Endpoint.parse("http://me:canary@host:port/")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "no_proxy", "proxy"),
    [
        ("http://model.example/v1", "", "http://p:1"),
        ("https://model.example/v1", "", "http://q:2"),
        ("http://127.0.0.1:80/v1", "", None),
        ("http://127.8.9.1:80/v1", "", None),
        ("http://[::1]:80/v1", "", None),
        ("http://localhost:80/v1", "", None),
        ("http://my.localhost:80/v1", "", None),
        ("http://0.0.0.0:80/v1", "", None),
        ("http://model.example/v1", "other,model.example", None),
        ("http://model.example/v1", ".example", None),
        ("http://model.example/v1", "del.example", "http://p:1"),
        ("http://model.example:81/v1", "model.example:80", "http://p:1"),
        ("http://model.example:80/v1", "model.example:80", None),
        ("http://model.example/v1", "x, *", None),
        ("http://10.1.2.3/v1", "10.0.0.0/8", None),
        ("http://11.1.2.3/v1", "10.0.0.0/8", "http://p:1"),
        ("http://model.example/v1", "[::1],::1/128,10.0.0.0/8,,", "http://p:1"),
    ],
)
def test_proxies(monkeypatch: pytest.MonkeyPatch, url: str, no_proxy: str, proxy: str | None) -> None:
    monkeypatch.setenv("HTTP_PROXY", "p:1")
    monkeypatch.setenv("https_proxy", "http://q:2")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert proxy_for(Endpoint.parse(url)) == proxy


def test_one_proxy_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://me:canary@p:1")
    proxy = proxy_for(Endpoint.parse("https://model.example/v1"))
    assert proxy == "http://me:canary@p:1"
    assert shown_proxy(proxy) == "p:1"
    assert shown_proxy(None) == ""
