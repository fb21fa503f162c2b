"""Where each register is live, as Python ints with a bit for each instruction.

Bit i of a range says: live just after instruction i. Two registers that are never live
after the same instruction can be one; `&` of two ranges tells.
"""

from beewire.bpf.codegen.machine import CALL, MOV, Ins, Machine, Part


class Ranges:
    """Ranges, definitions and weights of all registers, by number.

    `writes` are instructions that write the context: index, first and last byte.
    """

    __slots__ = (
        "calls",
        "code",
        "defs",
        "live",
        "moves",
        "starts",
        "weight",
        "writes",
    )

    def __init__(self, registers: int) -> None:
        self.code: list[Ins] = []
        self.starts: list[int] = []
        self.live = [0] * registers
        self.defs = [0] * registers
        self.weight = [0] * registers
        self.calls = 0
        self.moves: list[tuple[int, int, Ins]] = []
        self.writes: list[tuple[int, int, int]] = []


def analyse(machine: Machine) -> Ranges:
    """Number the instructions in the order of the parts and find all ranges."""
    ranges = Ranges(machine.registers)
    code = ranges.code
    for part in machine.parts:
        ranges.starts.append(len(code))
        code += part.ins
        if part.branch is not None:
            code.append(part.branch)
    ranges.starts.append(len(code))
    outs = _flow(machine.parts)
    for i, part in enumerate(machine.parts):
        _walk(ranges, part, ranges.starts[i], ranges.starts[i + 1], outs[i])
    if machine.writes:
        for i, ins in enumerate(code):
            if ins in machine.writes:
                ranges.writes.append((i, *machine.writes[ins]))
    for register in range(6):
        ranges.live[register] |= ranges.calls
        ranges.defs[register] |= ranges.calls
    return ranges


_Set = set[int] | frozenset[int]


def _flow(parts: list[Part]) -> list[_Set]:
    """The registers live at the end of each part."""
    number = {part: i for i, part in enumerate(parts)}
    effects = [_effect(part) for part in parts]
    ways = [[number[p] for p in (part.then, part.next) if p] for part in parts]
    goes_back = any(i >= min(way, default=i + 1) for i, way in enumerate(ways))
    ins: list[_Set] = [use for use, _ in effects]
    outs: list[_Set] = [_NONE] * len(parts)
    changed = True
    while changed:
        changed = False
        for i in range(len(parts) - 1, -1, -1):
            out = _NONE.union(*[ins[j] for j in ways[i]])
            if out != outs[i]:
                outs[i] = out
                use, written = effects[i]
                ins[i] = use | (out - written)
                changed = goes_back  # else all that follows was done before
    return outs


_NONE: frozenset[int] = frozenset()


def _effect(part: Part) -> tuple[set[int], set[int]]:
    """What the part reads before it writes it, and what it writes."""
    use: set[int] = set()
    written: set[int] = set()
    for ins in part.ins:
        for register in ins.reads:
            if register not in written:
                use.add(register)
        if ins.write >= 0:
            written.add(ins.write)
    if part.branch is not None:
        use.update([each for each in part.branch.reads if each not in written])
    return use, written


def _walk(ranges: Ranges, part: Part, start: int, end: int, out: _Set) -> None:
    """Go backwards through a part; a range is from a definition to its last use."""
    live, defs, weight = ranges.live, ranges.defs, ranges.weight
    code = ranges.code
    factor = 8 ** min(part.depth, 6)
    until = dict.fromkeys(out, end)
    for i in range(end - 1, start - 1, -1):
        ins = code[i]
        register = ins.write
        if register >= 0:
            bit = 1 << i
            live[register] |= (1 << until.pop(register, i + 1)) - bit
            defs[register] |= bit
            weight[register] += factor
            kind = ins.code
            if kind == MOV:
                if not ins.off:
                    ranges.moves.append((factor, i, ins))
            elif kind == CALL:
                ranges.calls |= bit
        for register in ins.reads:
            weight[register] += factor
            if register not in until:
                until[register] = i
    first = 1 << start
    for register, last in until.items():
        live[register] |= (1 << last) - first
