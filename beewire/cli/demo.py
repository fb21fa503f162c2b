"""Run two pods with Envoy sidecars, under Istio's iptables rules and under Beewire.

Both meshes stand side by side and are measured by turns; the table shows the medians,
and the ratio of each round's pair. Then one connection is followed hop by hop. Needs
root, Envoy, nginx, wrk and iptables; touches nothing outside its own namespaces. Where
the kernel refuses it, or nobody is root, it runs in a virtual machine: to see it work.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from beewire.cli.style import wants_colour
from beewire.errors import UsageError

EPILOG = """\
examples:
  beewire demo                           a little over two minutes
  beewire demo --rounds 2                a quick look
  beewire demo --json figures.json
  beewire demo --clean                   remove what a killed demo left behind"""

USUAL_COLUMNS = 80
BUSY_CORES = 0.3  # the machine's own housekeeping stays below


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire demo`."""
    # Only here: `beewire --help` needs none of it.
    from beewire.mesh.lab.demo import DemoConfig  # noqa: PLC0415

    usual = DemoConfig()
    parser.epilog = EPILOG
    parser.add_argument(
        "--seconds",
        type=_positive,
        default=usual.seconds,
        metavar="S",
        help="how long each measurement lasts (default: %(default)s)",
    )
    parser.add_argument(
        "--connections",
        type=_positive,
        default=usual.connections,
        metavar="N",
        help="how many connections wrk keeps open (default: %(default)s)",
    )
    parser.add_argument(
        "--rounds",
        type=_positive,
        default=usual.rounds,
        metavar="N",
        help="how often both sides are measured (default: %(default)s)",
    )
    parser.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    parser.add_argument(
        "--clean",
        action="store_true",
        help="only remove what dead demos left behind; living ones stay",
    )


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Run the demo that `args` ask for and return its exit code."""
    from beewire.interrupts import Stopped, unwinding  # noqa: PLC0415

    progress = Progress(sys.stderr)
    try:
        with unwinding() as interrupts:
            if args.clean:
                return _clean()
            if (code := _elsewhere(args)) is not None:
                return code

            def step(text: str) -> None:
                interrupts.check()
                progress.tell(text)

            return _demo(args, step)
    except Stopped as stopped:
        progress.done()
        ending = "clean again" if args.clean else "the demo left nothing behind"
        print(f"beewire: stopped; {ending}", file=sys.stderr)
        return stopped.exit_code
    finally:
        progress.done()


def _elsewhere(args: argparse.Namespace) -> int | None:
    # In a guest, where this kernel does not let it run; None where it does.
    from beewire.cli.elsewhere import refusals, run_in_guest  # noqa: PLC0415
    from beewire.mesh.lab.demo import DemoConfig  # noqa: PLC0415

    why = refusals()
    if not why:
        return None
    if args.json:
        raise UsageError(
            "--json has no use here: this machine refuses what the demo needs"
            f" ({why[0].name}: {why[0].detail}), and figures of a guest measure nothing"
        )
    # What is not measured need not be repeated.
    rounds = 1 if args.rounds == DemoConfig().rounds else args.rounds
    options = {"seconds": args.seconds, "connections": args.connections}
    words = [f"--{name}={value}" for name, value in options.items()]
    return run_in_guest([*words, f"--rounds={rounds}"], why)


def _clean() -> int:
    from beewire.mesh.lab.runs import clean  # noqa: PLC0415

    removed = clean()
    if removed:
        print(f"removed what {len(removed)} dead lab(s) left: {', '.join(removed)}")
    else:
        print("no dead lab left anything behind")
    return 0


def _demo(args: argparse.Namespace, step: Callable[[str], None]) -> int:
    from beewire.mesh.lab.demo import DemoConfig, run_demo  # noqa: PLC0415
    from beewire.mesh.lab.report import as_json, errors, other_cores  # noqa: PLC0415
    from beewire.mesh.lab.table import Style, figures_table, hops_table  # noqa: PLC0415

    file = writable(args.json)
    config = DemoConfig(
        seconds=args.seconds, connections=args.connections, rounds=args.rounds
    )
    result = run_demo(config, step)
    if file is not None:
        write(file, as_json(result))
    style = Style(colour=wants_colour(sys.stdout), unicode=_speaks_unicode(sys.stdout))
    print(figures_table(result, style))
    other = other_cores(result).value
    if other >= BUSY_CORES:
        print(f"\nOther programs kept {other:.1f} CPUs busy: trust the ratios less.")
    sides = {"Istio's iptables rules": result.iptables, "Beewire": result.beewire}
    for name, side in sides.items():
        print(f"\nOne connection under {name}:")
        print(hops_table(side.hops, style))
    failed = errors(result.beewire)
    if failed:
        print(f"beewire: {failed} requests failed under Beewire", file=sys.stderr)
    return 1 if failed else 0


def writable(name: str | None) -> Path | None:
    """The file that `name` stands for: tried before a minute of measuring, not after.

    Raises:
        UsageError: It cannot be written.
    """
    if name is None:
        return None
    path = Path(name)
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"{name} cannot be written")
    return path


def write(file: Path, figures: dict[str, object]) -> None:
    """Write `figures` as JSON.

    Raises:
        UsageError: The file cannot be written.
    """
    try:
        file.write_text(json.dumps(figures, indent=2) + "\n")
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from error


def _speaks_unicode(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().replace("-", "") == "utf8"


class Progress:
    """What is being done: one line that changes on a terminal, one line each elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._changes = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._shown = False

    def tell(self, text: str) -> None:
        """Show `text`; "" shows nothing any more."""
        if self._changes:
            # What wraps would stay: only the line that the cursor is in is taken away.
            self._stream.write(f"\r\x1b[K{text[: self._columns() - 1]}")
            self._shown = bool(text)
        elif text:
            self._stream.write(f"{text}\n")
        self._stream.flush()

    def _columns(self) -> int:
        # A terminal that does not know its width says 0.
        return os.get_terminal_size(self._stream.fileno()).columns or USUAL_COLUMNS

    def done(self) -> None:
        """Take the changing line away."""
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._shown = False
