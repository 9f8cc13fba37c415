"""The code in a terminal, highlighted while it streams in."""

from typing import Any

from rich.console import Console
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from sciwright.commands.generate import summary
from sciwright.generation import ContextReady, Done, Event, VerdictReady
from sciwright.samplers.protocol import Preparing, Token
from sciwright.verification.verdict import Tier

_TIER_STYLE = {
    Tier.REJECTED: "red",
    Tier.PARSED: "yellow",
    Tier.RAN_ON_STAND_INS: "cyan",
    Tier.RAN: "green",
    Tier.CHECKED: "bold green",
}


class LiveDisplay:
    """Shows the candidate that is being drawn; when it is complete, the code stays on the screen."""

    def __init__(self, status: Console) -> None:
        self._status = status
        self._output = Console(highlight=False)
        self._live = Live(console=self._output, transient=True, refresh_per_second=12)
        self._candidate = 0
        self._text = ""

    def __enter__(self) -> "LiveDisplay":
        self._live.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        self._live.__exit__(*details)

    def show(self, event: Event) -> None:
        """Show one event of the generation."""
        if isinstance(event, Preparing):
            self._live.update(_preparation(event))
        elif isinstance(event, ContextReady):
            self._live.update(Text("thinking ...", style="dim"))
        elif isinstance(event, Token):
            if event.candidate != self._candidate and event.candidate > self._candidate:
                self._candidate, self._text = event.candidate, ""
            if event.candidate == self._candidate:
                self._text += event.text
                self._live.update(self._tail())
        elif isinstance(event, VerdictReady) and event.verdict.tier is Tier.REJECTED:
            line = Text.assemble((f"candidate {event.number + 1} rejected: ", "red"), event.verdict.reason)
            self._live.console.print(line)

    def done(self, event: Done) -> None:
        """Leave the code on the screen."""
        self._live.update(Text())
        self._live.stop()
        self._output.print(_highlighted(event.code))
        style = _TIER_STYLE[event.verdict.tier]
        self._status.print(Text(summary(event), style=style))

    def _tail(self) -> Syntax:
        """Return the last lines that fit: a live area higher than the terminal cannot be redrawn."""
        height = max(self._output.height - 2, 3)
        return _highlighted("\n".join(self._text.split("\n")[-height:]))


def _highlighted(code: str) -> Syntax:
    return Syntax(code, "python", theme="ansi_dark", background_color="default", word_wrap=True)


def _preparation(event: Preparing) -> Any:
    if event.fraction is None:
        return Text(f"{event.message} ...", style="dim")
    row = Table.grid(padding=(0, 1))
    row.add_row(
        Text(event.message, style="dim"),
        Padding(ProgressBar(total=1.0, completed=event.fraction, width=32), 0),
        Text(f"{event.fraction:.0%}", style="dim"),
    )
    return row
