"""The command line as parsers that learn their arguments only when they are asked.

A subcommand is a module with `add_arguments(parser)` and `run(args) -> int`. A group is
such a module, too: its `add_arguments` adds a table of subcommands of its own.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Any

from beewire.cli.commands import Command
from beewire.cli.style import Ink, paint, wants_colour


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps text as it was written, and makes headings bold where that shows."""

    def start_section(self, heading: str | None) -> None:
        """Open the section `heading`."""
        colour = wants_colour(sys.stdout)
        super().start_section(heading and paint(heading, Ink.BOLD, colour=colour))


class CommandParser(argparse.ArgumentParser):
    """One subcommand's parser; its module is imported when words are to be parsed."""

    # Any: argparse's own keywords, handed on.
    def __init__(self, *, module: str = "", **options: Any) -> None:
        super().__init__(formatter_class=HelpFormatter, allow_abbrev=False, **options)
        self._module = module

    def parse_known_args(  # type: ignore[override]  # argparse's has overloads
        self,
        args: Sequence[str] | None = None,
        namespace: argparse.Namespace | None = None,
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse `args`; the module declares what there may be first."""
        if self._module:
            module = importlib.import_module(self._module)
            self._module = ""
            self.description = module.__doc__
            self.set_defaults(run=module.run)
            module.add_arguments(self)
        return super().parse_known_args(args, namespace)


def add_commands(parser: argparse.ArgumentParser, table: Sequence[Command]) -> None:
    """Let `parser` take one of the subcommands of `table`; `args.run` runs it."""
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", parser_class=CommandParser
    )
    for command in table:
        commands.add_parser(command.name, help=command.summary, module=command.module)


def add_verbose(parser: argparse.ArgumentParser) -> None:
    """Declare `-v`: what is done is told on standard error (see `tell`)."""
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="say what is done, step by step"
    )


def tell(args: argparse.Namespace, text: str) -> None:
    """Say on standard error what is done, if `-v` asks for it."""
    if args.verbose:
        print(f"beewire: {text}", file=sys.stderr, flush=True)
