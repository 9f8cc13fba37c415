"""Generating code in a real Neovim: what ends up in the buffer."""

import ast
import time
from pathlib import Path

import pytest

from sciwright.models import cache_folder

from .editor import Editor
from .endpoint import CODE, ScriptedEndpoint

pytestmark = pytest.mark.slow

TASK = "# Task: print the mean of x where it is large"
ABOVE = ["import numpy as np", "", "x = np.arange(10)"]
BELOW = ["", "print('the end')"]
BEFORE = [*ABOVE, TASK, *BELOW]
AFTER = [*ABOVE, TASK, *CODE.splitlines(), *BELOW]


def text_of(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def start_generation(editor: Editor, endpoint: ScriptedEndpoint) -> None:
    """Ask for code, and return while the model is writing it."""
    editor.go_to(TASK)
    editor.command("SciwrightGenerate")
    editor.wait_for(endpoint.asked.is_set, "request to the model")


@pytest.mark.parametrize("way", ["code action", "command"])
def test_the_local_engine_writes_code_below_the_task(tmp_path: Path, weights: Path, way: str) -> None:
    before = [
        "import numpy as np",
        "",
        "def total():",
        "    values = np.array([1.0, 2.0, 3.0])",
        "    # Task: print the mean of values",
        "    return values.sum()",
    ]
    settings = {"max_tokens": 60, "candidates": 4}
    cache = {"SCIWRIGHT_CACHE": str(cache_folder())}
    with Editor(tmp_path / "home", settings=settings, environment=cache) as editor:
        editor.open(text_of(before))
        editor.go_to("# Task")
        if way == "command":
            editor.command("SciwrightGenerate")
        else:
            editor.lua("vim.lsp.buf.code_action({ apply = true })")
        editor.wait_for(lambda: editor.lines != before, "code", seconds=120)

        *code, last = editor.lines[5:]
        assert editor.lines[:5] == before[:5]
        assert last == before[5]
        assert any(line.strip() for line in code)
        assert all(line.startswith("    ") for line in code if line.strip())
        ast.parse(text_of(editor.lines))
        editor.keys("u")
        editor.wait_for(lambda: editor.lines == before, "undone insertion")

        left = editor.children()
        assert left
        editor.quit()
        editor.wait_for_end_of(left)


@pytest.mark.parametrize("way", ["code action", "command"])
def test_code_is_one_undo_step(editor: Editor, endpoint: ScriptedEndpoint, way: str) -> None:
    endpoint.release.set()
    editor.open(text_of(BEFORE))
    editor.go_to(TASK)
    if way == "command":
        editor.command("SciwrightGenerate")
    else:
        editor.lua("vim.lsp.buf.code_action({ apply = true })")
    editor.wait_for(lambda: editor.lines == AFTER, "code")
    editor.keys("u")
    editor.wait_for(lambda: editor.lines == BEFORE, "undone insertion")
    editor.keys("<C-r>")
    editor.wait_for(lambda: editor.lines == AFTER, "redone insertion")


@pytest.mark.parametrize("indent", ["  ", "    ", "\t", "\t\t"], ids=["2", "4", "tab", "tabs"])
def test_code_has_the_indentation_of_the_task(
    editor: Editor, endpoint: ScriptedEndpoint, indent: str
) -> None:
    endpoint.release.set()
    above = ["def outer(x):", f"{indent}if x.any():"]
    task = [f"{2 * indent}{TASK}", f"{2 * indent}# and only once"]
    below = [f"{indent}return x"]
    editor.open(text_of([*above, *task, *below]))
    editor.go_to("# and only once")  # any line of the comment
    editor.command("SciwrightGenerate")
    code = [2 * indent + line for line in CODE.splitlines()]
    editor.wait_for(lambda: editor.lines == [*above, *task, *code, *below], "indented code")


@pytest.mark.parametrize("end", ["", "\n", "\r\n"], ids=["none", "lf", "crlf"])
def test_a_task_on_the_last_line(editor: Editor, endpoint: ScriptedEndpoint, end: str) -> None:
    endpoint.release.set()
    editor.command("set nofixendofline")
    line_end = end or "\n"
    before = line_end.join([*ABOVE, TASK]) + end
    path = editor.open(before)
    editor.go_to(TASK)
    editor.command("SciwrightGenerate")
    editor.wait_for(lambda: editor.lines == [*ABOVE, TASK, *CODE.splitlines()], "code")
    editor.command("write")
    assert path.read_bytes().decode() == line_end.join([*ABOVE, TASK, *CODE.splitlines()]) + end
    editor.keys("u")
    editor.wait_for(lambda: editor.lines == [*ABOVE, TASK], "undone insertion")
    editor.command("write")
    assert path.read_bytes().decode() == before


def test_no_task_at_the_cursor(editor: Editor) -> None:
    editor.open(text_of(BEFORE))
    editor.go_to("x = ")
    editor.command("SciwrightGenerate")
    editor.wait_for(lambda: editor.notifications, "message")
    assert editor.notifications == ["sciwright: there is no task comment at the cursor (`# Task: ...`)"]
    assert not editor.mode["blocking"]
    assert editor.lines == BEFORE


def test_progress_is_shown(editor: Editor, endpoint: ScriptedEndpoint) -> None:
    editor.open(text_of(BEFORE))
    start_generation(editor, endpoint)
    editor.wait_for(lambda: "tokens" in editor.statusline, "statusline")
    assert editor.statusline.startswith("Generating code: ")
    editor.wait_for(lambda: editor.screen()[-1].startswith("sciwright: Generating code: "), "shown progress")
    assert not editor.mode["blocking"]
    endpoint.release.set()
    editor.wait_for(lambda: editor.lines == AFTER, "code")
    editor.wait_for(lambda: editor.statusline == "", "empty statusline")
    kinds = [value["kind"] for value in editor.progress]
    assert kinds[0] == "begin"
    assert "report" in kinds[1:-1]
    assert kinds[-1] == "end"
    assert editor.progress[0]["title"] == "Generating code"
    assert editor.progress[0]["cancellable"] is True
    assert editor.notifications == []


def test_long_progress_does_not_ask_for_enter(editor: Editor) -> None:
    editor.open(text_of(BEFORE))
    report = {
        "token": "t",
        "value": {"kind": "report", "title": "Fetching", "message": "long " * 40 + "\nname"},
    }
    client = "vim.lsp.get_clients({ name = 'sciwright' })[1].id"
    editor.lua(f"require('sciwright').on_progress({client}, ...)", report)
    assert not editor.mode["blocking"]
    editor.wait_for(lambda: editor.screen()[-1].endswith("…"), "shortened line")
    assert editor.screen()[-1].startswith("sciwright: Fetching: long long")


def test_messages_at_one_moment_do_not_ask_for_enter(editor: Editor) -> None:
    editor.open(text_of(BEFORE))
    messages = """
        local client = vim.lsp.get_clients({ name = 'sciwright' })[1]
        for number = 1, 3 do
          local value = { kind = 'report', title = 'Generating', message = 'part ' .. number }
          require('sciwright').on_progress(client.id, { token = 't', value = value })
          client.handlers['window/showMessage'](nil, { type = 1, message = 'Failed: ' .. number })
        end
    """
    editor.nvim.command("lua vim.schedule(function() " + " ".join(messages.split()) + " end)")
    editor.wait_for(lambda: editor.screen()[-1] == "Failed: 3", "last message")


def test_progress_can_be_switched_off(tmp_path: Path, endpoint: ScriptedEndpoint) -> None:
    config = "require('sciwright').setup({ progress = false })"
    with Editor(tmp_path / "home", config, settings={"endpoint": endpoint.url}) as editor:
        editor.open(text_of(BEFORE))
        start_generation(editor, endpoint)
        editor.wait_for(lambda: "tokens" in editor.statusline, "statusline")
        assert "sciwright" not in editor.screen()[-1]
        # The events still reach whoever shows them instead.
        assert "report" in [value["kind"] for value in editor.progress]


@pytest.mark.parametrize("command", ["SciwrightCancel", "SciwrightCancel!"])
def test_cancel(editor: Editor, endpoint: ScriptedEndpoint, command: str) -> None:
    editor.open(text_of(BEFORE))
    start_generation(editor, endpoint)
    if command.endswith("!"):
        editor.open("y = 1\n", "other.py")
    editor.command(command)
    editor.wait_for(endpoint.left.is_set, "disconnect from the model")
    editor.wait_for(lambda: editor.statusline == "", "empty statusline")
    assert editor.progress[-1] == {"kind": "end", "message": "cancelled", "title": "Generating code"}
    editor.command("buffer analysis.py")
    endpoint.release.set()
    time.sleep(0.5)
    assert editor.lines == BEFORE
    assert editor.notifications == []


def test_cancel_leaves_other_buffers_alone(editor: Editor, endpoint: ScriptedEndpoint) -> None:
    editor.open(text_of(BEFORE))
    start_generation(editor, endpoint)
    editor.open("y = 1\n", "other.py")
    editor.command("SciwrightCancel")
    time.sleep(0.5)
    assert not endpoint.left.is_set()
    endpoint.release.set()
    editor.command("buffer analysis.py")
    editor.wait_for(lambda: editor.lines == AFTER, "code")


def test_code_for_a_buffer_that_is_not_shown(editor: Editor, endpoint: ScriptedEndpoint) -> None:
    editor.command("set hidden")
    editor.open(text_of(BEFORE))
    start_generation(editor, endpoint)
    editor.open("y = 1\n", "other.py")
    endpoint.release.set()
    editor.wait_for(lambda: editor.statusline == "", "end of the work")
    assert editor.lines == ["y = 1"]
    editor.command("buffer analysis.py")
    assert editor.lines == AFTER
    editor.keys("u")
    editor.wait_for(lambda: editor.lines == BEFORE, "undone insertion")


def test_edits_above_the_task_meanwhile(editor: Editor, endpoint: ScriptedEndpoint) -> None:
    editor.open(text_of(BEFORE))
    start_generation(editor, endpoint)
    editor.keys("ggOimport pandas as pd<CR>α = '🦀'<Esc>Go# below<Esc>")
    typed = ["import pandas as pd", "α = '🦀'", *BEFORE, "# below"]
    editor.wait_for(lambda: editor.lines == typed, "typed text")
    endpoint.release.set()
    expected = ["import pandas as pd", "α = '🦀'", *AFTER, "# below"]
    editor.wait_for(lambda: editor.lines == expected, "code at its new place")
    editor.keys("u")
    editor.wait_for(lambda: editor.lines == typed, "undone insertion")


def test_code_that_comes_while_the_user_types(editor: Editor, endpoint: ScriptedEndpoint) -> None:
    editor.open(text_of(BEFORE))
    start_generation(editor, endpoint)
    editor.keys("ggOa = 1")
    editor.wait_for(lambda: editor.lines == ["a = 1", *BEFORE], "typed text")
    endpoint.release.set()
    editor.wait_for(lambda: editor.lines == ["a = 1", *AFTER], "code")
    assert editor.mode == {"mode": "i", "blocking": False}
    editor.keys("0<CR>b = 2<Esc>")
    editor.wait_for(lambda: editor.lines == ["a = 10", "b = 2", *AFTER], "text typed afterwards")
    undone = [["a = 1", *AFTER], ["a = 1", *BEFORE], BEFORE]
    for lines in undone:
        editor.keys("u")
        editor.wait_for(lambda lines=lines: editor.lines == lines, "undo step of its own")  # type: ignore[misc]


def test_code_is_not_lost_when_every_moment_brings_a_change(
    editor: Editor, endpoint: ScriptedEndpoint
) -> None:
    editor.open(text_of(BEFORE))
    start_generation(editor, endpoint)
    editor.keys("ggO#")
    letters = "the quick brown fox jumps over the lazy dog " * 8
    for number, letter in enumerate(letters):
        if number == len(letters) // 4:
            endpoint.release.set()
        editor.keys(letter)
        time.sleep(0.004)
    editor.keys("<Esc>")
    editor.wait_for(lambda: editor.statusline == "", "end of the work")
    assert editor.lines == [f"#{letters}", *AFTER]
    assert editor.notifications == []


def test_an_edit_for_an_older_text_is_refused(editor: Editor) -> None:
    path = editor.open(text_of(BEFORE))
    start = {"line": 0, "character": 0}
    version = editor.lua("return vim.lsp.util.buf_versions[vim.api.nvim_get_current_buf()]")
    edit = {
        "textDocument": {"uri": path.as_uri(), "version": version},
        "edits": [{"range": {"start": start, "end": start}, "newText": "# inserted\n"}],
    }
    apply = """
        local client = vim.lsp.get_clients({ name = 'sciwright' })[1]
        return client.handlers['workspace/applyEdit'](nil, { edit = ... }, { client_id = client.id })
    """
    assert editor.lua(apply, {"documentChanges": [edit]})["applied"] is True
    assert editor.lines == ["# inserted", *BEFORE]
    answer = editor.lua(apply, {"documentChanges": [edit]})
    assert answer == {"applied": False, "failureReason": "the buffer has changed meanwhile"}
    assert editor.lines == ["# inserted", *BEFORE]


def test_the_task_is_removed_meanwhile(editor: Editor, endpoint: ScriptedEndpoint) -> None:
    editor.open(text_of(BEFORE))
    start_generation(editor, endpoint)
    editor.keys("dd")
    editor.wait_for(lambda: editor.lines == [*ABOVE, *BELOW], "removed task")
    endpoint.release.set()
    editor.wait_for(lambda: editor.notifications, "message")
    (message,) = editor.notifications
    assert "nothing was inserted" in message
    assert editor.lines == [*ABOVE, *BELOW]
    editor.keys("<Esc>u")
    editor.wait_for(lambda: editor.lines == BEFORE, "restored task")
