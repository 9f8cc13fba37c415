"""Start-up, memory and latency of the language server, beside a bare pygls server in the same run.

    .venv/bin/python tests/bench/lsp.py [--runs 7] [--json FILE]

Absolute times depend on the machine; the ratio to the bare server and the bounds are what counts.
"""

import argparse
import itertools
import json
import os
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

BARE = "from pygls.lsp.server import LanguageServer; LanguageServer('bare', '1').start_io()"
SCIWRIGHT = [sys.executable, "-m", "sciwright", "serve"]
LINES = 10_000


class Client:
    """A language client of a few lines: it answers the server's requests and times its own."""

    def __init__(self, command, env=None):
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env
        )
        self.ids = itertools.count(1)
        self.answers = {}
        self.edits = queue.Queue()
        self.ends = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while header := self.process.stdout.readline():
            length = int(header.split(b":")[1])
            while self.process.stdout.readline().strip():
                pass
            message = json.loads(self.process.stdout.read(length))
            if "method" not in message:
                self.answers[message["id"]].put(message)
            elif "id" in message:
                result = {"applied": True} if message["method"] == "workspace/applyEdit" else None
                if message["method"] == "workspace/configuration":
                    result = [{}]
                if result == {"applied": True}:
                    self.edits.put(message["params"])
                self._send({"id": message["id"], "result": result})
            elif message["method"] == "$/progress" and message["params"]["value"]["kind"] == "end":
                self.ends.put(message["params"]["value"].get("message"))

    def _send(self, message):
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.process.stdin.flush()

    def request(self, method, params):
        """Return the answer and the seconds it took."""
        number = next(self.ids)
        self.answers[number] = queue.Queue()
        began = time.perf_counter()
        self._send({"id": number, "method": method, "params": params})
        answer = self.answers[number].get(timeout=60)
        seconds = time.perf_counter() - began
        del self.answers[number]
        return answer, seconds

    def notify(self, method, params):
        self._send({"method": method, "params": params})

    def initialize(self):
        capabilities = {
            "general": {"positionEncodings": ["utf-16"]},
            "window": {"workDoneProgress": True},
            "workspace": {"workspaceEdit": {"documentChanges": True}},
        }
        self.request("initialize", {"processId": os.getpid(), "rootUri": None, "capabilities": capabilities})
        seconds = time.perf_counter() - self.started
        self.notify("initialized", {})
        return seconds

    def close(self):
        self.request("shutdown", None)
        self.notify("exit", None)
        self.process.wait(10)


def start_up(command):
    client = Client(command)
    seconds = client.initialize()
    memory = psutil.Process(client.process.pid).memory_info().rss / 2**20
    client.close()
    return seconds, memory


def document():
    """Return a file of 10,000 lines, strings and comments among them, with tasks spread over it."""
    block = [
        "def step_{n}(values, factor=2.5):",
        '    """Scale the values.',
        "",
        '    # Task: not a task, but part of a docstring."""',
        "    scaled = [factor * value for value in values]  # 'quoted'",
        '    label = f"{len(scaled)} values of {factor!r}"',
        "    return scaled, label",
        "",
        "# Task: plot the values of step_{n} against their index",
        "",
    ]
    lines = [line.format(n=n) if "{n}" in line else line for n in range(LINES // 10) for line in block]
    return "\n".join(lines) + "\n"


VERSIONS = itertools.count(2)


def code_action_times(client, uri, rounds):
    """Return the seconds of code actions on task lines, with a keystroke before each."""
    times = []
    for n in range(rounds):
        line = 8 + 10 * (n * 37 % (LINES // 10))
        place = {"line": line - 4, "character": 0}
        change = {"range": {"start": place, "end": place}, "text": " "}
        client.notify(
            "textDocument/didChange",
            {"textDocument": {"uri": uri, "version": next(VERSIONS)}, "contentChanges": [change]},
        )
        position = {"line": line, "character": 3}
        answer, seconds = client.request(
            "textDocument/codeAction",
            {
                "textDocument": {"uri": uri},
                "range": {"start": position, "end": position},
                "context": {"diagnostics": []},
            },
        )
        assert len(answer["result"]) == 1, answer
        times.append(seconds)
    return times


def p(times, percent):
    return statistics.quantiles(times, n=100)[percent - 1]


def measure(runs):
    bare, ours = [], []
    for _ in range(runs):
        bare.append(start_up([sys.executable, "-c", BARE]))
        ours.append(start_up(SCIWRIGHT))
    results = {
        "initialize, bare pygls (ms)": 1e3 * statistics.median(s for s, _ in bare),
        "initialize, sciwright (ms)": 1e3 * statistics.median(s for s, _ in ours),
        "initialize, ratio (asked: < 1.5)": statistics.median(
            a / b for (a, _), (b, _) in zip(ours, bare, strict=True)
        ),
        "resident, bare pygls (MB)": statistics.median(m for _, m in bare),
        "resident, sciwright (MB, asked: < 65)": statistics.median(m for _, m in ours),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "long.py")
        path.write_text(document())
        uri = path.as_uri()
        client = Client(SCIWRIGHT)
        client.initialize()
        item = {"uri": uri, "languageId": "python", "version": 1, "text": path.read_text()}
        client.notify("textDocument/didOpen", {"textDocument": item})
        idle = code_action_times(client, uri, 200)
        busy = []
        while len(busy) < 200:
            command = {"command": "sciwright.generate", "arguments": [uri, {"line": 8, "character": 0}]}
            client.request("workspace/executeCommand", command)
            while client.ends.empty():
                busy += code_action_times(client, uri, 5)
            client.ends.get()
        client.close()
    results |= {
        "code action, 10,000 lines, p50 (ms)": 1e3 * p(idle, 50),
        "code action, 10,000 lines, p95 (ms, asked: < 10)": 1e3 * p(idle, 95),
        "code action during a generation, p50 (ms)": 1e3 * p(busy, 50),
        "code action during a generation, p95 (ms, asked: < 25)": 1e3 * p(busy, 95),
    }
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = {name: round(value, 2) for name, value in measure(options.runs).items()}
    table = Table("what", "measured")
    for name, value in results.items():
        table.add_row(name, f"{value:.2f}")
    Console().print(table)
    print(json.dumps(results))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
