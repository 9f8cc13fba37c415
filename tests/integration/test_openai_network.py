"""The OpenAI-compatible sampler's way to its server: addresses, proxies, certificates."""

import asyncio
import socket
import ssl
import time
from pathlib import Path

import pytest
import trustme

from sciwright.errors import SamplerError
from sciwright.samplers.openai import OpenAISampler
from sciwright.samplers.protocol import Preparing, Token
from support.hostile_server import (
    ForwardProxy,
    HostileServer,
    drip,
    status,
)
from support.sampling import (
    GOOD,
    KEY,
    REQUEST,
    all_events,
    gone_within,
    good,
    quick_and_alone,
    sampler_of,
    without_waiting,
)


@pytest.fixture(autouse=True)
def _quick_and_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    quick_and_alone(monkeypatch)


# Addresses


async def test_nothing_answers() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]  # bound, but nobody listens
        async with sampler_of(f"http://127.0.0.1:{port}/v1") as sampler:
            with pytest.raises(SamplerError, match=rf"Nothing answers at 127.0.0.1:{port} .after 4 attempts"):
                await all_events(sampler)


async def test_nothing_answers_at_either_of_two_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        port = taken.getsockname()[1]
        addresses = [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))
            for host in ("127.0.0.1", "127.0.0.2")
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: addresses)
        async with sampler_of(f"http://two.invalid:{port}/v1") as sampler:
            with pytest.raises(SamplerError, match=f"Nothing answers at two.invalid:{port} "):
                await all_events(sampler)


async def test_a_server_that_starts_late_is_reached() -> None:
    async with HostileServer(good) as server:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
        async with sampler_of(f"http://127.0.0.1:{port}/v1") as sampler:
            late: asyncio.Server | None = None
            events = []
            async for event in sampler.sample(REQUEST):
                events.append(event)
                if late is None:
                    late = await server.accept_on(port)
            assert late is not None
            late.close()
        assert isinstance(events[0], Preparing)
        assert without_waiting(events) == GOOD


async def test_never_accepted() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        # Fill the queue of connections that nobody accepts: Linux drops what comes after.
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        await asyncio.sleep(0.1)
        sampler = OpenAISampler(
            f"http://127.0.0.1:{full.getsockname()[1]}/v1", model="m", connect_timeout=0.3
        )
        with pytest.raises(SamplerError, match=r"No connection to 127.0.0.1:\d+ within 0.3 s"):
            await all_events(sampler)
        await sampler.aclose()
        for one in waiting:
            one.close()


async def test_unknown_host() -> None:
    async with sampler_of("http://no-such-host.invalid/v1") as sampler:
        with pytest.raises(SamplerError, match=r"name of no-such-host.invalid:80 cannot be resolved"):
            await all_events(sampler)


@pytest.mark.parametrize(
    "url", ["localhost:8000/v1", "http://exa mple/v1", "http://[::1/v1", "http://*\u0000/v1"]
)
async def test_an_address_that_is_none(url: str) -> None:
    async with sampler_of(url) as sampler:
        with pytest.raises(SamplerError, match="`endpoint`"):
            await all_events(sampler)


# Proxies and certificates


async def test_a_proxy_is_used_and_no_proxy_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with HostileServer(good) as server, ForwardProxy(server.port) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:{KEY}@127.0.0.1:{proxy.port}")
        async with sampler_of("http://model.invalid/v1") as sampler:
            assert await all_events(sampler) == GOOD
        assert proxy.targets == ["POST http://model.invalid/v1/chat/completions"]
        assert proxy.authorizations[0] is not None
        assert server.requests[0].headers["host"] == "model.invalid"

        async with sampler_of(server.url) as sampler:
            assert await all_events(sampler) == GOOD
        assert len(proxy.targets) == 1  # loopback never goes through it

        monkeypatch.setenv("NO_PROXY", "other.example,model.invalid")
        async with sampler_of("http://model.invalid/v1") as sampler:
            with pytest.raises(SamplerError, match=r"name of model.invalid:80 cannot be resolved"):
                await all_events(sampler)
        assert len(proxy.targets) == 1


async def test_a_proxy_that_is_down_or_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("ALL_PROXY", f"http://me:{KEY}@{address}")
        async with sampler_of("http://model.invalid/v1") as sampler:
            with pytest.raises(SamplerError, match=rf"Nothing answers at the proxy {address}") as caught:
                await all_events(sampler)
            assert KEY not in str(caught.value)
    async with HostileServer(status(407, reason=f"no {KEY}")) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy.port}")
        for scheme, problem in (("http", "wants a user name"), ("https", "does not let the request")):
            async with sampler_of(f"{scheme}://model.invalid/v1") as sampler:
                with pytest.raises(SamplerError, match=problem) as caught:
                    await all_events(sampler)
                assert f"127.0.0.1:{proxy.port}" in str(caught.value)
                assert KEY not in str(caught.value)


@pytest.mark.parametrize("proxy", ["gopher://x:1", "http://x:port", "http://"])
async def test_a_proxy_address_that_is_none(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    async with sampler_of("http://model.invalid/v1") as sampler:
        with pytest.raises(SamplerError, match="proxy"):
            await all_events(sampler)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def certificate(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "model.invalid").configure_cert(context)
    return context


@pytest.fixture
def issuer_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "issuer.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


async def test_system_certificates(
    certificate: ssl.SSLContext, issuer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with HostileServer(good, certificate=certificate) as server:
        async with sampler_of(server.url) as sampler:
            with pytest.raises(SamplerError, match=r"certificate of 127.0.0.1:.* is not trusted") as caught:
                await all_events(sampler)
            assert "SSL_CERT_FILE" in str(caught.value)
        assert server.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(issuer_file))
        async with sampler_of(server.url) as sampler:
            assert await all_events(sampler) == GOOD


async def test_a_certificate_for_another_host(
    certificate: ssl.SSLContext, issuer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(issuer_file))
    async with (
        HostileServer(good, certificate=certificate) as server,
        sampler_of(f"https://localhost:{server.port}/v1") as sampler,
    ):
        with pytest.raises(SamplerError, match=r"is not trusted .Hostname mismatch"):
            await all_events(sampler)


async def test_tls_through_a_proxy(
    certificate: ssl.SSLContext, issuer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(issuer_file))
    async with HostileServer(good, certificate=certificate) as server, ForwardProxy(server.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        async with sampler_of("https://model.invalid/v1") as sampler:
            assert await all_events(sampler) == GOOD
        assert proxy.targets == ["CONNECT model.invalid:443"]


async def test_a_proxy_that_speaks_tls_itself(
    certificate: ssl.SSLContext, issuer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(issuer_file))
    async with HostileServer(good) as server, ForwardProxy(server.port, certificate) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"https://127.0.0.1:{proxy.port}")
        async with sampler_of("http://model.invalid/v1") as sampler:
            assert await all_events(sampler) == GOOD
        assert proxy.targets == ["POST http://model.invalid/v1/chat/completions"]


async def test_closing_disconnects_over_tls_too(
    certificate: ssl.SSLContext, issuer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(issuer_file))
    async with HostileServer(drip, certificate=certificate) as server, sampler_of(server.url) as sampler:
        events = sampler.sample(REQUEST)
        assert await anext(events) == Token(0, "a")
        begin = time.perf_counter()
        await events.aclose()
        await gone_within(server.requests[0], begin)


async def test_a_connection_that_is_closed_in_the_handshake_is_tried_again(
    certificate: ssl.SSLContext, issuer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(issuer_file))
    greeted = 0

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal greeted
        greeted += 1
        await reader.read(1)
        writer.close()

    closing = await asyncio.start_server(close, "127.0.0.1", 0)
    port = closing.sockets[0].getsockname()[1]
    async with sampler_of(f"https://127.0.0.1:{port}/v1") as sampler:
        with pytest.raises(SamplerError, match=r"dropped the connection .after 4 attempts"):
            await all_events(sampler)
    assert greeted == 4
    closing.close()


async def test_tls_to_a_server_without_it() -> None:
    async with HostileServer(good) as server, sampler_of(server.url.replace("http:", "https:")) as sampler:
        with pytest.raises(SamplerError, match="begins with http://"):
            await all_events(sampler)
