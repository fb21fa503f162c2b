"""The way that the verifier followed to the refusal, told by lines and variables.

A log has the instructions in the order in which they were verified; where the verifier
comes back to a branch it took the other way before, what it saw in between is no part of
this way and is dropped. What a variable is comes from the instruction that last wrote it:
the one that stands, by its line and column, in the value of the variable's assignment.

Imported only after a refusal; needs the source, where that can be read.
"""

import ast
import linecache
import re
from collections.abc import Iterator
from typing import NamedTuple

from beewire.bpf.isa import CALL, Insn, InsnClass
from beewire.bpf.kernel.assemble import Image
from beewire.bpf.kernel.log import in_words, registers
from beewire.bpf.object import LineInfo

_STEP = re.compile(r"^(\d+): \(([0-9a-f]{2})\)")
_RESUME = re.compile(r"^from (\d+) to \d+")
_SHOWN = 12  # lines of the way that are told


class Step(NamedTuple):
    """One verified instruction: its slot, and the registers' states after it."""

    slot: int
    after: dict[int, str]


class _Assignment(NamedTuple):
    """A name that is assigned, and the place of the value: (line, column) to the end."""

    name: str
    start: tuple[int, int]
    end: tuple[int, int]


def steps_of(log: str) -> list[Step]:
    """The verified instructions on the way to the end of `log`, first to last."""
    steps: list[Step] = []
    for line in log.partition("\nVerification failed: ")[0].split("\n"):
        if step := _STEP.match(line):
            steps.append(Step(int(step[1]), registers(line)))
        elif resumed := _RESUME.match(line):
            branch = int(resumed[1])
            while steps and steps[-1].slot != branch:
                steps.pop()
            steps.append(Step(branch, registers(line)))
    return steps


def way(image: Image, steps: list[Step]) -> str:
    """The source lines that were passed, each run of them once; "" where too few."""
    lines: list[LineInfo] = []
    for step in steps:
        line = line_at(image.lines, step.slot)
        if line is not None and (not lines or lines[-1].line != line.line):
            lines.append(line)
    if len(lines) < 2:
        return ""
    shown = ", ".join(str(line.line) for line in lines[-_SHOWN:])
    return f"the way here: lines {'..., ' * (len(lines) > _SHOWN)}{shown}"


def line_at(lines: list[LineInfo], slot: int) -> LineInfo | None:
    """The last source position at or before `slot`."""
    found = [line for line in lines if line.slot <= slot]
    return max(found, key=lambda line: line.slot, default=None)


def variables(image: Image, steps: list[Step], slot: int) -> list[str]:
    """What the variables of the line at `slot` are there, in words, by their names."""
    line = line_at(image.lines, slot)
    tree = _tree(line.file) if line else None
    if line is None or tree is None:
        return []
    assigned = list(_assignments(tree))
    told = []
    for name in _names(tree, line.line):
        state = _state(image, steps, [a for a in assigned if a.name == name])
        if state:
            told.append(f"{name} is {in_words(state)}")
    return told


def _state(image: Image, steps: list[Step], places: list[_Assignment]) -> str:
    """The last state known of what the latest of `places` put into a register."""
    state, register = "", -1
    for step in steps:
        line = line_at(image.lines, step.slot)
        insn = image.insns[step.slot] if step.slot < len(image.insns) else None
        target = _written(insn)
        here = (line.line, line.column) if line else (0, 0)
        if target >= 0 and any(place.start <= here <= place.end for place in places):
            state, register = "", target
        elif target == register or (insn and insn.opcode == CALL and register < 6):
            register = -1  # something else is in it from here on
        if register >= 0:
            state = step.after.get(register, state)
    return state


def _written(insn: Insn | None) -> int:
    """The register that an instruction writes, or -1."""
    if insn is None:
        return -1
    if insn.opcode == CALL:
        return 0
    group = insn.opcode & 7
    writes = {InsnClass.ALU, InsnClass.ALU64, InsnClass.LD, InsnClass.LDX}
    return insn.dst if group in writes else -1


def _tree(file: str) -> ast.Module | None:
    text = "".join(linecache.getlines(file))
    try:
        return ast.parse(text) if text else None
    except SyntaxError:
        return None


def _assignments(tree: ast.Module) -> Iterator[_Assignment]:
    """Every name that is assigned a value of its own, with the value's place."""
    for node in ast.walk(tree):
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.NamedExpr(target=ast.Name(id=name), value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                yield _place(name, value)
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple() as many):
                for target, value in zip(names, many.elts, strict=False):
                    if isinstance(target, ast.Name):
                        yield _place(target.id, value)
            case ast.withitem(context_expr=value, optional_vars=ast.Name(id=name)):
                yield _place(name, value)
            case _:
                continue


def _place(name: str, value: ast.expr) -> _Assignment:
    end = (value.end_lineno or value.lineno, (value.end_col_offset or 0) + 1)
    return _Assignment(name, (value.lineno, value.col_offset + 1), end)


def _names(tree: ast.Module, line: int) -> list[str]:
    """The names that stand in `line`."""
    found: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.lineno == line:
            found[node.id] = None
    return list(found)
