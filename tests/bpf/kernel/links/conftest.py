"""What tests of links ask of the kernel."""

import errno
import os
import time
from collections.abc import Callable

import pytest

from beewire.bpf.kernel import attr, features, syscall, tracefs
from beewire.bpf.object import AttachKind


@pytest.fixture
def cookies_of_events() -> None:
    """Skip where perf events have no links, and no cookies."""
    if not features.attach_kind(AttachKind.PERF_EVENT).available:
        pytest.skip("this kernel has no links of perf events")


@pytest.fixture
def kprobes() -> None:
    """Skip where the kernel has no kprobes."""
    with tracefs.open_tracefs("look for kprobes") as root:
        if not tracefs.has(root, "kprobe_events"):
            pytest.skip("this kernel is built without kprobes")


@pytest.fixture
def gone() -> Callable[[int], bool]:
    """Whether a program leaves the kernel, which takes a moment after its last user."""

    def check(number: int) -> bool:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            record = attr.GET_ID.pack(start_id=number)
            found = syscall.try_bpf(syscall.Cmd.PROG_GET_FD_BY_ID, record)
            if found == -errno.ENOENT:
                return True
            if found >= 0:
                os.close(found)
            time.sleep(0.02)
        return False

    return check
