"""Every step of attaching fails once: what this machine's kernel may lack, and USDT."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from beewire.bpf.kernel import (
    Link,
    attach_kprobe,
    attach_kprobe_multi,
    attach_ksyscall,
    attach_usdt,
)
from beewire.bpf.object import AttachKind, ProgramKind
from tests.faults import FEW, closing, exists_soon, fail_everywhere
from tests.static_probe import DATA, TEXT, make, note

if TYPE_CHECKING:
    from tests.bpf.kernel.conftest import Counter

pytestmark = [pytest.mark.kernel, pytest.mark.thorough]

MakeCounter = Callable[..., "Counter"]
FUNCTION, OTHER = "do_sys_openat2", "ksys_read"


def check(
    count: "Counter", attach: Callable[[], Link], errnos: tuple[int, ...] = FEW
) -> None:
    """Nothing holds the program once all of its failing attachments are over."""
    id_ = count.program.info().id
    fail_everywhere(closing(attach), id_, errnos)
    count.loaded.close()
    assert not exists_soon(id_)


@pytest.mark.usefixtures("kprobes")
@pytest.mark.parametrize("way", ["", "ioctl"])
def test_probes_in_the_kernel(counter: MakeCounter, way: str) -> None:
    count = counter(ProgramKind.KPROBE, verdict=0)

    check(count, lambda: attach_kprobe(count.program, FUNCTION, way=way))


@pytest.mark.usefixtures("kprobes")
def test_probes_of_system_calls(counter: MakeCounter) -> None:
    count = counter(ProgramKind.KPROBE, verdict=0)

    check(count, lambda: attach_ksyscall(count.program, "getppid"))


@pytest.mark.usefixtures("kprobes")
@pytest.mark.parametrize("way", ["", "ioctl"])
def test_many_probes_in_the_kernel(counter: MakeCounter, way: str) -> None:
    count = counter(ProgramKind.KPROBE, AttachKind.TRACE_KPROBE_MULTI, verdict=0)

    # Each asks for all symbols of the kernel, which takes its time without KVM.
    check(
        count,
        lambda: attach_kprobe_multi(count.program, [FUNCTION, OTHER], way=way),
        (errno.EINVAL,),
    )


@pytest.mark.parametrize("way", ["", "ioctl"])
def test_static_probes(counter: MakeCounter, tmp_path: Path, way: str) -> None:
    count = counter(ProgramKind.KPROBE, verdict=0)
    path = tmp_path / "bw-probed"
    made = make(
        path,
        os.uname().machine,
        note("bw", "done", TEXT, DATA + 2, ""),
        note("bw", "done", TEXT + 16, DATA + 2, ""),
    )

    check(
        count,
        lambda: attach_usdt(
            {"": count.program}, f"{path}:bw:done", pid=os.getpid(), way=way
        ),
    )

    assert made.semaphore(1) == 0
