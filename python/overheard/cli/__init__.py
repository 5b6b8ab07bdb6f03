"""The command line. `main` is the entry point; the commands are in `app`, what they do is in the modules beside it."""

from __future__ import annotations


def main() -> None:
    """Runs the command line with the process's arguments."""
    from overheard.cli.app import run_app  # here, so that importing the package does not load the terminal libraries

    run_app()
