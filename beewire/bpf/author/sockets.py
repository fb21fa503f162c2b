"""Maps about sockets: storage that lives in them, and maps that hold them.

dialled = SkStorage[Endpoint]()
peers = SockHash[Key](max_entries=65536)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from beewire.bpf.author.bound import OnMap
from beewire.bpf.author.maps import delete
from beewire.bpf.lang import Ref, Sockets, Storage
from beewire.bpf.lang.types import I32, U32, U64, ValueType
from beewire.bpf.object.kinds import MapKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from beewire.bpf.kernel.maps.references import HasFileno
    from beewire.bpf.lang.constants import SkAction
    from beewire.bpf.lang.contexts import BpfSock, Context, SockOps

K = TypeVar("K")
V = TypeVar("V")

NO_PREALLOC = 1  # BPF_F_NO_PREALLOC, which the kernel demands of storage


class SkStorage(OnMap, Storage[V]):
    """A value in each socket that has one; it goes with the socket (Linux 5.2).

    In programs `state.get(ctx.sk)` and `state.get_or_create(ctx.sk)`; in user space the
    key is a socket of this process, or its descriptor. Nobody can list the sockets.
    """

    def __init__(self, *, flags: int = 0, name: str = "") -> None:
        super().__init__(0, flags=flags | NO_PREALLOC, name=name)

    @property
    def key(self) -> ValueType:
        """A descriptor: how user space names the socket."""
        return I32

    def __getitem__(self, owner: int | HasFileno) -> V:
        value: V = self.live[owner]
        return value

    def __setitem__(self, owner: int | HasFileno, value: V) -> None:
        self.live[owner] = value

    def __delitem__(self, owner: int | HasFileno) -> None:
        del self.live[owner]

    def __contains__(self, owner: object) -> bool:
        return owner in self.live

    @overload
    def get(self: SkStorage[int], owner: object) -> Ref[int] | None: ...
    @overload
    def get(self, owner: object) -> V | None: ...
    def get(self, owner: object) -> Any:
        """In programs: a reference to the value that `owner` holds, or None."""
        del owner
        self.in_programs("get", f"{self.name or 'state'}[sock]")

    @overload
    def get_or_create(self: SkStorage[int], owner: object) -> Ref[int] | None: ...
    @overload
    def get_or_create(self, owner: object) -> V | None: ...
    def get_or_create(self, owner: object) -> Any:
        """In programs: as `get`, making a zero value first; None without memory."""
        del owner
        self.in_programs("get_or_create", f"{self.name or 'state'}[sock] = value")

    def delete(self, owner: object) -> int:
        """Forget the value that `owner` holds: 0, or -ENOENT (-2)."""
        return delete(self.live, owner)


class SocketTable(OnMap, Sockets[K]):
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

    def __contains__(self, key: object) -> bool:
        return key in self.live

    def __iter__(self) -> Iterator[K]:
        return iter(self.live)

    def __len__(self) -> int:
        return len(self.live)

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
