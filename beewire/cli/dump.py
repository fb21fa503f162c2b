"""Show what is in a BPF object, or in a program that the kernel runs.

Instructions stand under the source lines they stem from, with what they refer to: maps,
globals, functions, CO-RE fields. Types are shown as C. With --jited, the machine code of a
program: disassembled where Beewire's extra `disassemble` is installed, else as bytes.
Exits with 2 where there is no such file or program.
"""

import argparse
from pathlib import Path

from beewire.bpf.object import read
from beewire.bpf.object.listing import insn_text, object_text
from beewire.bpf.object.spec import LineInfo
from beewire.cli.table import print_json
from beewire.errors import DecodingError, UsageError

EPILOG = """\
examples:
  beewire dump prog.bpf.o
  beewire dump --program 42
  beewire dump --program 42 --jited
  pip install 'beewire[disassemble]'     machine code in words, not bytes"""


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
    parser.add_argument(
        "--jited", action="store_true", help="the machine code of the --program"
    )
    parser.add_argument(
        "--json", action="store_true", help="the instructions of the --program as JSON"
    )


def run(args: argparse.Namespace) -> int:
    """Print it."""
    if args.program is not None:
        show_program(args.program, jited=args.jited, json=args.json)
        return 0
    for option in ("jited", "json"):
        if getattr(args, option):
            raise UsageError(f"--{option} goes with --program ID, not with a file")
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


def show_program(number: int, *, jited: bool, json: bool) -> None:
    """Print the program `number` of the kernel."""
    # Not imported for files: these need the kernel room.
    from beewire.bpf.kernel.inspect import program_listing  # noqa: PLC0415
    from beewire.bpf.kernel.jited import machine_listing  # noqa: PLC0415

    if json:
        print_json(machine_json(number) if jited else program_json(number))
    elif jited:
        print(machine_listing(number))
    else:
        print(program_listing(number))


def program_json(number: int) -> dict[str, object]:
    """What the verifier made of a program, for programs to read."""
    from beewire.bpf.kernel.inspect import program_dump  # noqa: PLC0415 - as above

    spec, notes, maps = program_dump(number)
    sources = {line.slot: line for line in spec.lines}
    slot, insns = 0, []
    for insn in spec.insns:
        insns.append(
            {
                "slot": slot,
                "text": insn_text(insn),
                "note": notes.get(slot, ""),
                "source": source(sources.get(slot)),
            }
        )
        slot += insn.slots
    kind = spec.section
    return {
        "id": number, "name": spec.name, "kind": kind, "maps": maps, "insns": insns
    }  # fmt: skip


def machine_json(number: int) -> dict[str, object]:
    """The machine code of a program, for programs to read."""
    from beewire.bpf.kernel.jited import instructions, machine_code  # noqa: PLC0415

    program = machine_code(number)
    functions = [
        {
            "name": each.name,
            "address": each.address,
            "size": len(each.code),
            "insns": [
                {
                    "offset": insn.offset,
                    "code": insn.code.hex(),
                    "text": insn.text,
                    "note": insn.note,
                    "source": source(dict(reversed(each.lines)).get(insn.offset)),
                }
                for insn in instructions(each)
            ],
        }
        for each in program.functions
    ]
    return {
        "id": number,
        "name": program.name,
        "kind": program.kind,
        "functions": functions,
    }


def source(line: LineInfo | None) -> dict[str, object] | None:
    """A source line, where an instruction begins one."""
    if line is None:
        return None
    return {
        "file": line.file, "line": line.line, "column": line.column, "text": line.text
    }  # fmt: skip
