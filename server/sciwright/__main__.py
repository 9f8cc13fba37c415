"""The entry point: `python -m sciwright`, and the console script."""

import sys


def main() -> None:
    """Run the command line; the language server, which editors wait for, starts without its framework."""
    if sys.argv[1:2] == ["serve"]:
        from sciwright.lsp.main import main as serve

        serve(sys.argv[2:])
    else:
        from sciwright.cli import app

        app()


if __name__ == "__main__":
    main()
