"""Which subcommand is meant, and what its end means to the shell."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence

import beewire
from beewire.cli.commands import COMMANDS
from beewire.cli.parser import CommandParser, add_commands
from beewire.cli.report import report
from beewire.errors import BeewireError, CompileError, UsageError

# The shell's own words: 128 + the signal that would have ended the process.
INTERRUPTED = 128 + signal.SIGINT
BROKEN_PIPE = 128 + signal.SIGPIPE
FAILED = 1
USAGE = 2

EPILOG = """\
examples:
  beewire doctor                        can this machine do it?
  beewire run examples/exec_time.py     how long does every program run?
  beewire top                           what do all programs here cost?
  beewire demo --seconds 2              a quick look at the mesh

`beewire COMMAND --help` says more about each."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: this process's) and return the exit code.

    0 done, 1 it failed, 2 the command line or a file it names is wrong, 130
    interrupted.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    open_streams()
    try:
        code = dispatch(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, less) has seen enough. Python would flush again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    except (UsageError, CompileError) as error:
        report(error)
        return USAGE
    except (BeewireError, OSError) as error:
        report(error)
        return FAILED
    except Exception as error:  # noqa: BLE001 - the border: a sentence, whatever happened
        report(error)
        return FAILED
    return code


def open_streams() -> None:
    """Let streams that were closed by whoever started this (`>&-`) lead nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123 - for good


def dispatch(arguments: list[str]) -> int:
    """Parse `arguments`, and run the subcommand that they name."""
    parser = top_parser()
    args = parser.parse_args(arguments)
    if "run" not in args:
        parser.print_help(sys.stderr)
        return USAGE
    code: int = args.run(args)
    return code


def top_parser() -> argparse.ArgumentParser:
    """The whole command line; a command declares its own when it is asked for."""
    parser = CommandParser(prog="beewire", description=beewire.__doc__, epilog=EPILOG)
    parser.add_argument(
        "--version",
        action="version",
        version=f"beewire {beewire.__version__}",
        help="print the version and exit",
    )
    add_commands(parser, COMMANDS)
    return parser
