"""What tests with guests need, and why they are skipped where it is not there."""

from pathlib import Path

import pytest

from beewire.errors import GuestError
from beewire.guest import obtain, tools

CHECKOUT = Path(__file__).parent.parent.parent
PROGRAMS = ("qemu-system-x86_64", "virtiofsd", "busybox", "depmod")


def kernel_release(name: str) -> str:
    """The release of the kernel `name`, which is downloaded if need be; or skip."""
    try:
        tools.require(*PROGRAMS)
        return obtain(name).release
    except GuestError as error:
        pytest.skip(f"no guests here: {error}")
