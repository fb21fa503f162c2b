"""Run one of the benchmarks of a Beewire checkout, in a process of its own.

Every benchmark states its question, its workload and its units, prints the median and
the spread, and writes them with --json. Without NAME: list the benchmarks.
"""

import argparse
import ast
import subprocess
import sys
from pathlib import Path

import beewire
from beewire.cli.demo import writable
from beewire.errors import UsageError

EPILOG = """\
examples:
  beewire bench                         what can be measured
  beewire bench startup                 how long until the first program is attached?
  beewire bench startup --json out.json --rounds 5
  beewire bench mesh --help             what a benchmark takes beside that"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire bench`."""
    parser.epilog = EPILOG
    parser.add_argument("name", nargs="?", metavar="NAME", help="the benchmark to run")
    parser.add_argument(
        "--json", metavar="FILE", help="also write the figures to FILE as JSON"
    )
    parser.add_argument(
        "--seconds", type=float, metavar="S", help="how long one measurement lasts"
    )
    parser.add_argument(
        "--rounds", type=int, metavar="N", help="how many rounds are measured"
    )
    parser.add_argument(
        "options",
        nargs=argparse.REMAINDER,
        metavar="...",
        help="after NAME, all options are the benchmark's: those above, and its own",
    )


def run(args: argparse.Namespace) -> int:
    """Run the benchmark that `args` names and return its exit code."""
    known = benchmarks()
    if args.name is None:
        for name, path in known.items():
            print(f"{name:<12} {question(path)}")
        return 0
    if args.name not in known:
        raise UsageError(
            f"there is no benchmark {args.name!r}; there are: {', '.join(known)}"
        )
    given = [*options(args), *args.options]
    for place, word in enumerate(given[:-1]):
        if word == "--json":
            writable(given[place + 1])
    command = [sys.executable, str(known[args.name]), *given]
    return subprocess.run(command, check=False).returncode


def benchmarks() -> dict[str, Path]:
    """The benchmarks of this checkout by name.

    Raises:
        UsageError: this Beewire was installed from a wheel, which carries none.
    """
    checkout = Path(beewire.__file__).parent.parent
    found = {
        path.stem: path
        for path in sorted((checkout / "benchmarks").glob("*.py"))
        if not path.stem.startswith("_")
    }
    if not found or not (checkout / "pyproject.toml").exists():
        raise UsageError(
            "benchmarks are part of a checkout of Beewire, not of the installed package"
        )
    return found


def question(path: Path) -> str:
    """The first line of the benchmark's docstring, read without running it."""
    text = ast.get_docstring(ast.parse(path.read_bytes())) or ""
    return text.partition("\n")[0]


def options(args: argparse.Namespace) -> list[str]:
    """What was asked for on our command line, for the benchmark's own."""
    given = {"--json": args.json, "--seconds": args.seconds, "--rounds": args.rounds}
    return [
        word
        for name, value in given.items()
        if value is not None
        for word in (name, str(value))
    ]
