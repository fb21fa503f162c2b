"""Other kernels on this machine: a command under Debian's 5.10, 6.1, 6.12 and so on.

    kernel = obtain("6.12")
    command = Command(["uname", "-r"], Path.cwd(), os.environ)
    ended = run(kernel, command, Options(), output=write, errors=write)

A guest is a virtual machine of QEMU that boots in seconds and shows the host's files:
the same Python, the same checkout, another kernel. `kernels` and `archive` get kernels
from Debian, `cpio`, `modules` and `initramfs` make what they boot from, `share` shows
them the host's files, `machine` is QEMU's command line, `guest` runs it all.
"""

from beewire.guest.guest import (
    TIMED_OUT,
    Ended,
    Options,
    Sink,
    run,
    writer,
)
from beewire.guest.initramfs import VARIABLE, Command
from beewire.guest.kernels import MATRIX, Kernel, cached, clean, obtain
from beewire.guest.machine import KVM, TCG, Size
from beewire.guest.share import NINE_P, SHARES, VIRTIOFS, Share, usual_share

__all__ = [
    "KVM",
    "MATRIX",
    "NINE_P",
    "SHARES",
    "TCG",
    "TIMED_OUT",
    "VARIABLE",
    "VIRTIOFS",
    "Command",
    "Ended",
    "Kernel",
    "Options",
    "Share",
    "Sink",
    "Size",
    "cached",
    "clean",
    "obtain",
    "run",
    "usual_share",
    "writer",
]
