"""What went wrong between here and the endpoint, said so that a person can act on it.

Nothing here quotes the key, the prompt, or a URL with a password in it.
"""

import json
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sciwright.errors import SamplerError
from sciwright.samplers.retry import Transient, retry_after

if TYPE_CHECKING:
    import httpx

LONGEST_QUOTE = 200
TRANSIENT_STATUS = {
    429: "limits the rate of requests",
    500: "failed",
    502: "failed",
    503: "is busy",
    504: "is busy",
}
OPTIONAL_FIELDS = frozenset({"n", "seed", "stream_options"})
KEY_MEND = (
    "Set the environment variable that the setting `api_key_env` names, or the setting `api_key_command`"
)
URL_MEND = "Check the setting `endpoint`: a base URL usually ends with /v1"


class Rejected(SamplerError):
    """The server does not accept the request as it is (400, 422).

    Args:
        problem: As in SciwrightError.
        mend: As in SciwrightError.
        fields: Those of `OPTIONAL_FIELDS` that the answer names.
    """

    def __init__(self, problem: str, mend: str, fields: frozenset[str]) -> None:
        super().__init__(problem, mend)
        self.fields = fields


@dataclass(frozen=True, slots=True)
class Link:
    """What the texts need to know of one call.

    Args:
        address: The endpoint, HOST:PORT.
        proxy: The proxy in between, HOST:PORT, or "".
        model: The model that is asked for, or "".
        has_key: Whether a key is sent.
        connect_timeout: Seconds.
        read_timeout: Seconds.
        secrets: Keys and passwords, never to be shown.
        prompts: Texts of the prompt, never to be shown.
    """

    address: str
    proxy: str
    model: str
    has_key: bool
    connect_timeout: float
    read_timeout: float
    secrets: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()

    def quote(self, text: str) -> str:
        """Return `text` as a short line after a colon; "" if it is a web page or gives something away."""
        line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        if not line or line.startswith("<"):
            return ""
        if any(_shares(text, secret, 8) for secret in self.secrets):
            return ""
        prompts = [squeezed for prompt in self.prompts if len(squeezed := _squeezed(prompt)) >= 12]
        if any(_shares(_squeezed(text), prompt, 12) for prompt in prompts):
            return ""
        return ": " + (line if len(line) <= LONGEST_QUOTE else line[: LONGEST_QUOTE - 1] + "…")


def from_status(link: Link, status: int, headers: Mapping[str, str], body: bytes) -> SamplerError:
    """Return the error that an HTTP answer other than 200 means."""
    message = _message(body)
    said = f"({status}){link.quote(message)}"
    if status in (401, 403):
        # Never quoted: services repeat parts of the key here.
        if link.has_key:
            return SamplerError(f"{link.address} refuses the key ({status})", f"Check the key. {KEY_MEND}")
        return SamplerError(f"{link.address} wants a key ({status})", KEY_MEND)
    if status == 404:
        model = f", or no model {link.model!r}" if link.model else ""
        return SamplerError(
            f"{link.address} has no such address{model} {said}", f"{URL_MEND}; check the setting `model`"
        )
    if status == 407:
        return SamplerError(
            f"The proxy {link.proxy} wants a user name and a password (407)",
            "Write them into HTTP_PROXY and HTTPS_PROXY: http://USER:PASSWORD@HOST:PORT",
        )
    if status in (400, 422):
        return Rejected(
            f"{link.address} does not accept the request {said}",
            "Check the settings `model`, `max_tokens` and `context_tokens`",
            frozenset(name for name in OPTIONAL_FIELDS if _names(message, name)),
        )
    if status in TRANSIENT_STATUS:
        return Transient(
            f"{link.address} {TRANSIENT_STATUS[status]} {said}",
            "Try again later",
            wait=retry_after(headers.get("retry-after")),
        )
    if 300 <= status < 400:
        return SamplerError(f"{link.address} sends the request elsewhere ({status})", URL_MEND)
    return SamplerError(f"{link.address} answers with an error {said}", URL_MEND)


def from_exception(link: Link, error: "httpx.HTTPError") -> SamplerError:
    """Return what a failure of the connection means; the exception's own text is not used."""
    import httpx

    peer = f"the proxy {link.proxy}" if link.proxy else link.address
    causes = list(_causes(error))
    if isinstance(error, httpx.ConnectTimeout):
        return SamplerError(
            f"No connection to {peer} within {link.connect_timeout:g} s",
            "Check the network and the setting `endpoint`, or raise `connect_timeout`",
        )
    if isinstance(error, httpx.TimeoutException):
        return Transient(
            f"{link.address} was silent for {link.read_timeout:g} s",
            "Raise the setting `read_timeout` if the model needs longer",
        )
    if isinstance(error, httpx.ProxyError):
        return SamplerError(
            f"The proxy {link.proxy} does not let the request to {link.address} through",
            "Check HTTP_PROXY and HTTPS_PROXY, or list the endpoint's host in NO_PROXY",
        )
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            return SamplerError(
                f"The name of {peer} cannot be resolved", "Check the network and the setting `endpoint`"
            )
        if isinstance(cause, ssl.SSLCertVerificationError):
            return SamplerError(
                f"The certificate of {link.address} is not trusted ({cause.verify_message})",
                "Add its issuer's certificate to the system's store, or set SSL_CERT_FILE to a file with it",
            )
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
            return SamplerError(
                f"No TLS connection to {link.address} ({cause.reason or 'handshake failed'})",
                "A server without TLS has an address that begins with http://",
            )
    if isinstance(error, httpx.ConnectError):
        if any(isinstance(cause, ConnectionError) for cause in causes):
            return Transient(
                f"Nothing answers at {peer}", "Start the model's server, or correct the setting `endpoint`"
            )
        reasons = [e.strerror for e in causes if isinstance(e, OSError) and not isinstance(e, ssl.SSLError)]
        if any(reasons):
            return SamplerError(
                f"No connection to {peer} ({next(filter(None, reasons))})",
                "Check the network and the setting `endpoint`",
            )
    return Transient(f"{link.address} dropped the connection", "Try again; the server's own log may say why")


def wrong_type(link: Link, content_type: str, body: bytes) -> SamplerError:
    """Return the error for an answer that is no event stream."""
    if "html" in content_type or body.lstrip()[:1] == b"<":
        return SamplerError(
            f"{link.address} answers with a web page instead of an event stream",
            f"A proxy or a login page may stand in between. {URL_MEND}",
        )
    return SamplerError(
        f"{link.address} answers without an event stream{link.quote(_message(body))}",
        "The server must be OpenAI-compatible and able to stream. " + URL_MEND,
    )


def error_text(value: object) -> str:
    """Return the message in an OpenAI-style error object, whatever its exact form."""
    if isinstance(value, dict):
        for name in ("error", "message", "detail"):
            if value.get(name):
                return error_text(value[name])
    return value if isinstance(value, str) else json.dumps(value)


def _message(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    try:
        return error_text(json.loads(text))
    except (ValueError, RecursionError):
        return text


def _names(message: str, field: str) -> bool:
    return re.search(rf"(?<![\\\w]){field}(?!\w)", message) is not None


def _squeezed(text: str) -> str:
    """Drop what escaping and wrapping change: white space, backslash escapes, quotation marks."""
    return re.sub(r"\\[nrt]|[\s\\\"']", "", text)


def _shares(text: str, secret: str, width: int) -> bool:
    """Whether any `width` consecutive characters of `secret` (or all of a shorter one) occur in `text`."""
    if len(secret) <= width:
        return bool(secret) and secret in text
    return any(text[i : i + width] in secret for i in range(len(text) - width + 1))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception and all that led to it."""
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        if isinstance(current, BaseExceptionGroup):
            pending.extend(current.exceptions)
        pending += [current.__cause__, current.__context__]
