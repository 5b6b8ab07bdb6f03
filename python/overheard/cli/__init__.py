"""The command line. `main` is the entry point; the commands are in `app`, what they do is in the modules beside it."""

from __future__ import annotations


def main() -> None:
    """Runs the command line with the process's arguments."""
    refuse_core_dumps()
    from overheard.cli.app import run_app  # here, so that importing the package does not load the terminal libraries

    run_app()


def refuse_core_dumps() -> None:
    """A core dump would hold the keys. Only our own process: a library must not change its host's limits."""
    try:
        import resource
    except ImportError:  # not a Unix
        return
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))
