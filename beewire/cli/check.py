"""Compile the programs of a Python file, and say everything that is wrong with them.

Needs no root and no kernel. FILE may be `-` for standard input. Exits with 1 when there
is something to say.
"""

import argparse
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from beewire.bpf.author import Program
from beewire.bpf.author.collection import collect
from beewire.bpf.object import ProgramSpec
from beewire.cli.compiling import add_compiler_arguments, compiler_options
from beewire.cli.report import compile_faults
from beewire.cli.userfile import has_tables, import_file, programs_of
from beewire.errors import BeewireError, CompileError, Diagnostic, UsageError

EPILOG = """\
examples:
  beewire check examples/exec_time.py
  beewire check --json examples/exec_time.py | python3 -m json.tool
  beewire check - < count.py"""


class Checked(NamedTuple):
    """What became of a file: programs that compile, and faults with and without a place."""

    programs: list[ProgramSpec]
    faults: list[Diagnostic]
    others: list[BeewireError]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire check`."""
    parser.epilog = EPILOG
    parser.add_argument(
        "file", metavar="FILE.py", type=Path, help="the programs; - is standard input"
    )
    parser.add_argument(
        "--json", action="store_true", help="print what was found as JSON"
    )
    add_compiler_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Compile everything; 1 when something cannot be compiled."""
    checked = check(args.file, compiler_options(args))
    if args.json:
        print(json.dumps(as_json(args.file, checked), indent=1))
    else:
        for line in as_text(checked):
            print(line)
        for line in complaints(checked):
            print(line, file=sys.stderr)
    return 1 if checked.faults or checked.others else 0


def check(path: Path, options: dict[str, Any]) -> Checked:
    """Compile the programs of `path`, each by itself, so that all faults are found.

    Raises:
        UsageError: there is no such file, it raises an error, or has no programs.
    """
    try:
        module = import_file(path)
    except CompileError as error:
        return Checked([], list(error.diagnostics), [])
    programs = list(programs_of(module))
    if not programs and not has_tables(module):
        raise UsageError(
            f"{path} has no programs: mark a function with the hook that runs it, as in"
            " @tracepoint('sched:sched_process_exec')"
        )
    return compile_all(module, programs, options)


def compile_all(
    module: ModuleType, programs: list[Program[Any]], options: dict[str, Any]
) -> Checked:
    """Compile program by program; then the whole, where the parts are right."""
    checked = Checked([], [], [])
    seen: set[tuple[str, int, int, str]] = set()
    for program in programs:
        try:
            spec = collect(program, **options)
            checked.programs.append(spec.programs[program.name])
        except CompileError as error:
            for fault in error.diagnostics:
                place = (fault.filename, fault.line, fault.column, fault.message)
                if place not in seen:  # a function that two programs call
                    seen.add(place)
                    checked.faults.append(fault)
        except BeewireError as error:
            checked.others.append(error)
    if not checked.faults and not checked.others:
        try:
            collect(module, **options)
        except BeewireError as error:
            checked.others.append(error)
    return checked


def as_text(checked: Checked) -> list[str]:
    """A line for each program that compiles."""
    return [
        f"{program.name} ({program.section}): {slots(program)} instructions"
        for program in checked.programs
    ]


def slots(program: ProgramSpec) -> int:
    """The length of a program, as the kernel counts it."""
    return sum(insn.slots for insn in program.insns)


def complaints(checked: Checked) -> list[str]:
    """Every fault, as Python shows a SyntaxError; then those without a place."""
    lines = []
    if checked.faults:
        lines += compile_faults(CompileError(tuple(checked.faults)))
    for error in checked.others:
        lines += [f"beewire: {error}", *getattr(error, "__notes__", [])]
    return lines


def as_json(path: Path, checked: Checked) -> dict[str, object]:
    """What was found, for editors and build systems."""
    return {
        "file": str(path),
        "programs": [
            {
                "name": program.name,
                "section": program.section,
                "instructions": slots(program),
            }
            for program in checked.programs
        ],
        "diagnostics": [
            {
                "code": fault.code,
                "message": fault.message,
                "hint": fault.hint,
                "file": fault.filename,
                "line": fault.line,
                "column": fault.column,
                "end_line": fault.end_line,
                "end_column": fault.end_column,
            }
            for fault in checked.faults
        ],
        "errors": [str(error) for error in checked.others],
    }
