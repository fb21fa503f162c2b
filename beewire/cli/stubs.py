"""Write Kernel classes of kernel structs, with all their fields, as a Python module.

Programs import them, type checkers and editors read them. The types are the running
kernel's, or those of a BTF file. Needs no root.
"""

import argparse
import platform
from pathlib import Path

from beewire.bpf.btf import Index
from beewire.bpf.lang.stubs import stub_module
from beewire.cli.build import write_whole
from beewire.errors import DecodingError, UsageError

VMLINUX = Path("/sys/kernel/btf/vmlinux")
EPILOG = """\
examples:
  beewire stubs task_struct sock -o kernel_types.py
  beewire stubs sk_buff --btf vmlinux-5.10.btf"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire stubs`."""
    parser.epilog = EPILOG
    parser.add_argument(
        "names", nargs="+", metavar="STRUCT", help="a struct or union of the kernel"
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="the module (default: print)"
    )
    parser.add_argument(
        "--btf", metavar="FILE", type=Path, help="types of another kernel"
    )


def run(args: argparse.Namespace) -> int:
    """Write them."""
    origin = f"Linux {platform.release()}" if args.btf is None else args.btf.name
    text = stub_module(args.names, types_of(args.btf), f"Structs of {origin}")
    if args.output is None:
        print(text, end="")
        return 0
    write_whole(args.output, text.encode())
    print(f"{args.output}: {', '.join(args.names)}")
    return 0


def types_of(path: Path | None) -> Index:
    """The types in the file `path`, or those of the running kernel.

    Raises:
        UsageError: this kernel has no BTF, or the file holds none.
    """
    if path is None and not VMLINUX.exists():
        raise UsageError(
            "this kernel has no BTF (CONFIG_DEBUG_INFO_BTF); name another's with --btf"
        )
    try:
        return Index.build((path or VMLINUX).read_bytes())
    except DecodingError as error:
        raise UsageError(f"{path}: {error}") from None
