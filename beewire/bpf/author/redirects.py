"""Where XDP programs send packets: to devices, CPUs and AF_XDP sockets.

    ports = DevMap(max_entries=16)

In programs `return ports.redirect(key)`; in user space `ports[0] = "veth0"`.
"""

from __future__ import annotations

from beewire.bpf.author.bound import OnMap
from beewire.bpf.author.maps import Listed
from beewire.bpf.lang.decl import MapDecl
from beewire.bpf.lang.structs import Struct
from beewire.bpf.lang.types import U32, ValueType, u32
from beewire.bpf.object.kinds import MapKind
from beewire.errors import MapError
from beewire.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from beewire.bpf.kernel.maps import HasFileno
    from beewire.bpf.lang.constants import XdpAction


class Port(Struct):
    """An entry of a DevMap (`struct bpf_devmap_val`).

    `program` is that of an XDP program which runs on the device's side: its descriptor
    when written, its id when read; 0 for none (Linux 5.8).
    """

    ifindex: u32
    program: u32 = 0


class Worker(Struct):
    """An entry of a CpuMap (`struct bpf_cpumap_val`).

    `queue_size` packets wait for the CPU at most; `program` as in a `Port` (Linux 5.9).
    """

    queue_size: u32
    program: u32 = 0


class _Redirect(OnMap, MapDecl):
    """Operations that all of them share."""

    lowering = "redirects"
    operations = frozenset({"redirect"})

    @property
    def key(self) -> ValueType:
        """Always u32."""
        return U32

    @property
    def value(self) -> ValueType:
        """As the kernel's struct has it."""
        return U32

    def redirect(self, key: int, flags: int = 0) -> XdpAction:
        """In XDP programs: send the packet to the entry at `key`; return the result.

        Where there is none the result is the action in the low bits of `flags`.
        """
        del key, flags
        self.in_programs("redirect")

    def __delitem__(self, key: int) -> None:
        del self.live[key]


class _Devices(Listed[int, Port], _Redirect):
    operations = frozenset({"redirect", "contains"})

    @property
    def value(self) -> ValueType:
        """A Port."""
        return Port.__layout__

    def __getitem__(self, key: int) -> Port:
        found: Port = self.live[key]
        return found

    def __setitem__(self, key: int, device: str | int | Port) -> None:
        """Put a network interface there: its name, its index, or a Port.

        Raises:
            MapError: There is no interface of that name.
        """
        self.live[key] = _port(device)


class DevMap(_Devices):
    """Network interfaces by number, from 0 to `max_entries` - 1 (Linux 4.14)."""

    kind = MapKind.DEVMAP


class DevMapHash(_Devices):
    """Network interfaces by any u32 (Linux 5.4)."""

    kind = MapKind.DEVMAP_HASH


class CpuMap(Listed[int, Worker], _Redirect):
    """CPUs by number: the rest of the stack works on packets there (Linux 4.15)."""

    kind = MapKind.CPUMAP

    @property
    def value(self) -> ValueType:
        """A Worker."""
        return Worker.__layout__

    def __getitem__(self, cpu: int) -> Worker:
        found: Worker = self.live[cpu]
        return found

    def __setitem__(self, cpu: int, worker: int | Worker) -> None:
        """Let `cpu` work: a queue of so many packets, or a Worker."""
        if not isinstance(worker, Worker):
            worker = Worker(queue_size=worker)
        self.live[cpu] = worker


class XskMap(_Redirect):
    """AF_XDP sockets by number, usually that of the receive queue (Linux 4.18).

    User space puts sockets in, and takes them out; the kernel does not tell them.
    """

    kind = MapKind.XSKMAP
    operations = frozenset({"redirect", "contains"})

    def __contains__(self, key: object) -> bool:
        """In programs: whether there is a socket."""
        self.in_programs("__contains__")

    def __setitem__(self, key: int, sock: int | HasFileno) -> None:
        self.live[key] = sock


def _port(device: str | int | Port) -> Port:
    if isinstance(device, Port):
        return device
    if isinstance(device, int):
        return Port(ifindex=device)
    from beewire.bpf.kernel import syscall  # noqa: PLC0415 - rare

    index = syscall.interface_index(device)
    if not index:
        raise MapError(f"there is no network interface {device!r} in this namespace")
    return Port(ifindex=index)
