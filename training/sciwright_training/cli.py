"""The command `sciwright-train`. Its commands come with the data set and the training loop."""

from typing import Annotated

import typer

from sciwright import __version__

app = typer.Typer(
    name="sciwright-train",
    help="Fine-tunes the model behind sciwright on a field's own tasks. This release has no commands yet: "
    "the data set and the training loop are being built.",
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        print(f"sciwright-train {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


def main() -> None:
    """Entry point of the console script."""
    app()
