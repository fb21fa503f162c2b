"""How a guest sees the host's file system: virtiofs, or 9p where that cannot run.

virtiofs needs a helper of QEMU on the host, 9p only QEMU; Debian's cloud kernels know no
9p. With both, the guest can only read: what it writes stays in its memory.
"""

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from beewire.guest import children, tools
from beewire.guest.kernels import CLOUD, FULL


@dataclass(frozen=True, slots=True)
class Share:
    """One way to share: what the guest mounts, and with which drivers of which kernels."""

    name: str
    file_system: str
    options: str
    drivers: tuple[str, ...]
    flavour: str
    programs: tuple[str, ...] = ()
    tag: str = "host"


VIRTIOFS = Share(
    "virtiofs", "virtiofs", "ro", ("fuse", "virtiofs"), CLOUD, ("virtiofsd",)
)
NINE_P = Share(
    "9p",
    "9p",
    "ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose,access=any",
    ("9pnet_virtio", "9p"),
    FULL,
)
SHARES = {share.name: share for share in (VIRTIOFS, NINE_P)}


def usual_share() -> Share:
    """Virtiofs where its helper is installed, which is twice as fast; else 9p."""
    return VIRTIOFS if tools.find("virtiofsd") else NINE_P


@contextlib.contextmanager
def serving(share: Share, memory_mb: int) -> Iterator[tuple[list[str], list[int]]]:
    """Serve the host's root; gives words for QEMU, and descriptors that it inherits.

    Raises:
        GuestError: virtiofsd is missing.
    """
    if share is NINE_P:
        yield _nine_p(), []
        return
    with contextlib.ExitStack() as stack:
        listening, connected = _socket_pair()
        stack.enter_context(connected)
        with listening:
            command = _virtiofsd(listening.fileno())
            stack.enter_context(children.running(command, [listening.fileno()]))
        yield _virtiofs(connected.fileno(), memory_mb), [connected.fileno()]


def _nine_p() -> list[str]:
    options = "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap"
    device = f"virtio-9p-pci,fsdev=root,mount_tag={NINE_P.tag}"
    return ["-fsdev", options, "-device", device]


def _virtiofs(descriptor: int, memory_mb: int) -> list[str]:
    # virtiofsd reads and writes the guest's memory, which has to be shared for that.
    return [
        *("-object", f"memory-backend-memfd,id=memory,size={memory_mb}M,share=on"),
        *("-numa", "node,memdev=memory"),
        *("-chardev", f"socket,id=root,fd={descriptor}"),
        *("-device", f"vhost-user-fs-pci,chardev=root,tag={VIRTIOFS.tag}"),
    ]


def _virtiofsd(descriptor: int) -> Sequence[str]:
    program = tools.path("virtiofsd")
    if "/qemu/" in str(Path(program).resolve()):
        # QEMU's own, in C. It gives up a capability that containers often lack.
        options = "source=/,sandbox=chroot,cache=always,no_posix_lock"
        command = [program, f"--fd={descriptor}", "-o"]
        command += [f"{options},modcaps=-sys_resource"]
    else:
        command = [program, f"--fd={descriptor}", "--shared-dir=/", "--cache=always"]
        command += ["--sandbox=none" if os.geteuid() else "--sandbox=chroot"]
        return command
    if os.geteuid() == 0:
        return command
    # It wants to be root, and a directory of its own in /run: so it is in a namespace,
    # which makes the kernel forget with whose death it is to die.
    script = 'mount -t tmpfs tmpfs /run; exec "$@"'
    return ["unshare", "-Urm", "sh", "-c", script, "sh", *children.bound(command)]


def _socket_pair() -> tuple[socket.socket, socket.socket]:
    # virtiofsd wants to accept(); a name is needed only until both ends are connected.
    listening = socket.socket(socket.AF_UNIX)
    connected = socket.socket(socket.AF_UNIX)
    with tempfile.TemporaryDirectory(prefix="bw-guest-") as folder:
        listening.bind(f"{folder}/socket")
        listening.listen(1)
        connected.connect(f"{folder}/socket")
    return listening, connected
