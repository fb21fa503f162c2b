"""Follow one live connection through both sidecars, asking everybody on its way."""

import os
import secrets
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from beewire.errors import MeshError
from beewire.mesh.lab.listeners import TRACE_HEADER
from beewire.mesh.lab.mesh import Mesh
from beewire.mesh.lab.pods import Pod
from beewire.mesh.lab.sidecar import Sidecar

SOCKETS = Path("/proc/thread-self/net/tcp")
TUPLE = ("src", "dst", "sport", "dport")
TRACKED = Path("/proc/thread-self/net/nf_conntrack")


class Hop(NamedTuple):
    """One station: who says it, what it says, and how we know."""

    who: str
    says: str
    source: str


def follow(mesh: Mesh) -> tuple[Hop, ...]:
    """Ask pod B's server who its client is, and everybody in between what they saw.

    Raises:
        MeshError: the request got no answer, or a sidecar did not see it.
    """
    try:
        return _follow(mesh)
    except OSError as error:  # it is refused, reset, or takes too long
        raise MeshError(f"the connection that was followed failed: {error}") from error


def _follow(mesh: Mesh) -> tuple[Hop, ...]:
    lab, first, second = mesh.lab, mesh.a, mesh.b
    port = first.config.trace_port
    trace = secrets.token_hex(4)
    with lab.a.app.connect(lab.b.address, port) as sock:
        own, dialled = _name(sock.getsockname()), _name(sock.getpeername())
        kernel = _kernel_hops(lab.a, sock)
        answer = _ask(sock, lab.b.address, trace)
        out, into = first.logged(trace), second.logged(trace)
    peer, server, client = answer.split()
    return (
        Hop("app in pod a", f"{own} dialled {dialled}", "getpeername"),
        *kernel,
        *_sidecar_hops(first, out),
        *_sidecar_hops(second, into),
        Hop("server in pod b", f"{peer} called {server}", "getpeername"),
        Hop("", f"on behalf of {client}", "x-forwarded-for"),
    )


def _kernel_hops(pod: Pod, sock: socket.socket) -> list[Hop]:
    hops = [Hop("kernel", f"connected it to {remote_of(pod, sock)}", "/proc/net/tcp")]
    translated = translation_of(pod, sock)
    if translated is not None:
        hops.append(Hop("", f"sends its packets to {translated}", "conntrack"))
    return hops


def _sidecar_hops(sidecar: Sidecar, log: dict[str, str]) -> tuple[Hop, Hop, Hop]:
    accepted = f"accepted {log['client']} on {log['accepted_on']}"
    went = f"{log['upstream_source']} dialled {log['upstream']}"
    return (
        Hop(f"sidecar in pod {sidecar.pod.name}", accepted, "access log"),
        Hop("", f"was told {log['original']}", "SO_ORIGINAL_DST"),
        Hop("", went, "access log"),
    )


def remote_of(pod: Pod, sock: socket.socket) -> str:
    """Where the kernel connected an IPv4 socket of the pod, whatever the socket says.

    Raises:
        MeshError: the pod has no such connection.
    """
    inode = str(os.fstat(sock.fileno()).st_ino)
    for line in pod.namespace.run(SOCKETS.read_text).splitlines()[1:]:
        fields = line.split()
        if fields[9] == inode:
            return _decode(fields[2])
    raise MeshError(f"the connection is not known in pod {pod.name}")


def translation_of(pod: Pod, sock: socket.socket) -> str | None:
    """Where NAT sends the packets of an IPv4 socket of the pod; None without NAT."""
    try:
        entries = pod.namespace.run(TRACKED.read_text).splitlines()
    except FileNotFoundError:  # a kernel without conntrack, or without this view of it
        return None
    return translated(entries, sock.getsockname())


def translated(entries: Sequence[str], source: tuple[str, int]) -> str | None:
    """Where conntrack's `entries` send what comes from `source`; None if nowhere."""
    address, port = source
    for entry in entries:
        # src= dst= sport= dport= as the connection began, then as its replies come;
        # packets= and bytes= stand between them where conntrack counts.
        pairs = [word.partition("=") for word in entry.split()]
        tuples = [value for name, _, value in pairs if name in TUPLE]
        if tuples[0] == address and tuples[2] == str(port):
            return f"{tuples[4]}:{tuples[6]}"
    return None


def _decode(text: str) -> str:
    # The kernel prints the address as the host's own integer: little-endian here.
    address, port = text.split(":")
    octets = int(address, 16).to_bytes(4, "little")
    return f"{socket.inet_ntoa(octets)}:{int(port, 16)}"


def _name(address: tuple[str, int]) -> str:
    return f"{address[0]}:{address[1]}"


def _ask(sock: socket.socket, host: str, trace: str) -> str:
    request = f"GET /who HTTP/1.1\r\nHost: {host}\r\n{TRACE_HEADER}: {trace}\r\n\r\n"
    sock.sendall(request.encode())
    answer = b""
    while not answer.endswith(b"\n") or b"\r\n\r\n" not in answer[:-4]:
        data = sock.recv(4096)
        if not data:
            raise MeshError("the connection that was followed got no answer")
        answer += data
    head, _, body = answer.decode().partition("\r\n\r\n")
    if " 200 " not in head.splitlines()[0]:
        raise MeshError(f"the server answered {head.splitlines()[0]!r}")
    return body
