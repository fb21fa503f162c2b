"""Places of instructions: `InsnArray` (Linux 6.19).

An array is filled with the offsets of instructions, frozen, and given to a program in
place of a jump table; the kernel then says where each of them ended up.
"""

from __future__ import annotations

from beewire.bpf.author.maps import Fixed
from beewire.bpf.lang import Struct
from beewire.bpf.lang.decl import MapDecl
from beewire.bpf.lang.types import U32, ValueType, u32
from beewire.bpf.object.kinds import MapKind


class InsnPlace(Struct):
    """Where one instruction is (`struct bpf_insn_array_value`), in slots; -1: gone.

    `original`: in the program as it is loaded, which user space sets. The kernel sets
    `translated`, and `jited`, in bytes of machine code.
    """

    original: u32
    translated: u32
    jited: u32
    unused: u32


class InsnArray(Fixed[int, InsnPlace], MapDecl):
    """Places of instructions by number; programs jump through it (`gotox`)."""

    kind = MapKind.INSN_ARRAY

    @property
    def key(self) -> ValueType:
        """Always u32."""
        return U32

    @property
    def value(self) -> ValueType:
        """An InsnPlace."""
        return InsnPlace.__layout__
