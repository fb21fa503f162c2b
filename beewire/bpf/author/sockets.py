"""Maps of sockets.

peers = SockHash[Key](max_entries=65536)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from beewire.bpf.author.bound import OnMap
from beewire.bpf.author.maps import Listed, delete
from beewire.bpf.lang import Sockets
from beewire.bpf.lang.decl import MapDecl
from beewire.bpf.lang.types import U32, U64, ValueType
from beewire.bpf.object.kinds import MapKind

if TYPE_CHECKING:
    from beewire.bpf.kernel.maps import HasFileno
    from beewire.bpf.lang.constants import SkAction
    from beewire.bpf.lang.contexts import (
        BpfSock,
        Context,
    )
    from beewire.bpf.lang.socket_contexts import (
        SockOps,
    )

K = TypeVar("K")


class SocketTable(Listed[K, int], Sockets[K]):
    """Operations that both maps of sockets share."""

    @property
    def value(self) -> ValueType:
        """A descriptor when written, the socket's cookie (u64, Linux 5.8) when read."""
        return U64

    def __getitem__(self, key: K) -> int:
        """The cookie of the socket at `key`."""
        cookie: int = self.live[key]
        return cookie

    def __setitem__(self, key: K, sock: int | HasFileno) -> None:
        self.live[key] = sock

    def __delitem__(self, key: K) -> None:
        del self.live[key]

    def lookup(self, key: K) -> BpfSock | None:
        """In programs: the socket at `key`, or None; give it back by `sk_release`."""
        self.in_programs("lookup", f"{self.name or 'socks'}[{key!r}], its cookie")

    def update(self, ctx: SockOps, key: K, flags: int = 0) -> int:
        """In sock_ops programs: put the context's socket at `key`; 0 or an error."""
        del ctx, flags
        self.in_programs("update", f"{self.name or 'socks'}[{key!r}] = sock")

    def redirect(self, ctx: Context, key: K, *, ingress: bool = False) -> SkAction:
        """In sk_msg programs: SK_PASS when the message went to the socket at `key`."""
        del ctx, key, ingress
        self.in_programs("redirect")

    def select(self, ctx: Context, key: K, flags: int = 0) -> int:
        """In sk_reuseport programs: let the socket at `key` have it; 0 or an error."""
        del ctx, key, flags
        self.in_programs("select")

    def delete(self, key: K) -> int:
        """Take the socket at `key` out: 0, or -ENOENT (-2)."""
        return delete(self.live, key)


class SockMap(SocketTable[K]):
    """Sockets by number, from 0 to `max_entries` - 1: `SockMap[u32](max_entries=2)`."""

    kind = MapKind.SOCKMAP

    @property
    def key(self) -> ValueType:
        """Always u32."""
        return U32


class SockHash(SocketTable[K]):
    """Sockets by key (Linux 4.18)."""

    kind = MapKind.SOCKHASH


class ReusePortSockArray(OnMap, MapDecl):
    """Listening sockets of one port by number (Linux 4.19).

    In sk_reuseport programs `group.select(ctx, n)` gives the connection to one of them.
    """

    kind = MapKind.REUSEPORT_SOCKARRAY
    operations = frozenset({"select"})
    lowering = "sockets"

    @property
    def key(self) -> ValueType:
        """Always u32."""
        return U32

    @property
    def value(self) -> ValueType:
        """A descriptor when written, the socket's cookie when read."""
        return U64

    def select(self, ctx: Context, key: int, flags: int = 0) -> int:
        """In sk_reuseport programs: let the socket at `key` have it; 0 or an error."""
        del ctx, key, flags
        self.in_programs("select")

    def __getitem__(self, key: int) -> int:
        """The cookie of the socket at `key`."""
        cookie: int = self.live[key]
        return cookie

    def __setitem__(self, key: int, sock: int | HasFileno) -> None:
        self.live[key] = sock

    def __delitem__(self, key: int) -> None:
        del self.live[key]

    def __contains__(self, key: object) -> bool:
        return key in self.live
