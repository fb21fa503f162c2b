"""The lists of a configuration: ports, users, groups, ranges."""

from beewire.bpf import u32
from beewire.mesh.programs.addresses import Address
from beewire.mesh.programs.state import Number, Range, numbers, ranges

LIST_BITS = 16  # `1 << (LIST_BITS + list)` in the flags: the list is not empty
WHOLE_KEY = 32 + 128  # bits of a range's key: list, address


def has(flags: u32, owner: u32, listed: u32, number: u32) -> bool:
    """Whether a list names a port, a user, a group or an interface."""
    if flags & (1 << (LIST_BITS + listed)) == 0:
        return False
    return Number(owner=owner, listed=listed, number=number) in numbers


def covers(flags: u32, owner: u32, listed: u32, address: Address) -> bool:
    """Whether a range of a list covers an address."""
    if flags & (1 << (LIST_BITS + listed)) == 0:
        return False
    if (trie := ranges.lookup(owner)) is None:
        return False
    return Range(bits=WHOLE_KEY, listed=listed, address=address) in trie
