"""End what a pod's processes connected before there were hooks to capture it.

    with load(gate.programs() + sever.PROGRAMS) as programs:
        closed = gate.close_namespace(programs, netns)    # CNI ADD
        pod = node.enrol(...)                             # now there are hooks
        sever.hand_over(programs, closed, netns, spare=proxy_cgroup)

A SYN that the gate held back is sent again a second later, past hooks that came meanwhile.
"""

from pathlib import Path
from typing import NamedTuple

from beewire.bpf import ntohs, sizeof
from beewire.bpf.author.loaded import Loaded
from beewire.mesh import netns as namespaces
from beewire.mesh.events import Protocol, text_of
from beewire.mesh.gate import Gate
from beewire.mesh.programs import sever as programs

PROGRAMS = (programs.sever_tcp, programs.sever_udp)


class Connection(NamedTuple):
    """A connection that was ended: whose local port, to which peer."""

    protocol: Protocol
    port: int
    peer: str

    def __str__(self) -> str:
        return f"{self.protocol.name.lower()} port {self.port} to {self.peer}"


def sever(
    loaded: Loaded, netns: Path, *, spare: Path | None = None
) -> list[Connection]:
    """End connections from the namespace to others; connecting again is captured.

    Their owners see ECONNABORTED. Listeners, connections within the namespace, and the
    sockets of the cgroup `spare` (the sidecar's) stay.

    Raises:
        MeshError: there is no such namespace.
        KernelError: the kernel cannot (before Linux 6.5), or refused.
    """
    loaded[programs.spared].value = spare.stat().st_ino if spare else 0
    rows = b"".join(
        namespaces.within(netns, loaded[program].read) for program in PROGRAMS
    )
    size = sizeof(programs.Severed)
    return [
        _connection(programs.Severed.from_bytes(rows[at : at + size]))
        for at in range(0, len(rows), size)
    ]


def hand_over(
    loaded: Loaded, closed: Gate, netns: Path, *, spare: Path | None = None
) -> list[Connection]:
    """Open a namespace's gate once its pod has hooks; the connections that were ended.

    What was dialled behind the gate is ended, for it would go past the sidecar as soon as
    it is sent again; twice, for a connect() that was under way when the hooks came. Of
    the gate, what takes the kernel long to take away is left to `closed.sweep()`.

    Raises:
        MeshError: the namespace is gone.
        KernelError: connections cannot be ended (before Linux 6.5); the gate is closed.
    """
    ended = sever(loaded, netns, spare=spare)
    closed.open(sweep=False)
    return ended + sever(loaded, netns, spare=spare)


def _connection(row: programs.Severed) -> Connection:
    peer = text_of(row.peer, ntohs(row.port))
    return Connection(Protocol(row.protocol), row.own_port, peer)
