"""The plugin around the generations: installation, health, help, messages, processes."""

import re
import time
from dataclasses import fields
from pathlib import Path

import psutil
import pytest

from sciwright.settings import Settings

from .editor import PLUGIN, SERVER, Editor
from .endpoint import CODE, ScriptedEndpoint, serve

pytestmark = pytest.mark.slow

TEXT = "x = 1\n# Task: double x\n"
MISSING = "sciwright: no executable 'no-such-server' found, see :help sciwright-install"


def health(editor: Editor) -> str:
    editor.command("checkhealth sciwright")
    return "\n".join(editor.lines)


def test_health_finds_nothing_wrong(editor: Editor, endpoint: ScriptedEndpoint) -> None:
    endpoint.release.set()
    editor.open(TEXT)
    report = health(editor)
    assert "ERROR" not in report
    assert "OK Neovim 0.11" in report
    assert "OK server running for 1 buffer(s)" in report
    assert re.search(r"OK server: sciwright \d+\.\d+", report)
    assert re.search(r"OK model: scripted", report)  # doctor was told the editor's endpoint


def test_health_tells_what_is_wrong(tmp_path: Path) -> None:
    with Editor(tmp_path / "home", settings={"endpoint": "http://127.0.0.1:9/v1"}) as editor:
        report = health(editor)
        assert re.search(r"ERROR model: .*127\.0\.0\.1:9", report)


def test_health_without_the_executable(tmp_path: Path) -> None:
    with Editor(tmp_path / "home", server=["no-such-server", "serve"]) as editor:
        assert "ERROR no executable 'no-such-server' found" in health(editor)


def test_missing_executable_gives_one_message(tmp_path: Path) -> None:
    with Editor(tmp_path / "home", server=["no-such-server", "serve"]) as editor:
        for name in ("a.py", "b.py"):
            (editor.home / name).write_text(TEXT)
            editor.command(f"edit {name}")
        editor.wait_for(lambda: editor.notifications, "message")
        assert editor.notifications == [MISSING]
        assert not editor.mode["blocking"]
        editor.command("SciwrightGenerate")
        assert editor.notifications == [MISSING, MISSING]
        editor.command("SciwrightCancel")
        assert "stack traceback" not in editor.nvim.command_output("messages")


def test_a_buffer_that_is_not_python(editor: Editor) -> None:
    editor.command("edit notes.txt")
    editor.command("SciwrightGenerate")
    assert editor.notifications == ["sciwright: this is not a Python buffer (its filetype is 'text')"]


def test_a_buffer_without_a_name(editor: Editor, endpoint: ScriptedEndpoint) -> None:
    endpoint.release.set()
    editor.command("enew | set filetype=python")
    editor.keys("i# Task: double x<Esc>")
    editor.wait_for(lambda: editor.lines == ["# Task: double x"], "typed text")
    editor.command("SciwrightGenerate")
    assert editor.notifications == ["sciwright: write this buffer to a file and reopen it with :edit"]
    editor.command("write a.py | edit | SciwrightGenerate")
    editor.wait_for(lambda: editor.lines == ["# Task: double x", *CODE.splitlines()], "code")


def test_generate_waits_for_a_server_that_is_starting(editor: Editor, endpoint: ScriptedEndpoint) -> None:
    endpoint.release.set()
    (editor.home / "a.py").write_text(TEXT)
    editor.command("edit +2 a.py | SciwrightGenerate")
    editor.wait_for(lambda: editor.lines == [*TEXT.splitlines(), *CODE.splitlines()], "code")


def test_help(editor: Editor) -> None:
    editor.command("helptags ALL")
    editor.command("help sciwright")
    assert editor.nvim.current.buffer.name.endswith("doc/sciwright.txt")
    text = "\n".join(editor.lines)
    tags = re.findall(r"(?<!\S)\*(\S+)\*(?!\S)", text)
    assert {":SciwrightGenerate", ":SciwrightCancel", "g:sciwright_enable", "sciwright-settings"} <= set(tags)
    for tag in tags + re.findall(r"(?<!\S)\|(\S+)\|", text):
        editor.command(f"help {tag}")
    assert max(map(len, text.splitlines())) <= 78


def test_the_help_names_every_setting() -> None:
    text = (PLUGIN / "doc" / "sciwright.txt").read_text(encoding="utf-8")
    assert [f.name for f in fields(Settings) if not re.search(rf"^    {f.name}\b", text, re.MULTILINE)] == []


def test_installed_by_runtimepath(tmp_path: Path, endpoint: ScriptedEndpoint) -> None:
    endpoint.release.set()
    config = f"vim.opt.runtimepath:prepend('{PLUGIN}')"
    settings = {"endpoint": endpoint.url}
    with Editor(tmp_path / "home", config, settings=settings, installed=False) as editor:
        editor.open(TEXT)
        editor.go_to("# Task")
        editor.command("SciwrightGenerate")
        editor.wait_for(lambda: editor.lines == [*TEXT.splitlines(), *CODE.splitlines()], "code")


@pytest.mark.parametrize("value", ["false", "0"])
def test_not_enabled(tmp_path: Path, value: str) -> None:
    with Editor(tmp_path / "home", f"vim.g.sciwright_enable = {value}") as editor:
        (editor.home / "a.py").write_text(TEXT)
        editor.command("edit a.py")
        assert editor.lua("return vim.lsp.is_enabled('sciwright')") is False
        editor.command("lua vim.lsp.enable('sciwright')")
        editor.wait_for(lambda: editor.lua("return #vim.lsp.get_clients({ bufnr = 0 })") == 1, "a server")


def test_new_settings_reach_the_running_server(editor: Editor, endpoint: ScriptedEndpoint) -> None:
    with serve(ScriptedEndpoint("x *= 2")) as other:
        other.release.set()
        editor.open(TEXT)
        settings = {"settings": {"sciwright": {"endpoint": other.url}}}
        editor.lua("require('sciwright').setup(...)", settings)
        editor.go_to("# Task")
        editor.command("SciwrightGenerate")
        editor.wait_for(lambda: editor.lines == [*TEXT.splitlines(), "x *= 2"], "code of the other model")
    assert not endpoint.asked.is_set()


def test_a_setting_that_is_not_usable(tmp_path: Path) -> None:
    with Editor(tmp_path / "home", settings={"candidates": "many"}) as editor:
        editor.open(TEXT)
        editor.wait_for(lambda: editor.notifications, "message")
        (message,) = editor.notifications
        assert "'candidates'" in message


def test_the_model_cannot_be_reached(tmp_path: Path) -> None:
    with Editor(tmp_path / "home", settings={"endpoint": "http://127.0.0.1:9/v1"}) as editor:
        editor.open(TEXT)
        editor.go_to("# Task")
        editor.command("SciwrightGenerate")
        editor.wait_for(lambda: editor.notifications, "message")
        (message,) = editor.notifications
        assert "127.0.0.1:9" in message
        assert "Traceback" not in message
        assert editor.lines == TEXT.splitlines()
        editor.wait_for(lambda: editor.statusline == "", "empty statusline")


def test_a_server_that_dies_leaves_no_progress(editor: Editor, endpoint: ScriptedEndpoint) -> None:
    editor.open(TEXT)
    editor.go_to("# Task")
    editor.command("SciwrightGenerate")
    editor.wait_for(lambda: "tokens" in editor.statusline, "statusline")
    for process in editor.children():
        process.kill()
    time.sleep(1)
    editor.keys("<CR>")  # Neovim's own message about it takes two lines
    editor.wait_for(lambda: editor.statusline == "", "empty statusline")
    assert editor.lines == TEXT.splitlines()


@pytest.mark.parametrize("way", ["quit", "quit while generating", "killed while generating"])
def test_no_process_is_left(editor: Editor, endpoint: ScriptedEndpoint, way: str) -> None:
    editor.open(TEXT)
    if "generating" in way:
        editor.go_to("# Task")
        editor.command("SciwrightGenerate")
        editor.wait_for(endpoint.asked.is_set, "request to the model")
    left = editor.children()
    assert any(process.cmdline()[-3:] == SERVER[-3:] for process in left)
    if way.startswith("killed"):
        editor.process.kill()
    else:
        editor.quit()
    editor.wait_for_end_of(left)


def test_only_one_server_for_a_project(editor: Editor) -> None:
    (editor.home / "pyproject.toml").touch()
    (editor.home / "package").mkdir()
    editor.open(TEXT, "a.py")
    editor.open(TEXT, "package/b.py")
    servers = [process for process in editor.children() if process.status() != psutil.STATUS_ZOMBIE]
    assert len(servers) == 1
    assert editor.lua("return vim.lsp.get_clients()[1].root_dir") == str(editor.home)
