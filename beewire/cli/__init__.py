"""The `beewire` command: thin, one module a subcommand.

    entry.py      which subcommand is meant; errors become sentences and exit codes
    commands.py   the subcommands there are, as a table
    parser.py     parsers that import a subcommand only when it is asked for
    mesh.py       the group `beewire mesh`: a table of subcommands, mesh_*.py
    report.py     how an error reads on a terminal
    style.py      colour, where the terminal wants it

A subcommand is a module with `add_arguments(parser)` and `run(args) -> int`. Only the
one that is asked for is imported.
"""

from beewire.cli.entry import main

__all__ = ["main"]
