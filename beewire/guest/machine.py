"""QEMU's command line for one guest, and whether KVM can be used here."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from beewire.guest import tools
from beewire.guest.kernels import Kernel, directory

KVM = "kvm"
TCG = "tcg"

# x86-64-v2, which is enough for Python, LLVM and Envoy: TCG is slow at AVX.
_PROCESSORS = {KVM: "host", TCG: "Nehalem"}
# One thread for all processors: with one each, a processor may still run what another
# has just rewritten, and a kernel that rewrites itself (static keys, ftrace) dies of it:
# Linux 6.12 in seconds, when a tracepoint of the scheduler is switched on and off.
_ACCELERATORS = {KVM: "kvm", TCG: "tcg,thread=single,tb-size=512"}
# Debian's 5.10 does not list bpf among its security modules by itself.
_KERNEL_WORDS = (
    *(
        "console=ttyS0",
        "quiet",
        "panic=-1",
        "lsm=lockdown,capability,landlock,yama,bpf",
    ),
    *("mitigations=off", "random.trust_cpu=on"),
)
_TCG_WORDS = ("clocksource=tsc", "tsc=reliable", "no_timer_check")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Size:
    """How big a guest is."""

    memory_mb: int = 2048
    cpus: int = 1


@dataclass(frozen=True, slots=True)
class Wires:
    """Descriptors that QEMU inherits: of the initramfs, the console, and each port."""

    initramfs: int
    console: int
    ports: tuple[int, ...]

    @property
    def all(self) -> tuple[int, ...]:
        """Every one of them."""
        return self.initramfs, self.console, *self.ports


def command_line(
    kernel: Kernel,
    size: Size,
    wires: Wires,
    *,
    accelerator: str,
    kernel_words: Sequence[str] = (),
) -> list[str]:
    """The words that start QEMU, but for those of the share."""
    words = [*_KERNEL_WORDS, *(_TCG_WORDS if accelerator == TCG else ()), *kernel_words]
    ports: list[str] = []
    for number, descriptor in enumerate(wires.ports, start=1):
        ports += ["-chardev", f"socket,id=port{number},fd={descriptor}"]
        ports += ["-device", f"virtserialport,chardev=port{number},nr={number}"]
    return [
        tools.path("qemu-system-x86_64"),
        *("-M", "pc", "-accel", _ACCELERATORS[accelerator]),
        *("-cpu", _PROCESSORS[accelerator], "-smp", str(size.cpus)),
        *("-m", f"{size.memory_mb}M", "-nodefaults", "-display", "none", "-no-reboot"),
        *("-kernel", str(kernel.image), "-initrd", f"/proc/self/fd/{wires.initramfs}"),
        *("-append", " ".join(words)),
        *("-chardev", f"socket,id=console,fd={wires.console}"),
        *("-serial", "chardev:console", "-device", "virtio-serial-pci,max_ports=8"),
        *ports,
    ]


class Acceleration:
    """Whether KVM boots a kernel on this machine: found out by booting one under it.

    /dev/kvm may be there and still not do, as inside some virtual machines. What was
    found holds until the machine boots again.
    """

    def __init__(self) -> None:
        boot = _BOOT_ID.read_text().strip()
        self._verdict = directory() / f"kvm-{boot}"

    def usual(self) -> str:
        """What the next guest is to be started with."""
        if not os.access("/dev/kvm", os.R_OK | os.W_OK):
            return TCG
        return TCG if self._known() == "no" else KVM

    def is_tried(self) -> bool:
        """Whether a kernel was booted under KVM before, and came up."""
        return self._known() == "yes"

    def remember(self, *, works: bool) -> None:
        """Write down whether a kernel came up under KVM."""
        for old in self._verdict.parent.glob("kvm-*"):
            old.unlink(missing_ok=True)
        self._verdict.write_text("yes" if works else "no")

    def _known(self) -> str:
        try:
            return self._verdict.read_text()
        except OSError:
            return ""
