"""The lists of a configuration: ports, users, groups, ranges."""

from beewire.bpf import u32
from beewire.mesh.programs.addresses import MAPPED, Address
from beewire.mesh.programs.state import Number, Range, numbers, ranges

LIST_BITS = 16  # `1 << (LIST_BITS + list)` in the flags: the list is not empty
IPV6_RANGES = 1 << 8  # part of `Range.listed`: ::/0 has no IPv4 addresses in it
WHOLE_KEY = 32 + 128  # bits of a range's key: list, address


def is_mapped(address: Address) -> bool:
    """Whether an address is an IPv4 one."""
    return address.words[2] == MAPPED and address.words[0] | address.words[1] == 0


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
    family = 0 if is_mapped(address) else IPV6_RANGES
    key = Range(bits=WHOLE_KEY, listed=listed | family, address=address)
    return key in trie
