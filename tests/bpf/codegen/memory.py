"""Flat memory and a few helpers, for the two interpreters that tests compare."""

import struct
from collections.abc import Callable

CTX = 0x1000_0000
MAP = 0x2000_0000
VALUES = 0x3000_0000
STACK = 0x4000_0000
SECTION = 0x5000_0000
PLACES = 4  # entries of the map


class Memory:
    """Regions of bytes at fixed addresses; anything else faults."""

    def __init__(self, ctx: bytes = b"", data: bytes = b"") -> None:
        self.regions: dict[int, bytearray] = {
            CTX: bytearray(ctx),
            VALUES: bytearray(PLACES * 8),
            SECTION: bytearray(data),
        }

    def add(self, base: int, size: int) -> None:
        self.regions[base] = bytearray(size)

    def read(self, address: int, size: int) -> int:
        region, at = self._find(address, size)
        return int.from_bytes(region[at : at + size], "little")

    def write(self, address: int, size: int, value: int) -> None:
        region, at = self._find(address, size)
        value &= (1 << size * 8) - 1
        region[at : at + size] = value.to_bytes(size, "little")

    def _find(self, address: int, size: int) -> tuple[bytearray, int]:
        for base, region in self.regions.items():
            if base <= address and address + size <= base + len(region):
                return region, address - base
        raise IndexError(f"{size} bytes at {address:#x}")

    def values(self) -> tuple[int, ...]:
        return struct.unpack(f"<{PLACES}Q", self.regions[VALUES])


def lookup(memory: Memory, args: list[int]) -> int:
    """bpf_map_lookup_elem on an array of u64."""
    assert args[0] == MAP
    key = memory.read(args[1], 4)
    return VALUES + key * 8 if key < PLACES else 0


Helper = Callable[[Memory, list[int]], int]
HELPERS: dict[int, Helper] = {1: lookup, 5: lambda _memory, _args: 12345}
