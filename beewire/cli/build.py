"""Compile the programs of a Python file into a BPF object: ELF, BTF, line info, CO-RE.

libbpf, bpftool, cilium/ebpf and aya load it, and so does Beewire. The same source gives
the same bytes, wherever it lies. Needs no root and no kernel.
"""

import argparse
import os
from pathlib import Path
from tempfile import NamedTemporaryFile

from beewire.bpf.author.collection import collect
from beewire.bpf.object import ObjectSpec, write
from beewire.cli.compiling import add_compiler_arguments, compiler_options
from beewire.cli.userfile import STDIN, import_file
from beewire.errors import UsageError

EPILOG = """\
examples:
  beewire build prog.py
  beewire build prog.py -o build/prog.bpf.o
  bpftool prog load prog.bpf.o /sys/fs/bpf/prog"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire build`."""
    parser.epilog = EPILOG
    parser.add_argument("file", metavar="FILE.py", type=Path, help="the programs")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        help="the object (default: FILE.bpf.o in this directory)",
    )
    add_compiler_arguments(parser)
    parser.add_argument(
        "--skeleton",
        metavar="FILE.py",
        type=Path,
        help="write a module besides that has the object in it, and no need to compile",
    )


def run(args: argparse.Namespace) -> int:
    """Compile and write."""
    path = Path("stdin") if args.file == STDIN else args.file.resolve()
    module = import_file(args.file if args.file == STDIN else path)
    spec = collect(module, name=path.stem, **compiler_options(args))
    shorten_paths(spec, path.parent)
    output = args.output or Path(f"{path.stem}.bpf.o")
    content = write(spec)
    text = ""
    if args.skeleton is not None:
        from beewire.bpf.author.skeleton import skeleton_text  # noqa: PLC0415 - if asked

        text = skeleton_text(module, spec, content)
    write_whole(output, content)
    if args.skeleton is not None:
        write_whole(args.skeleton, text.encode())
        print(f"{args.skeleton}: loads it")
    count = len(spec.programs)
    noun = "program" if count == 1 else "programs"
    print(f"{output}: {count} {noun}, {len(content)} bytes")
    return 0


def shorten_paths(spec: ObjectSpec, root: Path) -> None:
    """Name source files as seen from `root`, so that objects do not depend on it."""
    for program in spec.programs.values():
        program.lines = tuple(
            line._replace(file=short_path(line.file, root)) for line in program.lines
        )


def short_path(file: str, root: Path) -> str:
    """`file` as seen from `root`; of a file elsewhere, its directory and name."""
    path = Path(file)
    if path.is_relative_to(root):
        return str(path.relative_to(root))
    return "/".join(path.parts[-2:])


def write_whole(output: Path, content: bytes) -> None:
    """Write a file so that nobody ever sees half of it.

    Raises:
        UsageError: there is no such directory.
    """
    if not output.parent.is_dir():
        raise UsageError(f"there is no directory {output.parent}")
    if output.is_dir():
        raise UsageError(f"{output} is a directory; name the file to write")
    with NamedTemporaryFile(
        dir=output.parent, prefix=f".{output.name}.", delete=False
    ) as file:
        try:
            file.write(content)
            file.flush()
            os.chmod(file.name, 0o666 & ~umask())  # noqa: PTH101 - by its name
            Path(file.name).replace(output)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def umask() -> int:
    """The permissions that new files are made without."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
