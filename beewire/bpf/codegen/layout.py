"""Puts the coloured parts in a row: what falls through, what jumps, and where to.

    part a: if r1 != 0 goto c            a:  if r1 == 0 goto d
            next b                =>     c:  r0 = 1
    part b: (empty), next d              d:  exit
    part c: r0 = 1, next d

Moves of a register to itself go, calls get their arguments, empty parts and exits are
gone through, and a lone move in front of a join is made before the branch instead, if
the other way does not mind.
"""

from beewire.bpf.codegen.machine import (
    ADD_IMM,
    ADDRESS,
    CALL,
    FRAME,
    MOV,
    MOV_IMM,
    NONE,
    Ins,
    Machine,
    Part,
)
from beewire.bpf.codegen.tails import merge_tails
from beewire.bpf.object.target import Target

_ROUNDS = 6  # of merging: an end may lead to parts that have just become one
_FAR = 64  # parts to look through for a reader of a register
_NOTHING: frozenset[int] = frozenset()
_HOIST = 2  # moves worth making on both ways, to be rid of one jump


def layout(machine: Machine) -> list[Part]:
    """The parts in their final order; all instructions are ones that can be encoded."""
    for part in machine.parts:
        part.ins = _expand(part.ins)
    parts = _share_exit(machine.parts)
    _shorten(parts)
    parts = _order(parts[0], machine.target)
    for _ in range(_ROUNDS):
        if not merge_tails(parts, machine.apart):
            break
        _shorten(parts)
        parts = _order(parts[0], machine.target)
    if _hoist(parts):
        _shorten(parts)
        parts = _order(parts[0], machine.target)
    return parts


def _expand(code: list[Ins]) -> list[Ins]:
    out: list[Ins] = []
    for ins in code:
        kind = ins.code
        if kind == MOV and ins.dst == ins.src and not ins.off:
            continue
        if kind == CALL:
            _arguments(ins, out)
            out.append(ins)
        elif kind == ADDRESS:
            _address(ins, out)
        else:
            out.append(ins)
    return out


def _arguments(call: Ins, out: list[Ins]) -> None:
    """Move all at once what is in registers, then make the rest."""
    waiting = {dst: src for dst, src in call.moves if dst != src}
    while waiting:
        sources = set(waiting.values())
        free = next((dst for dst in waiting if dst not in sources), NONE)
        if free == NONE:
            # A circle. r0 is no argument, and the call will write it.
            dst, src = next(iter(waiting.items()))
            out.append(_move(0, src, call))
            waiting[dst] = 0
        else:
            out.append(_move(free, waiting.pop(free), call))
    for ins in call.setup:
        if ins.code == ADDRESS:
            _address(ins, out)
        else:
            out.append(ins)


def _move(dst: int, src: int, call: Ins) -> Ins:
    return Ins(MOV, dst, src, 0, 0, (src,), dst, call.span)


def _address(ins: Ins, out: list[Ins]) -> None:
    dst = ins.dst
    out.append(Ins(MOV, dst, FRAME, 0, 0, (FRAME,), dst, ins.span))
    out.append(Ins(ADD_IMM, dst, 0, 0, ins.imm, (dst,), dst, ins.span))


def _share_exit(parts: list[Part]) -> list[Part]:
    """One part that exits, which all others go to."""
    last = Part("exit", 0)
    for part in parts:
        if part.next is None:
            last.ins = [part.ins.pop()]
            part.next = last
    return [*parts, last] if last.ins else parts


def _shorten(parts: list[Part]) -> None:
    """Go past parts that do nothing; drop branches that go one way."""
    for part in parts:
        if part.next is not None:
            part.next = _skip(part.next)
        if part.then is not None:
            part.then = _skip(part.then)
            if part.then is part.next:
                part.then = part.branch = None


def _skip(part: Part) -> Part:
    for _ in range(64):  # an empty endless loop stays one
        if part.ins or part.branch is not None or part.next is None:
            break
        part = part.next
    return part


def _order(entry: Part, target: Target) -> list[Part]:
    """Reverse postorder, loops in one piece, the way that needs no jump next."""
    seen = {entry}
    order: list[Part] = []
    stack = [(entry, _ways(entry, target))]
    while stack:
        part, waiting = stack[-1]
        if not waiting:
            order.append(part)
            stack.pop()
            continue
        way = waiting.pop()
        if way not in seen:
            seen.add(way)
            stack.append((way, _ways(way, target)))
    order.reverse()
    return order


def _ways(part: Part, target: Target) -> list[Part]:
    """The successors; the last one shall stand next."""
    if part.next is None:
        return []
    if part.then is None or part.branch is None:
        return [part.next]
    if part.then.depth < part.next.depth or inverse(part.branch.code, target) is None:
        return [part.then, part.next]
    return [part.next, part.then]


_INVERSE = {
    0x10: 0x50,
    0x20: 0xB0,
    0x30: 0xA0,
    0x60: 0xD0,
    0x70: 0xC0,
}
_SINCE_V2 = frozenset(_INVERSE.values()) - {0x50}
_INVERSE |= {b: a for a, b in _INVERSE.items()}


def inverse(code: int, target: Target) -> int | None:
    """The conditional jump that goes the other way, if there is one (not for JSET)."""
    other = _INVERSE.get(code & 0xF0)
    if other is None or (not target.at_least(2) and other in _SINCE_V2):
        return None
    return code & 0x0F | other


def _hoist(parts: list[Part]) -> bool:
    """Make the only moves of a part before the branch to it, so that it falls away."""
    entries: dict[Part, int] = {}
    for part in parts:
        for way in (part.then, part.next):
            if way is not None:
                entries[way] = entries.get(way, 0) + 1
    candidates = [p for p in parts if entries.get(p) == 1 and _is_moves(p)]
    if not candidates:
        return False
    changed = False
    wanted = set(candidates)
    for part in parts:
        if part.branch is None:
            continue
        for here, other in ((part.then, part.next), (part.next, part.then)):
            if here in wanted and other is not None and here is not None:
                written = {ins.write for ins in here.ins}
                if written.isdisjoint(part.branch.reads) and _is_free(other, written):
                    part.ins += here.ins
                    here.ins = []
                    changed = True
                    break
    return changed


def _is_moves(part: Part) -> bool:
    return (
        part.branch is None
        and part.next is not None
        and 0 < len(part.ins) <= _HOIST
        and all(ins.code in {MOV, MOV_IMM} and not ins.off for ins in part.ins)
    )


def _is_free(part: Part, registers: set[int]) -> bool:
    """Whether nobody reads what `registers` hold at the start of `part`, as far as seen."""
    seen = {part: registers}
    waiting = [part]
    while waiting and len(seen) < _FAR:
        part = waiting.pop()
        left = _left(part, seen[part])
        if left is None:
            return False
        for way in (part.then, part.next) if left else ():
            if way is not None and not left <= seen.get(way, _NOTHING):
                seen[way] = left | seen.get(way, _NOTHING)
                waiting.append(way)
    return not waiting


def _left(part: Part, registers: set[int]) -> set[int] | None:
    """Those of `registers` that `part` leaves alone; None if it reads one first."""
    for ins in part.ins:
        if not registers.isdisjoint(ins.reads):
            return None
        if ins.write in registers:
            registers = registers - {ins.write}
    branch = part.branch
    return None if branch and not registers.isdisjoint(branch.reads) else registers
