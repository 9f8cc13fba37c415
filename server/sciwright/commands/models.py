"""`sciwright models`: list, fetch and find weights."""

import json
import sys

from sciwright import models
from sciwright.errors import ModelError


def show_list(as_json: bool) -> None:
    """Print the catalogue, with what is fetched."""
    rows = models.listing()
    if as_json:
        entries = [
            {
                "name": model.name,
                "title": model.title,
                "licence": model.licence,
                "bytes": model.size,
                "default": model.name == models.DEFAULT,
                "path": str(path) if path else None,
            }
            for model, path in rows
        ]
        print(json.dumps({"models": entries}))
        return

    from rich.console import Console
    from rich.table import Table

    table = Table(
        "name", "model", "licence", "size", "fetched", box=None, pad_edge=False, header_style="bold"
    )
    for model, path in rows:
        default = " (default)" if model.name == models.DEFAULT else ""
        size = f"{model.size / 1e6:,.0f} MB"
        table.add_row(model.name + default, model.title, model.licence, size, "yes" if path else "")
    Console().print(table)


async def pull(name: str) -> None:
    """Fetch a model with a progress bar (one line each ten percent elsewhere than in a terminal)."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    status = Console(stderr=True, highlight=False)
    if status.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, console=status) as bar:
            task = bar.add_task(name, total=None)
            path = await models.pull(name, lambda done, total: bar.update(task, completed=done, total=total))
    else:
        last = -1

        def say(done: int, total: int | None) -> None:
            nonlocal last
            if total and done * 10 // total > last:
                last = done * 10 // total
                print(f"fetching {name}: {last * 10} %", file=sys.stderr, flush=True)

        path = await models.pull(name, say)
    print(path)


def show_path(name: str) -> None:
    """Print where the weights are.

    Raises:
        ModelError: They are not fetched.
    """
    path = models.path(name)
    if path is None:
        raise ModelError(f"{name} is not fetched", f"Run `sciwright models pull {name}`")
    print(path)
