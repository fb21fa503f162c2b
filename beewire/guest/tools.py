"""The programs that guests are made with, and the Debian packages that have them."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from beewire.errors import GuestError

PACKAGES = {
    "apt-cache": "apt",
    "apt-get": "apt",
    "busybox": "busybox-static",
    "depmod": "kmod",
    "dpkg-deb": "dpkg",
    "qemu-system-x86_64": "qemu-system-x86",
    # Debian 12 has QEMU's own in qemu-system-common; later ones a program by itself.
    "virtiofsd": "virtiofsd (Debian 13 and later) or qemu-system-common (Debian 12)",
}
# Debian keeps some of them where users have no PATH to.
SYSTEM = "/usr/local/sbin:/usr/sbin:/sbin:/usr/libexec:/usr/lib/qemu"

_PT_INTERP = 3


def find(name: str) -> str | None:
    """The path of the program `name`, or None."""
    path = os.environ.get("PATH", os.defpath)
    return shutil.which(name, path=f"{path}:{SYSTEM}")


def require(*names: str) -> None:
    """Check that every program of `names` is here.

    Raises:
        GuestError: some are missing; each is named with the package that has it.
    """
    missing = [name for name in names if find(name) is None]
    if missing:
        raise _missing(missing)


def path(name: str) -> str:
    """The path of the program `name`.

    Raises:
        GuestError: it is missing; the message names the package that has it.
    """
    found = find(name)
    if found is None:
        raise _missing([name])
    return found


def static_busybox() -> str:
    """The path of a busybox that runs where there is nothing else, not even a libc.

    Raises:
        GuestError: there is none, or one that needs shared libraries.
    """
    found = path("busybox")
    if _is_dynamic(Path(found).read_bytes()):
        raise GuestError(
            f"{found} needs shared libraries, which a booting guest has none of:"
            f" install {PACKAGES['busybox']} (Debian)"
        )
    return found


def _is_dynamic(elf: bytes) -> bool:
    # Elf64_Ehdr: e_phoff at 32, e_phentsize at 54, e_phnum at 56; p_type comes first.
    offset = int.from_bytes(elf[32:40], "little")
    size, count = (int.from_bytes(elf[at : at + 2], "little") for at in (54, 56))
    headers = (elf[offset + i * size : offset + i * size + 4] for i in range(count))
    return any(int.from_bytes(kind, "little") == _PT_INTERP for kind in headers)


def _missing(names: Iterable[str]) -> GuestError:
    told = [f"{name} (Debian package {PACKAGES[name]})" for name in names]
    return GuestError(f"guests need what is not on this machine: {', '.join(told)}")
