"""Aliases: loopback addresses that stand for destinations.

A connection to an alias needs no state of its own. The address that it was rewritten to
says where it was going, on both of its ends and for as long as it lives. The first IPv4
destinations that a pod dials are given one each, in 127.65/16, and keep it: an alias is
never taken back while the pod is enrolled, nor does it ever change its meaning. What has
no alias (IPv6, or when the pod has had its share) keeps its destination in its socket: see
outbound and handover.
"""

from beewire.bpf import htonl, u32, u64
from beewire.mesh.programs.addresses import MAPPED, Endpoint
from beewire.mesh.programs.state import (
    ALIASES_OF_A_POD,
    Alias,
    Named,
    alias_counts,
    aliases,
    originals,
)

NET16 = htonl(0xFFFF0000)
FIRST_ALIAS = 0x7F410000  # 127.65.0.0
ALIAS_NET = htonl(FIRST_ALIAS)


def is_alias(ip: u32) -> bool:
    """Whether an IPv4 address is one that can stand for a destination."""
    return ip & NET16 == ALIAS_NET


def meaning(netns: u64, ip: u32) -> Endpoint | None:
    """The destination that an alias stands for in a pod."""
    return originals.lookup(Alias(netns=netns, ip=ip))


def alias_of(netns: u64, ip: u32, port: u32) -> u32:
    """The address that stands for a destination; 0 if it has none."""
    wanted = Named(netns=netns, ip=ip, port=port)
    if (known := aliases.lookup(wanted)) is not None:
        return known.value
    return new_alias(wanted)


def new_alias(wanted: Named) -> u32:
    """An alias for a destination that has none yet; 0 if there is none to be had."""
    if (had := alias_counts.lookup(wanted.netns)) is None:
        return 0
    if had.value >= ALIASES_OF_A_POD:
        return 0
    # Not at random: when the pod is enrolled anew, a destination has its alias again, and
    # connections from before keep their names.
    mixed: u32 = (wanted.ip + wanted.port * 0x85EBCA6B) * 0x9E3779B1
    alias = Alias(netns=wanted.netns, ip=htonl(FIRST_ALIAS | (mixed >> 16)))
    meant = Endpoint(port=wanted.port)
    meant.address.words[2] = MAPPED
    meant.address.words[3] = wanted.ip
    if originals.insert(alias, meant) != 0:  # it stands for another, or all are taken
        return 0
    if aliases.insert(wanted, alias.ip) != 0:  # another CPU was faster
        del originals[alias]
        return 0
    had.value += 1
    return alias.ip
