"""Decoders on infrared receivers: programs of lirc_mode2 (CONFIG_BPF_LIRC_MODE2).

The device holds the program (BPF_PROG_ATTACH, Linux 4.18): the kernel has no link for it.
It stays until it is taken off, or the device goes. Up to 64 run one after the other.
"""

import errno
import os

from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.links.base import Link, attach_error
from beewire.bpf.kernel.links.cgroup_direct import end
from beewire.bpf.kernel.links.direct import DirectLink
from beewire.bpf.kernel.program import Program
from beewire.bpf.object import AttachKind, ProgramKind
from beewire.errors import AttachError, KernelError, NotPermitted
from beewire.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from beewire.bpf.kernel.links.info import DeviceInfo

HOOK = AttachKind.LIRC_MODE2


def attach_lirc(program: Program, device: str) -> Link:
    """Let `program` see what an infrared receiver ("/dev/lirc0") sees.

    The link is of kind "lirc.attach"; closing it takes the program off.

    Raises:
        AttachError: it is no receiver of raw pulses, or has this program already.
        NotPermitted: CAP_NET_ADMIN is missing, or the right to open the device.
    """
    if program.spec.kind is not ProgramKind.LIRC_MODE2:
        raise AttachError(
            f"program {program.name!r} ({program.spec.section}) is not for infrared "
            "receivers"
        )
    target = open_device(device)
    about = f"attach {program.name!r} to {device}"

    def put() -> None:
        record = attr.PROG_ATTACH.pack(
            target_fd=target, attach_bpf_fd=program.fd, attach_type=HOOK
        )
        try:
            syscall.bpf(syscall.Cmd.PROG_ATTACH, record, about, ("CAP_NET_ADMIN",))
        except NotPermitted:
            raise
        except KernelError as error:
            if error.errno == errno.EINVAL:
                why = "it is no infrared receiver that tells raw pulses"
                raise AttachError(f"cannot {about}: {why}") from error
            raise attach_error(error, program, device) from error

    def tell(number: int) -> "DeviceInfo":
        from beewire.bpf.kernel.links.info import DeviceInfo  # noqa: PLC0415 - rare
        from beewire.bpf.kernel.links.kinds import LinkKind  # noqa: PLC0415

        return DeviceInfo(LinkKind.UNSPEC, 0, number, device)

    return DirectLink(
        program,
        "lirc.attach",
        f"{program.name!r} on {device}",
        put=put,
        take_off=lambda own: end(
            target, HOOK, own, f"take {program.name!r} off {device}"
        ),
        tell=tell,
        held_open=(lambda: os.close(target),),
    )


def open_device(path: str) -> int:
    """A descriptor of an infrared device, which the caller closes.

    Raises:
        AttachError: there is none at `path`.
        NotPermitted: it may not be opened.
    """
    try:
        return syscall.open_file(path, os.O_RDWR | os.O_NONBLOCK)
    except PermissionError as error:
        number = error.errno or errno.EACCES
        raise NotPermitted(number, "open", f"{path} may not be opened") from error
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise AttachError(f"there is no infrared device {path}: {why}") from error
