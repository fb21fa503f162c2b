"""Laid-out parts to encoded instructions, with what the loader needs to know of them."""

from beewire.bpf.codegen.layout import inverse
from beewire.bpf.codegen.machine import EXIT, GOTO, LD_IMM64, NONE, Ins, Note, Part
from beewire.bpf.ir import CoreField, Span
from beewire.bpf.isa import Insn, InsnClass, JumpOp
from beewire.bpf.object.spec import CoreRelo, Relocation
from beewire.bpf.object.target import Target

_NEAR = range(-(1 << 15), 1 << 15)
_GOTO_LONG = int(InsnClass.JMP32 | JumpOp.JA)


class Emitted:
    """Instructions and records; `far` are the parts whose jumps do not reach."""

    __slots__ = ("core_relos", "far", "insns", "lines", "relocations")

    def __init__(self) -> None:
        self.insns: list[Insn] = []
        self.relocations: list[Relocation] = []
        self.lines: list[tuple[int, Span]] = []
        self.core_relos: list[CoreRelo] = []
        self.far: set[Part] = set()


_Row = tuple[Ins, Part | None, Part]  # instruction, what it jumps to, where it stands


def emit(
    parts: list[Part], target: Target, long: frozenset[Part] = frozenset()
) -> Emitted:
    """Encode `parts`; the branches of `long` go by way of a long jump (v4)."""
    rows: list[_Row] = []
    starts: dict[Part, int] = {}
    slot = 0
    for i, part in enumerate(parts):
        starts[part] = slot
        following = parts[i + 1] if i + 1 < len(parts) else None
        first = len(rows)
        rows += [(ins, None, part) for ins in part.ins]
        if part in long:
            _leave_long(part, rows)
        else:
            _leave(part, following, rows, target)
        slot += len(rows) - first
        slot += sum([ins.code == LD_IMM64 for ins in part.ins])
    return _encode(rows, starts, target)


def _leave(
    part: Part, following: Part | None, rows: list[_Row], target: Target
) -> None:
    """The jumps at the end of a part."""
    branch, goal = part.branch, part.next
    if branch is not None:
        other = inverse(branch.code, target)
        if part.then is following and goal is not following and other is not None:
            fields = (other, branch.dst, branch.src, 0, branch.imm)
            opposite = Ins(*fields, branch.reads, NONE, branch.span)
            rows.append((opposite, goal, part))
            return
        rows.append((branch, part.then, part))
    if goal is not None and goal is not following:
        if len(goal.ins) == 1 and goal.ins[0].code == EXIT:
            rows.append((goal.ins[0], None, part))
        else:
            rows.append((_goto(part), goal, part))


def _leave_long(part: Part, rows: list[_Row]) -> None:
    """If c goto +1; goto +1; gotol then; gotol next."""
    branch = part.branch
    if branch is not None:
        fields = (branch.code, branch.dst, branch.src, 1, branch.imm)
        rows.append((Ins(*fields, branch.reads, NONE, branch.span), None, part))
        rows.append((Ins(GOTO, 0, 0, 1, 0, (), NONE, branch.span), None, part))
        rows.append((_goto(part), part.then, part))
    rows.append((_goto(part), part.next, part))


def _goto(part: Part) -> Ins:
    last = part.branch or (part.ins[-1] if part.ins else None)
    return Ins(GOTO, 0, 0, 0, 0, (), NONE, last.span if last else None)


def _encode(rows: list[_Row], starts: dict[Part, int], target: Target) -> Emitted:
    out = Emitted()
    insns, lines = out.insns, out.lines
    span: Span | None = None
    slot = 0
    for ins, goal, part in rows:
        if ins.span is not span and ins.span is not None:
            if ins.span != span:
                lines.append((slot, ins.span))
            span = ins.span
        if ins.note is not None:
            _note(slot, ins.note, out)
        slot += 2 if ins.code == LD_IMM64 else 1
        if goal is None:
            insns.append(Insn._make((ins.code, ins.dst, ins.src, ins.off, ins.imm)))
            continue
        off = starts[goal] - slot
        if off in _NEAR:
            insns.append(Insn(ins.code, ins.dst, ins.src, off, ins.imm))
        elif ins.code == GOTO and target.at_least(4):
            insns.append(Insn(_GOTO_LONG, 0, 0, 0, off))
        else:
            out.far.add(part)
    return out


def _note(slot: int, note: Note, out: Emitted) -> None:
    if isinstance(note, CoreField):
        out.core_relos.append(CoreRelo(slot, note.type, note.access, note.kind))
    else:
        out.relocations.append(Relocation(slot, *note))
