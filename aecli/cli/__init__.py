"""The command line; `main` is the program."""

from aecli.cli.app import app, main

__all__ = ["app", "main"]
