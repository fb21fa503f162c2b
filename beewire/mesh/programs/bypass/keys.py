"""How the two ends of a connection name it, and find each other's namespace."""

from beewire.bpf import SockOps, htons, netns_cookie, ntohl, u64
from beewire.mesh.programs.addresses import AF_INET, MAPPED, Address
from beewire.mesh.programs.bypass.state import End
from beewire.mesh.programs.lists import is_mapped
from beewire.mesh.programs.sockets import is_loopback4, is_loopback6
from beewire.mesh.programs.state import owners


def name(end: End, ctx: SockOps) -> None:
    """This end of the connection; `socket` is left 0."""
    end.netns = netns_cookie(ctx)
    end.local_port = htons(ctx.local_port)
    end.remote_port = htons(ntohl(ctx.remote_port))
    if ctx.family == AF_INET:
        end.local.words[2] = MAPPED
        end.local.words[3] = ctx.local_ip4
        end.remote.words[2] = MAPPED
        end.remote.words[3] = ctx.remote_ip4
        return
    # Of an AF_INET6 socket with IPv4 the kernel keeps them mapped.
    end.local.words[0] = ctx.local_ip6[0]
    end.local.words[1] = ctx.local_ip6[1]
    end.local.words[2] = ctx.local_ip6[2]
    end.local.words[3] = ctx.local_ip6[3]
    end.remote.words[0] = ctx.remote_ip6[0]
    end.remote.words[1] = ctx.remote_ip6[1]
    end.remote.words[2] = ctx.remote_ip6[2]
    end.remote.words[3] = ctx.remote_ip6[3]


def mirror(end: End, own: End, netns: u64) -> None:
    """The other end of `own`, which stands in `netns`; `socket` is left 0."""
    end.netns = netns
    end.local = own.remote
    end.remote = own.local
    end.local_port = own.remote_port
    end.remote_port = own.local_port


def whoever(end: End, own: End) -> None:
    """The same end, `socket` being 0: its name in `greetings`."""
    end.netns = own.netns
    end.local = own.local
    end.remote = own.remote
    end.local_port = own.local_port
    end.remote_port = own.remote_port


def is_loopback(address: Address) -> bool:
    """Whether an address is one of every namespace."""
    if is_mapped(address):
        return is_loopback4(address.words[3])
    return is_loopback6(address)


def netns_beyond(own: End) -> u64:
    """The namespace in which the other end should stand; 0: on no pod of this node.

    Where two pods share an address it may be the wrong one. Nothing comes of that: the
    other end has to know the sequence numbers, too.
    """
    if is_loopback(own.remote) or is_loopback(own.local):
        return own.netns
    if (owner := owners.lookup(own.remote)) is None:
        return 0
    return owner.value
