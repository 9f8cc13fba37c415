"""The language server from the outside, against an endpoint whose timing the tests control."""

import asyncio

import pytest
from lsprotocol import types

from support.editor import KIND, editing
from support.hostile_server import HostileServer, answer, silence, status

pytestmark = pytest.mark.slow

BUFFER = "import numpy as np\n\nx = np.arange(5)\n# Task: sum x\nprint('after')\n"


def gated(gate: asyncio.Event, *texts: str):
    """Return the behaviour of a server that sends one token, and the rest when the gate opens."""

    async def behaviour(exchange):
        await exchange.start()
        await exchange.text(texts[0])
        gone = asyncio.create_task(exchange.gone())
        opened = asyncio.create_task(gate.wait())
        await asyncio.wait([gone, opened], return_when=asyncio.FIRST_COMPLETED)
        if opened.done():
            gone.cancel()
            for text in texts[1:]:
                await exchange.text(text)
            await exchange.text("", finish="stop")
            await exchange.end()
        opened.cancel()

    return behaviour


def configuration(server: HostileServer, **more) -> dict:
    return {"endpoint": server.url, "model": "scripted", **more}


async def test_code_action_becomes_one_versioned_edit():
    async with (
        HostileServer(answer("```python\n", "total = x.sum()\nprint(total)", "\n```")) as server,
        editing(configuration=configuration(server)) as editor,
    ):
        uri = editor.open(BUFFER)
        (action,) = await editor.code_actions(uri, 3)
        assert (action.kind, action.title) == (KIND, "Generate code for this task")
        assert action.edit is None
        await editor.generate(uri, 3)
        await editor.until_ended()
        assert editor.texts[uri] == BUFFER.replace("sum x\n", "sum x\ntotal = x.sum()\nprint(total)\n")
        (edit,) = editor.edits
        assert edit.document_changes[0].text_document.version == 1
        assert server.requests[0].json["messages"][-1]["content"].endswith("x = np.arange(5)\n# Task: sum x")
        begin, *_, end = editor.progress
        assert begin.cancellable
        assert end.message == "done"
        assert editor.messages == []


async def test_code_actions_only_on_task_lines_and_for_wanted_kinds():
    text = "'''\n# Task: none\n'''\ndef f():\n\t# Task: a\n\t# b\n\tpass\n"
    async with editing() as editor:
        uri = editor.open(text)
        found = [len(await editor.code_actions(uri, line)) for line in range(8)]
        assert found == [0, 0, 0, 0, 1, 1, 0, 0]
        for only, expected in (
            (["refactor"], 1),
            (["refactor.rewrite"], 1),
            ([KIND], 1),
            ([], 0),
            (["quickfix"], 0),
            (["refactor.rewrite.sciwright.more"], 0),
            (["refactor.rewrite.sci"], 0),
        ):
            assert len(await editor.code_actions(uri, 4, only)) == expected, only


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
async def test_positions_in_every_encoding(encoding):
    text = "s = '𝛼é'; # Task: no\n\x0cx = '\u2028 \x85'\r\n    # Task: π 𝛼 done"
    async with (
        HostileServer(answer("y = 1\nz = 2")) as server,
        editing(encoding=encoding, configuration=configuration(server)) as editor,
    ):
        assert editor.server_capabilities.position_encoding == encoding
        uri = editor.open(text)
        editor.type(uri, 1, 1, "w = 0; ")
        await editor.generate(uri, 2)
        await editor.until_ended()
        expected = text.replace("\x0cx", "\x0cw = 0; x") + "\n    y = 1\n    z = 2"
        assert editor.texts[uri] == expected.replace("done\n    y = 1\n", "done\n    y = 1\n")


async def test_typing_above_meanwhile_moves_the_edit():
    gate = asyncio.Event()
    async with (
        HostileServer(gated(gate, "y = ", "x.sum()")) as server,
        editing(configuration=configuration(server)) as editor,
    ):
        uri = editor.open(BUFFER)
        await editor.generate(uri, 3)
        await editor.until(lambda: server.requests)
        editor.type(uri, 0, 0, "'''new\n\nlines'''\n")
        gate.set()
        await editor.until_ended()
        assert editor.texts[uri] == "'''new\n\nlines'''\n" + BUFFER.replace("sum x\n", "sum x\ny = x.sum()\n")


async def test_edit_that_crosses_a_keystroke_is_made_again_at_the_right_place():
    async with (
        HostileServer(answer("y = 1")) as server,
        editing(configuration=configuration(server)) as editor,
    ):
        uri = editor.open(BUFFER)
        editor.before_edit = lambda: editor.type(uri, 0, 0, "# above\n")
        await editor.generate(uri, 3)
        await editor.until_ended()
        assert editor.texts[uri] == "# above\n" + BUFFER.replace("sum x\n", "sum x\ny = 1\n")


async def test_changed_task_is_refused():
    gate = asyncio.Event()
    async with (
        HostileServer(gated(gate, "y = 1")) as server,
        editing(configuration=configuration(server)) as editor,
    ):
        uri = editor.open(BUFFER)
        await editor.generate(uri, 3)
        await editor.until(lambda: server.requests)
        editor.replace(uri, changed := BUFFER.replace("sum x", "sum y"))
        gate.set()
        await editor.until(lambda: editor.messages)
        assert editor.texts[uri] == changed
        assert editor.edits == []
        assert "task comment was changed" in editor.messages[0]


async def cancel_by_progress(editor, uri):
    (token,) = editor.client.progress_reports
    editor.client.window_work_done_progress_cancel(types.WorkDoneProgressCancelParams(token))


async def cancel_by_command(editor, uri):
    await editor.client.workspace_execute_command_async(types.ExecuteCommandParams("sciwright.cancel", [uri]))


async def cancel_all_by_command(editor, uri):
    await editor.client.workspace_execute_command_async(types.ExecuteCommandParams("sciwright.cancel", []))


async def cancel_by_closing(editor, uri):
    editor.client.text_document_did_close(types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(uri)))


@pytest.mark.parametrize(
    "cancel", [cancel_by_progress, cancel_by_command, cancel_all_by_command, cancel_by_closing]
)
async def test_cancel_reaches_the_model_server(cancel):
    gate = asyncio.Event()
    async with (
        HostileServer(gated(gate, "y = 1")) as server,
        editing(configuration=configuration(server)) as editor,
    ):
        uri = editor.open(BUFFER)
        await editor.generate(uri, 3)
        await editor.until(lambda: len(editor.progress) > 1)
        await cancel(editor, uri)
        await editor.until(lambda: server.requests[0].disconnected, 1)
        await editor.until_ended()
        assert editor.progress[-1].message == "cancelled"
        assert editor.edits == []
        # The server lives, and the next generation works.
        if cancel is not cancel_by_closing:
            gate.set()
            await editor.generate(uri, 3)
            await editor.until_ended(2)
            assert "sum x\ny = 1\n" in editor.texts[uri]


async def test_shutdown_ends_a_running_generation():
    async with HostileServer(silence) as server:
        async with editing(configuration=configuration(server)) as editor:
            uri = editor.open(BUFFER)
            await editor.generate(uri, 3)
            await editor.until(lambda: server.requests)
        assert server.requests[0].disconnected or not server.requests[0].ended


@pytest.mark.parametrize(
    ("behaviour", "settings", "words"),
    [
        (status(401), {}, "api_key_env"),
        (status(404), {}, "/v1"),
        (answer("I am sorry, I cannot help with that."), {}, "not usable"),
        (answer("def broken(:"), {}, "not usable"),
        (silence, {"read_timeout": 0.2}, "SILENCE"),
    ],
)
async def test_failures_become_one_readable_message(behaviour, settings, words):
    async with (
        HostileServer(behaviour) as server,
        editing(configuration=configuration(server, **settings)) as editor,
    ):
        uri = editor.open(BUFFER)
        await editor.generate(uri, 3)
        await editor.until(lambda: editor.messages)
        (message,) = editor.messages
        assert words in message or words == "SILENCE"
        assert "Traceback" not in message
        assert len(message) < 400
        assert editor.texts[uri] == BUFFER
        assert len(await editor.code_actions(uri, 3)) == 1  # it lives on


async def test_dead_endpoint():
    async with editing(configuration={"endpoint": "http://127.0.0.1:9/v1", "model": "m"}) as editor:
        uri = editor.open(BUFFER)
        await editor.generate(uri, 3)
        await editor.until(lambda: editor.messages)
        assert "127.0.0.1:9" in editor.messages[0]


async def test_task_without_text():
    async with editing() as editor:
        uri = editor.open("# Task:\n")
        await editor.generate(uri, 0)
        await editor.until(lambda: editor.messages)
        assert "has no text" in editor.messages[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["file:///other.py", {"line": 0, "character": 0}], "not open"),
        (["URI", {"line": 99, "character": 0}], "line 100"),
    ],
)
async def test_command_for_a_place_without_task(arguments, words):
    async with editing() as editor:
        uri = editor.open(BUFFER)
        arguments = [uri if a == "URI" else a for a in arguments]
        await editor.client.workspace_execute_command_async(
            types.ExecuteCommandParams("sciwright.generate", arguments)
        )
        await editor.until(lambda: editor.messages)
        assert words in editor.messages[0]


async def test_refused_edit_is_told():
    async with (
        HostileServer(answer("y = 1")) as server,
        editing(configuration=configuration(server)) as editor,
    ):
        editor.refuse = "read-only"
        uri = editor.open(BUFFER)
        await editor.generate(uri, 3)
        await editor.until(lambda: editor.messages)
        assert "read-only" in editor.messages[0]


async def test_client_without_progress_and_document_changes():
    def modest(capabilities):
        capabilities.window = None
        capabilities.workspace.workspace_edit = None
        capabilities.workspace.configuration = False

    async with HostileServer(answer("y = 1")) as server:
        environment = {"SCIWRIGHT_ENDPOINT": server.url, "SCIWRIGHT_MODEL": "m"}
        async with editing(environment=environment, edit_capabilities=modest) as editor:
            uri = editor.open(BUFFER)
            await editor.generate(uri, 3)
            await editor.until(lambda: editor.edits)
            assert editor.edits[0].document_changes is None
            assert editor.texts[uri] == BUFFER.replace("sum x\n", "sum x\ny = 1\n")


async def test_bad_settings_are_told_once_and_their_defaults_used():
    settings = {"candidates": "many", "colour": "blue"}
    async with (
        HostileServer(answer("y = 1")) as server,
        editing(configuration=configuration(server, **settings)) as editor,
    ):
        await editor.until(lambda: len(editor.messages) == 2)
        editor.client.workspace_did_change_configuration(types.DidChangeConfigurationParams({}))
        uri = editor.open(BUFFER)
        await editor.generate(uri, 3)
        await editor.until_ended()
        assert "y = 1" in editor.texts[uri]
        assert sorted("candidates" in m or "colour" in m for m in editor.messages) == [True, True]


async def test_settings_change_while_the_server_runs():
    async with (
        HostileServer(answer("y = 1")) as first,
        HostileServer(answer("y = 2")) as second,
        editing(configuration=configuration(first)) as editor,
    ):
        uri = editor.open(BUFFER)
        editor.client.set_configuration({"sciwright": configuration(second)})
        editor.client.workspace_did_change_configuration(types.DidChangeConfigurationParams({}))
        await asyncio.sleep(0.3)
        await editor.generate(uri, 3)
        await editor.until_ended()
        assert "y = 2" in editor.texts[uri]
        assert not first.requests


async def test_two_generations_in_one_file():
    gate = asyncio.Event()
    text = "# Task: one\n\n# Task: two\n"
    async with (
        HostileServer(gated(gate, "a = 1"), answer("b = 2")) as server,
        editing(configuration=configuration(server)) as editor,
    ):
        uri = editor.open(text)
        await editor.generate(uri, 0)
        await editor.until(lambda: server.requests)
        await editor.generate(uri, 2)
        await editor.until(lambda: "b = 2" in editor.texts[uri])
        gate.set()
        await editor.until_ended(2)
        assert editor.texts[uri] == "# Task: one\na = 1\n\n# Task: two\nb = 2\n"


async def test_code_actions_answer_while_the_model_is_silent():
    async with (
        HostileServer(silence) as server,
        editing(configuration=configuration(server)) as editor,
    ):
        uri = editor.open(BUFFER)
        await editor.generate(uri, 3)
        await editor.until(lambda: server.requests)
        for _ in range(20):
            assert len(await asyncio.wait_for(editor.code_actions(uri, 3), 1)) == 1


async def test_nothing_of_the_buffer_or_the_key_in_the_log(tmp_path):
    log = tmp_path / "server.log"
    text = BUFFER.replace("sum x", "sum CANARYTASK").replace("after", "CANARYBUFFER")
    environment = {"SCIWRIGHT_API_KEY": "CANARYKEY"}
    from support.editor import SERVE

    async with (
        HostileServer(status(500, {"error": "CANARYERROR"}), answer("y = 1")) as server,
        editing(
            *SERVE, "--log-level", "info", "--log-file", str(log),
            configuration=configuration(server), environment=environment,
        ) as editor,
    ):  # fmt: skip
        uri = editor.open(text)
        await editor.generate(uri, 3)
        await editor.until_ended()
        assert server.requests[0].headers["authorization"] == "Bearer CANARYKEY"
        assert "y = 1" in editor.texts[uri]
    assert log.exists()
    assert "CANARY" not in log.read_text()
    assert not [m for m in editor.messages if "CANARY" in m]
