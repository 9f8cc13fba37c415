"""The way to an endpoint: its address, the system's certificates, the environment's proxies."""

import asyncio
import ipaddress
import os
import ssl
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from sciwright import __version__
from sciwright.errors import SamplerError

if TYPE_CHECKING:
    import httpx

LONGEST_ERROR_BODY = 2**16
ERROR_BODY_SECONDS = 2.0
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A base URL in parts: user name, password and query are sent but never shown."""

    scheme: str
    host: str
    port: int
    path: str
    query: str = ""
    login: tuple[str, str] | None = None

    @classmethod
    def parse(cls, base_url: str) -> "Endpoint":
        """Return the endpoint that `base_url` names.

        Raises:
            SamplerError: It is no http or https address.
        """
        try:
            parts = urlsplit(base_url.strip())
            port = parts.port or DEFAULT_PORTS[parts.scheme]
            host = parts.hostname or ""
            if not host or any(c.isspace() for c in host):
                raise ValueError
        except (ValueError, KeyError):
            raise SamplerError(
                "The setting `endpoint` is no http:// or https:// address",
                "Write it like http://127.0.0.1:8000/v1",
            ) from None
        login = None
        if parts.username is not None:
            login = (unquote(parts.username), unquote(parts.password or ""))
        return cls(parts.scheme, host, port, parts.path.rstrip("/"), parts.query, login)

    @property
    def address(self) -> str:
        """HOST:PORT, fit to be shown."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether the endpoint is this machine."""
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        try:
            address = ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return address.is_loopback or address.is_unspecified

    def url(self, path: str) -> str:
        """Return the full address of `path` below the base, without user name and password."""
        return f"{self.scheme}://{self.address}{self.path}{path}" + (f"?{self.query}" if self.query else "")


def proxy_for(endpoint: Endpoint) -> str | None:
    """Return the URL of the proxy that the environment (or the system) names for `endpoint`, if any.

    The standard library reads the variables and the systems' own settings. NO_PROXY may also list networks
    (10.0.0.0/8) and hold a * among other entries. This machine is never reached through a proxy.
    """
    import urllib.request

    proxies = urllib.request.getproxies()
    proxy = proxies.get(endpoint.scheme) or proxies.get("all")
    if not proxy or endpoint.is_loopback or urllib.request.proxy_bypass(endpoint.address):
        return None
    if any(_covers(entry.strip(), endpoint.host) for entry in proxies.get("no", "").split(",")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def shown_proxy(proxy: str | None) -> str:
    """Return HOST:PORT of a proxy's URL, or "" for none."""
    return urlsplit(proxy).netloc.rpartition("@")[2] if proxy else ""


def new_client(
    endpoint: Endpoint, proxy: str | None, connect_timeout: float, read_timeout: float
) -> "httpx.AsyncClient":
    """Return a client that trusts the system's certificates and goes through `proxy`.

    Raises:
        SamplerError: The proxy's address or the certificates' file cannot be used.
    """
    import httpx

    certificates = _system_certificates(endpoint)
    secure_proxy = proxy is not None and proxy.startswith("https:")
    try:
        if proxy and not urlsplit(proxy).hostname:
            raise ValueError
        return httpx.AsyncClient(
            verify=certificates,
            proxy=proxy and httpx.Proxy(proxy, ssl_context=certificates if secure_proxy else None),
            trust_env=False,
            timeout=httpx.Timeout(read_timeout, connect=connect_timeout, pool=None),
            # Compression would hold tokens back until a block is full.
            headers={"User-Agent": f"sciwright/{__version__}", "Accept-Encoding": "identity"},
        )
    except (ValueError, ImportError, httpx.InvalidURL):
        raise SamplerError(
            "The proxy that the environment names (HTTP_PROXY, HTTPS_PROXY or ALL_PROXY) cannot be used",
            "Write it like http://HOST:PORT, or list the endpoint's host in NO_PROXY",
        ) from None


async def read_body(response: "httpx.Response", body: bytearray, limit: int) -> None:
    """Add the body to `body`, as it comes, until that holds `limit` bytes."""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) >= limit:
            break


async def read_error_body(response: "httpx.Response") -> bytes:
    """Return what can be had of an error's text in a moment; the status says the most."""
    import httpx

    body = bytearray()
    with suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(ERROR_BODY_SECONDS):
            await read_body(response, body, LONGEST_ERROR_BODY)
    return bytes(body)


def _system_certificates(endpoint: Endpoint) -> ssl.SSLContext:
    import truststore

    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # OpenSSL reads these variables by itself; the macOS and Windows stores know nothing of them.
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if endpoint.scheme == "https" and sys.platform in ("darwin", "win32") and (file or folder):
        try:
            context.load_verify_locations(cafile=file or None, capath=folder or None)
        except OSError:
            raise SamplerError(
                "The certificates that SSL_CERT_FILE or SSL_CERT_DIR names cannot be read",
                "Name a file of PEM certificates, or unset the variable",
            ) from None
    return context


def _covers(entry: str, host: str) -> bool:
    """Whether an entry of NO_PROXY is * or a network that holds the address `host`."""
    if entry == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
