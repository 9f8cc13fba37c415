"""`python -m sciwright`."""

from sciwright.cli import main

main()
