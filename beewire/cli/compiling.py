"""What the commands that compile have in common on their command lines."""

import argparse
from typing import Any

from beewire.bpf.object.target import FEATURES, Target, parse_target
from beewire.errors import SpecError


def add_compiler_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare for which kernels, and by which back end, to compile."""
    parser.add_argument(
        "--target",
        metavar="T",
        type=target,
        default=Target(),
        help="the kernels it is for: v1 to v4, and features behind commas, of "
        f"{', '.join(FEATURES)} (default: v3 of Linux 5.17)",
    )
    parser.add_argument(
        "--optimize",
        choices=["llvm"],
        default="",
        help="let LLVM generate the code: smaller for large arithmetic programs (needs "
        "the extra beewire[llvm])",
    )


def target(text: str) -> Target:
    """The Target that a word names."""
    try:
        return parse_target(text)
    except SpecError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def compiler_options(args: argparse.Namespace) -> dict[str, Any]:
    """The keywords of collect() that the command line asks for."""
    return {"target": args.target, "optimize": args.optimize}
