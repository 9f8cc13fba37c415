"""The server starts with nothing heavy, speaks TCP too, and generates with the real engine."""

import asyncio
import json
import socket
import subprocess
import sys

import pytest

from support.editor import SERVE, editing

HEAVY = {
    "numpy",
    "scipy",
    "pandas",
    "matplotlib",
    "torch",
    "transformers",
    "tinker",
    "xllamacpp",
    "httpx",
    "tree_sitter",
    "rich",
    "typer",
}


def test_nothing_heavy_is_imported_by_the_start():
    code = (
        "import sys; import sciwright.__main__; from sciwright.lsp.main import main; "
        "from sciwright.lsp.server import create_server; create_server(); print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not HEAVY & set(loaded.split())


@pytest.mark.slow
async def test_tcp():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(*SERVE, "--tcp", f"127.0.0.1:{port}")
    try:
        async with asyncio.timeout(30):
            while True:
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    break
                except ConnectionError:
                    await asyncio.sleep(0.1)
            parameters = {"processId": None, "rootUri": None, "capabilities": {}}
            request = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": parameters}
            body = json.dumps(request).encode()
            writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
            header = await reader.readuntil(b"\r\n\r\n")
            length = int(header.split(b":")[1].split()[0])
            answer = json.loads(await reader.readexactly(length))
            assert answer["result"]["serverInfo"]["name"] == "sciwright"
            writer.close()
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.slow
async def test_the_real_engine_from_code_action_to_edit(weights):
    text = "import numpy as np\n\nx = np.array([1.0, 2.0])\n# Task: print the mean of x\n"
    async with editing() as editor:
        uri = editor.open(text)
        await editor.generate(uri, 3)
        await editor.until_ended()
        assert editor.messages == []
        assert editor.texts[uri].startswith(text)
        assert "np.mean(x)" in editor.texts[uri] or "x.mean()" in editor.texts[uri]
        reports = [report.message for report in editor.progress]
        assert "loading the model" in reports
        assert any(report and report.endswith("tokens") for report in reports)
