"""Run a command under another kernel, in a virtual machine of QEMU.

Kernels come from Debian's archive and are kept. The command finds this machine's files at
the same paths, and is root among them; what it writes is gone with the guest. Its output
comes as it is written, and its exit code is the command's. Needs no root.
"""

import argparse
import json
import os
import re
import sys
from pathlib import Path

from beewire import guest
from beewire.cli.report import report
from beewire.errors import GuestError, UsageError
from beewire.interrupts import Stopped, unwinding

EPILOG = """\
examples:
  beewire guest --kernel 5.10 -- uname -a
  beewire guest --kernel 6.12 -- python -m pytest -q tests/bpf/kernel
  beewire guest --kernel newest --module tls -- sh -c 'lsmod | grep tls'
  beewire guest --list                   the kernels that are here already

The exit code is the command's; 124 means that --timeout ended it, 125 that there was
no guest to run it in."""

NO_GUEST = 125


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire guest`."""
    parser.epilog = EPILOG
    parser.usage = "beewire guest [OPTION ...] -- COMMAND [ARGUMENT ...]"
    parser.add_argument(
        "words", metavar="COMMAND", nargs="*", help="what to run, and its arguments"
    )
    parser.add_argument(
        "--kernel",
        default="newest",
        metavar="NAME",
        help="a series (6.12), a release (6.12.117), newest (the default), or a"
        " directory that has one",
    )
    parser.add_argument(
        "--timeout", type=_seconds, metavar="S", help="end the command after S seconds"
    )
    size = guest.Size()
    parser.add_argument(
        "--memory",
        type=_whole,
        default=size.memory_mb,
        metavar="MB",
        help="how much it has (default: %(default)s)",
    )
    parser.add_argument(
        "--cpus",
        type=_whole,
        default=size.cpus,
        metavar="N",
        help="how many it has (default: %(default)s)",
    )
    parser.add_argument(
        "--module",
        action="append",
        default=[],
        metavar="NAME",
        help="load this kernel module first; may be repeated",
    )
    parser.add_argument(
        "--append",
        default="",
        metavar="WORDS",
        help="more words for the kernel's command line",
    )
    parser.add_argument(
        "--share",
        choices=guest.SHARES,
        help="how it sees this machine's files (default: virtiofs, or 9p without it)",
    )
    others = parser.add_argument_group("instead of running a command")
    others.add_argument("--list", action="store_true", help="tell the kept kernels")
    others.add_argument("--json", metavar="FILE", help="with --list: write it to FILE")
    others.add_argument("--clean", action="store_true", help="remove the kept kernels")


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def _whole(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,6}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Run the command that `args` ask for, and return its exit code."""
    if args.clean:
        return _clean()
    if args.list:
        return _list(args.json)
    if not args.words:
        raise UsageError("what is to be run? beewire guest --kernel 6.12 -- COMMAND")
    try:
        with unwinding():
            return _run(args)
    except Stopped as stopped:
        return stopped.exit_code
    except GuestError as error:
        report(error)
        return NO_GUEST


def _run(args: argparse.Namespace) -> int:
    share = guest.SHARES[args.share] if args.share else guest.usual_share()
    kernel = guest.obtain(args.kernel, _tell, flavour=share.flavour)
    reads = sys.stdin is not None and not sys.stdin.isatty()
    command = guest.Command(
        args.words, Path.cwd(), os.environ, reads=reads, modules=args.module
    )
    options = guest.Options(
        size=guest.Size(args.memory, args.cpus),
        share=share,
        timeout_s=args.timeout,
        kernel_words=args.append.split(),
    )
    ended = guest.run(
        kernel,
        command,
        options,
        output=guest.writer(1),
        errors=guest.writer(2),
        stdin=sys.stdin.fileno() if reads else None,
    )
    if ended.exit_code == guest.TIMED_OUT and ended.timed_out:
        _tell(f"{args.words[0]} did not end in {args.timeout:g} s")
    return ended.exit_code


def _tell(text: str) -> None:
    print(f"beewire: {text}", file=sys.stderr, flush=True)


def _list(file: str | None) -> int:
    kernels = guest.cached()
    if file:
        told = [{"release": each.release, "path": str(each.root)} for each in kernels]
        Path(file).write_text(json.dumps(told, indent=2) + "\n")
        return 0
    for kernel in kernels:
        print(f"{kernel.release:32} {kernel.root}")
    if not kernels:
        print(f"none yet; tested are {', '.join(guest.MATRIX)}: --kernel gets them")
    return 0


def _clean() -> int:
    gone = guest.clean()
    print(f"removed {', '.join(gone)}" if gone else "there was nothing to remove")
    return 0
