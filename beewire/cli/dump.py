"""Show what is in a BPF object, or in a program that the kernel runs.

Instructions stand under the source lines they stem from, with what they refer to: maps,
globals, functions, CO-RE fields. Types are shown as C.
"""

import argparse
from pathlib import Path

from beewire.bpf.object import read
from beewire.bpf.object.listing import object_text
from beewire.errors import DecodingError, UsageError

EPILOG = """\
examples:
  beewire dump prog.bpf.o
  beewire dump --program 42"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire dump`."""
    parser.epilog = EPILOG
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "file", nargs="?", metavar="FILE", type=Path, help="a BPF object (ELF)"
    )
    what.add_argument(
        "--program", metavar="ID", type=int, help="a program in the kernel, by its id"
    )


def run(args: argparse.Namespace) -> int:
    """Print it."""
    if args.file is None:
        from beewire.bpf.kernel.inspect import program_listing  # noqa: PLC0415

        print(program_listing(args.program))
        return 0
    try:
        content = args.file.read_bytes()
    except IsADirectoryError:
        raise UsageError(f"{args.file} is a directory; name one object file") from None
    try:
        spec = read(content)
    except DecodingError as error:
        raise UsageError(f"{args.file}: {error}") from None
    print(object_text(spec), end="")
    return 0
