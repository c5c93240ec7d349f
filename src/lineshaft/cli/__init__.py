"""The command line: each command a thin layer over what the library does; imports wait until a command needs them."""

from lineshaft.cli.app import main

__all__ = ["main"]
