"""The command `sciwright`: its options. What the commands do is imported when they run."""

import asyncio
import json
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from sciwright import __version__
from sciwright.errors import SciwrightError, UsageError

T = TypeVar("T")

app = typer.Typer(
    name="sciwright",
    help="Turns a `# Task:` comment into scientific Python code.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
models_app = typer.Typer(no_args_is_help=True, help="The weights of the local engine.")
app.add_typer(models_app, name="models")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Model = Annotated[str | None, typer.Option(help="Model to use instead of the one in the settings.")]
Endpoint = Annotated[str | None, typer.Option(help="OpenAI-compatible server to use, with its /v1.")]


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        print(f"sciwright {__version__}")
        raise typer.Exit


@app.command(
    add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
def serve(context: typer.Context) -> None:
    """Run the language server (`sciwright serve --help` shows its options)."""
    from sciwright.lsp.main import main as serve_lsp

    serve_lsp(context.args)


@app.command()
def generate(
    file: Annotated[Path | None, typer.Argument(help="A Python file with a task comment.")] = None,
    line: Annotated[int | None, typer.Option(help="A line of the task comment, from 1.")] = None,
    candidates: Annotated[int | None, typer.Option(help="How many candidates to draw at most.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Put the code into the file.")] = False,
    as_json: Json = False,
    batch: Annotated[
        Path | None, typer.Option(metavar="FILE|-", help="Answer JSON lines from a file or stdin (-).")
    ] = None,
    model: Model = None,
    endpoint: Endpoint = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the candidates after the first.")] = None,
) -> None:
    """Generate code for a task comment and show it, or write it into the file."""
    with _errors_reported(as_json):
        settings = _settings(candidates=candidates, model=model, endpoint=endpoint, seed=seed)
        if batch:
            if file or line or write:
                raise UsageError("--batch goes with neither FILE, --line nor --write")
            raise typer.Exit(_run(_batch(batch, settings)))
        if file is None:
            raise UsageError("Name a Python file", "sciwright generate FILE")
        from sciwright.commands.generate import run

        result = _run(run(file, line, settings, write=write, quiet=as_json))
        if as_json:
            print(json.dumps(result))


async def _batch(source: Path, settings: Any) -> int:
    """Answer the lines of `source`; return the exit code, 1 when every case failed."""
    from sciwright.commands.batch import answers

    try:
        lines = sys.stdin if str(source) == "-" else source.open(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{source} cannot be read ({error.strerror})") from None
    worked = failed = 0
    with lines:
        async for answer in answers(lines, settings):
            print(json.dumps(answer), flush=True)
            worked, failed = (worked, failed + 1) if "error" in answer else (worked + 1, failed)
    return 1 if failed and not worked else 0


@models_app.command("list")
def models_list(as_json: Json = False) -> None:
    """List the models that the local engine can run."""
    with _errors_reported(as_json):
        from sciwright.commands.models import show_list

        show_list(as_json)


@models_app.command("pull")
def models_pull(name: Annotated[str, typer.Argument(help="A name from `sciwright models list`.")]) -> None:
    """Fetch a model's weights, verify and cache them."""
    with _errors_reported():
        from sciwright.commands.models import pull

        _run(pull(name))


@models_app.command("path")
def models_path(name: Annotated[str, typer.Argument(help="A name from `sciwright models list`.")]) -> None:
    """Print where a model's weights are."""
    with _errors_reported():
        from sciwright.commands.models import show_path

        show_path(name)


@app.command()
def doctor(as_json: Json = False, model: Model = None, endpoint: Endpoint = None) -> None:
    """Say what works here, what does not, and what mends it."""
    with _errors_reported(as_json):
        from sciwright.commands.doctor import show

        settings, problems = _settings_and_problems(model=model, endpoint=endpoint)
        raise typer.Exit(_run(show(settings, problems, as_json)))


def _settings(**options: Any) -> Any:
    """Return the settings with the command line's options applied; complaints go to stderr."""
    settings, problems = _settings_and_problems(**options)
    for problem in problems:
        print(f"sciwright: {problem}", file=sys.stderr)
    return settings


def _settings_and_problems(**options: Any) -> tuple[Any, list[str]]:
    from sciwright.settings import load

    settings, problems = load()
    settings, wrong = settings.with_values(options, "the command line")
    if wrong:
        raise UsageError(wrong[0])
    return settings, problems


def _run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@contextmanager
def _errors_reported(as_json: bool = False) -> Iterator[None]:
    """Turn errors into one readable line and an exit code: 1 the work failed, 2 wrong use."""
    try:
        yield
    except SciwrightError as error:
        if as_json:
            print(json.dumps({"code": "", "error": str(error)}))
        else:
            print(f"sciwright: {error}", file=sys.stderr)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:  # the reader of our output has left
        sys.stderr.close()
        raise typer.Exit(1) from None
