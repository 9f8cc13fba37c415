"""The command line as users run it: `python -m sciwright ...` in a process of its own."""

import asyncio
import json
import os
import stat
import sys
import threading
from pathlib import Path

import pytest

from support.hostile_server import HostileServer, answer, drop, silence, status

pytestmark = pytest.mark.slow

DEMO = "import numpy as np\n\nx = np.arange(5)\n# Task: sum x\n"
GOOD = answer("Here you are:\n```python\ny = x.sum()\nprint(y)\n```\nDone!", usage=(20, 9))


class Result:
    def __init__(self, code: int, out: bytes, err: bytes) -> None:
        self.code, self.out, self.err = code, out.decode(), err.decode()
        assert "Traceback" not in self.err, self.err

    @property
    def json(self):
        """Standard output as the one JSON object that it must be."""
        return json.loads(self.out)


async def sciwright(*arguments, server=None, stdin="", home: Path, **environment) -> Result:
    env = {k: v for k, v in os.environ.items() if not k.startswith("SCIWRIGHT_") and k != "XDG_CONFIG_HOME"}
    env |= {"HOME": str(home), "COLUMNS": "200"}
    if server:
        env |= {"SCIWRIGHT_ENDPOINT": server.url, "SCIWRIGHT_MODEL": "scripted"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sciwright", *map(str, arguments),
        env=env | environment, stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(stdin.encode()), 60)
    return Result(process.returncode, out, err)


@pytest.fixture
def demo(tmp_path):
    path = tmp_path / "demo.py"
    path.write_text(DEMO)
    return path


async def test_code_on_stdout_and_all_else_on_stderr(demo, tmp_path):
    async with HostileServer(GOOD) as server:
        result = await sciwright("generate", demo, server=server, home=tmp_path)
    assert (result.code, result.out) == (0, "y = x.sum()\nprint(y)\n")
    assert "parsed · 9 tokens" in result.err
    assert demo.read_text() == DEMO


async def test_json_is_one_object(demo, tmp_path):
    async with HostileServer(GOOD) as server:
        result = await sciwright("generate", demo, "--json", server=server, home=tmp_path)
    answered = result.json
    seconds = answered.pop("seconds")
    assert seconds > 0
    assert answered == {
        "file": str(demo),
        "line": 4,
        "task": "sum x",
        "code": "y = x.sum()\nprint(y)",
        "verdict": "parsed",
        "candidates": 1,
        "tokens": 9,
        "model": "scripted",
        "written": False,
    }


async def test_write_keeps_line_ends_encoding_missing_end_and_mode(tmp_path):
    path = tmp_path / "latin.py"
    head = "# -*- coding: latin-1 -*-\r\nname = 'µé'\r\n\r\nif name:\r\n    # Task: greet"
    path.write_bytes(head.encode("latin-1"))
    path.chmod(0o640)
    async with HostileServer(answer("print(name)\nprint('µ')")) as server:
        result = await sciwright("generate", path, "--write", server=server, home=tmp_path)
    assert result.code == 0
    assert path.read_bytes() == (head + "\r\n    print(name)\r\n    print('µ')").encode("latin-1")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(p.name for p in tmp_path.glob("*latin*")) == ["latin.py"]


async def test_candidates_beyond_the_first_are_drawn_only_when_it_is_rejected(demo, tmp_path):
    async with HostileServer(answer("def (:"), answer("y = 2")) as server:
        result = await sciwright("generate", demo, "--candidates", 2, "--json", server=server, home=tmp_path)
        assert result.json["code"] == "y = 2"
        assert result.json["candidates"] == 2
        first, second = (request.json for request in server.requests)
        assert first["temperature"] == 0
        assert second["temperature"] > 0
    async with HostileServer(answer("y = 1"), answer("y = 2")) as server:
        result = await sciwright("generate", demo, "--candidates", 2, "--json", server=server, home=tmp_path)
        assert (result.json["code"], len(server.requests)) == ("y = 1", 1)


async def test_line_chooses_the_task(tmp_path):
    path = tmp_path / "two.py"
    path.write_text("# Task: one\n\n# Task: two\n# and more\n")
    async with HostileServer(answer("y = 2")) as server:
        result = await sciwright("generate", path, "--line", 4, "--json", server=server, home=tmp_path)
    assert (result.json["line"], result.json["task"]) == (3, "two and more")


async def test_file_that_changes_meanwhile(demo, tmp_path):
    async def slow(exchange):
        demo.write_text("# new\n" + DEMO)
        await answer("y = 1")(exchange)

    async def spiteful(exchange):
        demo.write_text("nothing is left\n")
        await answer("y = 1")(exchange)

    async with HostileServer(slow) as server:
        result = await sciwright("generate", demo, "--write", server=server, home=tmp_path)
    assert demo.read_text() == "# new\n" + DEMO + "y = 1\n"
    async with HostileServer(spiteful) as server:
        result = await sciwright("generate", demo, "--write", server=server, home=tmp_path)
    assert result.code == 1
    assert "changed while" in result.err
    assert demo.read_text() == "nothing is left\n"


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        (b"x = 1\n", [], "no task comment"),
        (b"# Task:\n", [], "no text"),
        (b"# Task: a\n# Task: b\n", [], "2 tasks"),
        (b"# Task: a\n", ["--line", "7"], "line 7"),
        (b"# Task: a\n", ["--line", "-1"], "line -1"),
        (b"\x7fELF\0\0\0", [], "binary"),
        (b"# Task: \xff\xfe\n", [], "not text"),
        (b"# Task: a\n", ["--candidates", "0"], "candidates"),
        (None, [], "no file"),
    ],
)
async def test_wrong_use_is_exit_code_2(content, options, words, tmp_path):
    path = tmp_path / "case.py"
    if content is not None:
        path.write_bytes(content)
    result = await sciwright("generate", path, "--write", *options, home=tmp_path)
    assert result.code == 2
    assert words in result.err
    assert content is None or path.read_bytes() == content


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (status(401), "api_key_env"),
        (status(404), "/v1"),
        (answer("I am sorry, but I cannot do that."), "not usable"),
        (answer(""), "no code"),
    ],
)
async def test_failed_work_is_exit_code_1(behaviour, words, demo, tmp_path):
    async with HostileServer(behaviour) as server:
        result = await sciwright("generate", demo, "--write", server=server, home=tmp_path)
        assert result.code == 1
        assert words in result.err
        as_json = await sciwright("generate", demo, "--json", server=server, home=tmp_path)
        assert as_json.code == 1
        assert words in as_json.json["error"]
    assert demo.read_text() == DEMO


async def test_dead_endpoint_and_silent_endpoint(demo, tmp_path):
    dead = {"SCIWRIGHT_ENDPOINT": "http://127.0.0.1:9/v1", "SCIWRIGHT_MODEL": "m"}
    result = await sciwright("generate", demo, home=tmp_path, **dead)
    assert (result.code, result.out) == (1, "")
    assert "127.0.0.1:9" in result.err
    async with HostileServer(silence) as server:
        result = await sciwright("generate", demo, server=server, home=tmp_path, SCIWRIGHT_READ_TIMEOUT="0.2")
    assert result.code == 1


async def test_no_weights_and_no_network(demo, tmp_path):
    no_network = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_RETRIES": "0",
        "SCIWRIGHT_CACHE": str(tmp_path / "cache"),
    }
    result = await sciwright("generate", demo, home=tmp_path, **no_network)
    assert result.code == 1
    assert "sciwright models pull smollm2-135m" in result.err
    assert not list((tmp_path / "cache").iterdir())
    doctor = await sciwright("doctor", "--json", home=tmp_path, **no_network)
    assert doctor.code == 1
    (failure,) = [finding for finding in doctor.json["findings"] if finding["status"] == "fail"]
    assert failure["mend"] == "sciwright models pull smollm2-135m"


async def test_line_of_five_megabytes(tmp_path):
    path = tmp_path / "long.py"
    path.write_text("x = '" + "a" * 5_000_000 + "'\n# Task: length of x\n")
    async with HostileServer(answer("n = len(x)")) as server:
        result = await sciwright("generate", path, "--json", server=server, home=tmp_path)
        assert result.json["code"] == "n = len(x)"
        assert len(server.requests[0].body) < 10_000


async def test_batch_answers_in_order_and_goes_on_after_a_bad_case(tmp_path):
    lines = [
        json.dumps({"prompt": "x = 1\n# Task: a"}),
        "this is not JSON",
        "",
        json.dumps({"prompt": "no task"}),
        json.dumps({"text": "# Task: a"}),
        json.dumps({"prompt": "# Task: first\n# Task: last"}),
        json.dumps({"prompt": "# Task: fails"}),
        json.dumps({"prompt": "# Task: \ud800 half a character"}),
    ]
    scripts = (answer("y = 1"), answer("y = 2"), answer("prose only, sorry."), answer("y = 4"))
    async with HostileServer(*scripts) as server:
        result = await sciwright(
            "generate", "--batch", "-", server=server, stdin="\n".join(lines), home=tmp_path
        )
        assert server.requests[1].json["messages"][-1]["content"] == "# Task: first\n# Task: last"
    answers = [json.loads(line) for line in result.out.splitlines()]
    assert result.code == 0
    assert [a["code"] for a in answers] == ["y = 1", "", "", "", "y = 2", "", "y = 4"]
    assert [("error" in a) for a in answers] == [False, True, True, True, False, True, False]
    assert answers[0].keys() == {"code", "verdict", "candidates", "seconds"}
    assert answers[1].keys() == {"code", "error"}


async def test_batch_from_a_file_in_which_nothing_works(tmp_path):
    path = tmp_path / "cases.jsonl"
    path.write_text("nonsense\n")
    result = await sciwright("generate", "--batch", path, home=tmp_path)
    assert (result.code, result.json["code"]) == (1, "")
    missing = await sciwright("generate", "--batch", tmp_path / "none", home=tmp_path)
    assert missing.code == 2


async def test_wrong_combinations(demo, tmp_path):
    for arguments in (
        ("generate",),
        ("generate", demo, "--batch", "-"),
        ("serve", "--tcp", "nowhere"),
        ("serve", "--tcp", "127.0.0.1:99999"),
        ("serve", "--stdio", "--tcp", "127.0.0.1:0"),
        ("serve", "--log-file", tmp_path / "no" / "folder" / "log"),
        ("models", "path", "smolm"),
        ("no-such-command",),
    ):
        result = await sciwright(*arguments, home=tmp_path)
        assert (result.code, result.out) == (2, ""), arguments


async def test_bad_settings_file(demo, tmp_path):
    folder = tmp_path / ".config" / "sciwright"
    folder.mkdir(parents=True)
    (folder / "settings.toml").write_text("candidates = [")
    result = await sciwright("generate", demo, home=tmp_path)
    assert (result.code, "not valid TOML" in result.err) == (2, True)
    (folder / "settings.toml").write_text("candidates = 'many'\n")
    async with HostileServer(answer("y = 1")) as server:
        result = await sciwright("generate", demo, server=server, home=tmp_path)
    assert result.code == 0
    assert "'candidates'" in result.err


async def test_interrupt_ends_the_request(demo, tmp_path):
    """Ctrl-C: the model server sees the connection close, nothing is written, no traceback."""
    import signal

    arrived = threading.Event()

    async def stalled(exchange):
        await exchange.start()
        await exchange.text("y = ")
        arrived.set()
        await exchange.gone()

    async with HostileServer(stalled) as server:
        env = os.environ | {"SCIWRIGHT_ENDPOINT": server.url, "SCIWRIGHT_MODEL": "m", "HOME": str(tmp_path)}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "sciwright", "generate", str(demo), "--write",
            env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(30):
            while not arrived.is_set():
                await asyncio.sleep(0.02)
            process.send_signal(signal.SIGINT)
            _, err = await process.communicate()
            while not server.requests[0].disconnected:
                await asyncio.sleep(0.02)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert demo.read_text() == DEMO


async def test_key_is_never_shown(demo, tmp_path):
    async with HostileServer(status(401, {"error": "bad key CANARYKEY"}), drop) as server:
        for options in ([], ["--json"]):
            result = await sciwright(
                "generate", demo, *options, server=server, home=tmp_path, SCIWRIGHT_API_KEY="CANARYKEY"
            )
            assert server.requests[0].headers["authorization"] == "Bearer CANARYKEY"
            assert "CANARYKEY" not in result.out + result.err


async def test_models_list_and_version(tmp_path):
    result = await sciwright("models", "list", "--json", home=tmp_path)
    (default,) = [model for model in result.json["models"] if model["default"]]
    assert default["name"] == "smollm2-135m"
    assert (await sciwright("--version", home=tmp_path)).out.startswith("sciwright ")
    table = await sciwright("models", "list", home=tmp_path)
    assert "qwen2.5-coder-1.5b" in table.out
