"""A pod of our own, by which programs are tried before any other pod meets them."""

import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from beewire.errors import BeewireError, MeshError
from beewire.mesh.agent import places
from beewire.mesh.enrol import Node, Pod
from beewire.mesh.lab.cgroups import Cgroup
from beewire.mesh.lab.namespaces import Namespace
from beewire.mesh.lab.place import Place

ADDRESS = "192.0.2.2"  # TEST-NET-1 (RFC 5737), in a namespace of its own
DIALLED = ("192.0.2.80", 80)
PORT = 15001
_SO_ORIGINAL_DST = 80
_SIDECAR = 1337
_TIMEOUT_S = 30.0


def try_programs(node: Node) -> None:
    """Enrol a pod, connect from it, and look what its sidecar is told.

    Raises:
        MeshError: the programs do not do what they should.
    """
    try:
        with _pod() as (pod, app, proxy), node.enrol(pod):
            _connect(app, proxy)
    except MeshError:
        raise
    except (BeewireError, OSError) as error:
        raise MeshError(
            f"the programs fail in a pod made to try them: {error}"
        ) from error


def _connect(app: Place, proxy: Place) -> None:
    with (
        proxy.listen("0.0.0.0", PORT) as listener,
        app.connect(*DIALLED, timeout_s=_TIMEOUT_S) as client,
    ):
        listener.settimeout(_TIMEOUT_S)
        accepted, _ = listener.accept()
        with accepted:
            told = accepted.getsockopt(socket.IPPROTO_IP, _SO_ORIGINAL_DST, 16)
            port, address = struct.unpack_from("!2xH4s", told)
            original = socket.inet_ntoa(address), port
            shown = client.getpeername()
    if original != DIALLED or shown != DIALLED:
        raise MeshError(
            f"a pod made to try the programs dialled {DIALLED}: its sidecar was told"
            f" {original}, and it sees {shown}"
        )


@contextlib.contextmanager
def _pod() -> Iterator[tuple[Pod, Place, Place]]:
    name = f"bw-canary-{os.getpid()}"
    namespace, base = Namespace(name), Cgroup(places.mount() / name)
    with contextlib.ExitStack() as stack:
        stack.callback(base.delete)
        stack.callback(namespace.delete)
        namespace.create()
        namespace.run(_bring_up)
        app = Place(namespace, Cgroup(base.path / "app"))
        proxy = Place(namespace, Cgroup(base.path / "proxy"), _SIDECAR)
        for place in (app, proxy):
            place.cgroup.create()
        pod = Pod(base.path, proxy.cgroup.path, Path(namespace.path), (ADDRESS,))
        yield pod, app, proxy


def _bring_up() -> None:
    """Set `lo` up, and give it the pod's address (netdevice(7))."""
    up, running, name = 0x1, 0x40, b"lo"
    address = struct.pack("=H2x4s8x", socket.AF_INET, socket.inet_aton(ADDRESS))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, 0x8914, struct.pack("=16sH14x", name, up | running))
        # A second address of `lo`, which keeps 127.0.0.1.
        fcntl.ioctl(sock, 0x8916, struct.pack("=16s16s", b"lo:1", address))
