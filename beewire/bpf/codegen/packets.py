"""Reads of packets: each byte once, until something may have been written.

    %2 = load u8 packet [%1+13]           %2 = load u8 packet [%1+13]
    branch set64 %2, 2 -> a, b            branch set64 %2, 2 -> a, b
    block a:                        =>    block a:
      %3 = load u8 packet [%1+13]
      branch set64 %3, 16 -> c, d           branch set64 %2, 16 -> c, d

No other CPU works on a packet while a program does. What holds at the end of a block
holds in the one that only it leads to.
"""

from beewire.bpf.codegen.arith import MASK
from beewire.bpf.codegen.bits import Bits
from beewire.bpf.ir import Block, Kind, Load, Op, Space, Store

_Key = tuple[Op, int, int, bool]  # base, offset, size, signed


class PacketReads:
    """Which fields of packets are known where."""

    __slots__ = ("bits", "ends", "known")

    def __init__(self, bits: Bits) -> None:
        self.bits = bits
        self.known: dict[_Key, Op] = {}
        self.ends: dict[Block, dict[_Key, Op]] = {}

    def enter(self, block: Block) -> None:
        """Begin with what the only predecessor knew."""
        before = self.ends.get(block.preds[0]) if len(block.preds) == 1 else None
        self.known = dict(before) if before else {}

    def leave(self, block: Block) -> None:
        """Keep for the successors what is known."""
        if self.known:
            self.ends[block] = self.known

    def load(self, op: Load) -> Op | None:
        """What `op` would read, if that is known; else it is from now on."""
        if op.kind is not Kind.INT:
            return None
        key = (op.args[0], op.offset, op.size, op.signed)
        found = self.known.get(key)
        if found is None:
            self.known[key] = op
        return found

    def store(self, op: Store) -> None:
        """Forget what the store may change; remember what it wrote."""
        if op.space not in {Space.PACKET, Space.MEM}:
            return
        base, start = op.args[0], op.offset
        end = start + op.size
        if self.known:
            self.known = {
                key: value
                for key, value in self.known.items()
                if key[0] is base and (key[1] >= end or key[1] + key[2] <= start)
            }
        value = op.args[1]
        fits = self.bits.maybe(value) <= MASK[op.size * 8]
        if op.space is Space.PACKET and value.kind is Kind.INT and fits:
            self.known[base, start, op.size, False] = value

    def forget(self) -> None:
        """A call, or an atomic operation, may write anything."""
        self.known = {}
