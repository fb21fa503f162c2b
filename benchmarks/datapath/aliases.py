"""Aliases: loopback addresses that stand for destinations.

A connection to an alias needs no state of its own. The address that it was rewritten to
says where it was going, on both of its ends and for as long as it lives. The first IPv4
destinations that a pod dials are given one each, in 127.65/16, and keep it: an alias is
never taken back, nor does it ever change its meaning. What has no alias (IPv6, or when
the maps are full) keeps its destination in its socket: see outbound and handover.
"""

from beewire.bpf import htonl, u32
from datapath.addresses import Endpoint
from datapath.state import aliases, originals

NET16 = htonl(0xFFFF0000)
FIRST_ALIAS = 0x7F410000  # 127.65.0.0
ALIAS_NET = htonl(FIRST_ALIAS)


def is_alias(ip: u32) -> bool:
    """Whether an IPv4 address is one that can stand for a destination."""
    return ip & NET16 == ALIAS_NET


def alias_of(wanted: Endpoint) -> u32:
    """The address that stands for a destination; 0 if it has none."""
    if (known := aliases.lookup(wanted)) is not None:
        return known.value
    # Not at random: when the pod is enrolled anew, a destination has its alias again, and
    # connections from before keep their names.
    mixed: u32 = (wanted.address.words[3] + wanted.port * 0x85EBCA6B) * 0x9E3779B1
    alias = htonl(FIRST_ALIAS | (mixed >> 16))
    if originals.insert(alias, wanted) != 0:  # it stands for another, or all are taken
        return 0
    if aliases.insert(wanted, alias) != 0:  # another CPU was faster
        del originals[alias]
        return 0
    return alias
