"""Makes one register of the two ends of a copy, where their lives do not collide.

    v13 = v11                 (gone)
    v13 += v12        =>      v11 += v12

Registers collide where one is written while the other is live, unless what is written
is the other's own value (Chaitin 1981).
"""

from beewire.bpf.codegen.liveness import Ranges
from beewire.bpf.codegen.machine import FIRST_VIRTUAL, MOV, Ins


class Webs:
    """Which registers became one: `find` gives the one that stands for them."""

    __slots__ = ("parent",)

    def __init__(self, registers: int) -> None:
        self.parent = list(range(registers))

    def find(self, register: int) -> int:
        """The register that stands for `register`."""
        parent = self.parent
        root = register
        while parent[root] != root:
            root = parent[root]
        while parent[register] != root:
            parent[register], register = root, parent[register]
        return root


_MOST = 8  # copies between one pair of webs that are worth a look


def _copies(bits: int, a: int, b: int, code: list[Ins], webs: Webs) -> int:
    """Those of `bits` where the code copies between `a` and `b`: a Phi's other edges."""
    found = 0
    if bits.bit_count() > _MOST:
        return found
    while bits:
        low = bits & -bits
        bits ^= low
        ins = code[low.bit_length() - 1]
        if ins.code == MOV and not ins.off:
            pair = webs.find(ins.dst), webs.find(ins.src)
            if pair in {(a, b), (b, a)}:
                found |= low
    return found


def coalesce(ranges: Ranges) -> Webs:
    """Join what copies join, the hottest first; `ranges` then holds for whole webs."""
    webs = Webs(len(ranges.live))
    find = webs.find
    live, defs, weight = ranges.live, ranges.defs, ranges.weight
    ranges.moves.sort(key=lambda move: (-move[0], move[1]))
    for factor, i, ins in ranges.moves:
        dst, src = find(ins.dst), find(ins.src)
        if dst == src or dst < FIRST_VIRTUAL or src < FIRST_VIRTUAL:
            continue
        copies = 1 << i
        apart = ((live[dst] & defs[src]) | (live[src] & defs[dst])) & ~copies
        if apart:
            more = _copies(apart, dst, src, ranges.code, webs)
            if more != apart:
                continue
            copies |= more
        webs.parent[src] = dst
        live[dst] |= live[src]
        defs[dst] = (defs[dst] | defs[src]) & ~copies
        weight[dst] += weight[src] - 2 * factor
    return webs
