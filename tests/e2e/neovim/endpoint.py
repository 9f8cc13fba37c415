"""An OpenAI-compatible server on loopback that answers when the test says so."""

import json
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

_SECONDS_BETWEEN_PIECES = 0.03
MODEL = "scripted"
CODE = "mean = x.mean()\nif mean > 4:\n    print(mean)"


class ScriptedEndpoint:
    """Streams `code` in small pieces; the last one is held back until `release` is set.

    Args:
        code: The code that the model "writes".
    """

    def __init__(self, code: str) -> None:
        self.code = code
        self.release = Event()
        self.asked = Event()
        self.left = Event()  # the client closed the connection before the answer was complete
        self.url = ""


@contextmanager
def serve(endpoint: ScriptedEndpoint) -> Iterator[ScriptedEndpoint]:
    """Run `endpoint` on a free port while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            body = json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            try:
                self._answer()
            except OSError:
                endpoint.left.set()
            self.close_connection = True

        def _answer(self) -> None:
            *first, last = (endpoint.code[i : i + 4] for i in range(0, len(endpoint.code), 4))
            for piece in first:
                self._send({"delta": {"content": piece}, "finish_reason": None})
                endpoint.release.wait(_SECONDS_BETWEEN_PIECES)
            endpoint.asked.set()
            while not endpoint.release.wait(0.02):
                if _closed(self.connection):
                    raise ConnectionResetError
            self._send({"delta": {"content": last}, "finish_reason": "stop"})
            self.wfile.write(b"data: [DONE]\n\n")

        def _send(self, choice: dict[str, object]) -> None:
            chunk = {"object": "chat.completion.chunk", "model": MODEL, "choices": [{"index": 0, **choice}]}
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    endpoint.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.release.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _closed(connection: socket.socket) -> bool:
    """Whether the other side has closed; it has nothing to send otherwise."""
    readable, _, _ = select.select([connection], [], [], 0)
    return bool(readable) and connection.recv(1, socket.MSG_PEEK) == b""
