"""Programs are attached as their sections say."""

import ctypes
import os
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from beewire.bpf import collect
from beewire.bpf.kernel import attach, attach_all, load
from beewire.bpf.object import ObjectSpec, ProgramKind, parse_section
from beewire.errors import AttachError
from tests.bpf.lang.test_lang_kernel import cell

if TYPE_CHECKING:
    from tests.bpf.kernel.conftest import Counter

pytestmark = pytest.mark.kernel

MakeCounter = Callable[..., "Counter"]
LIBC = ctypes.CDLL(None)

TEXT = """
from beewire.bpf import *
hits = Array[u64](8)
class task_struct(Kernel):
    pid: i32
@tracepoint("sched:sched_process_exec")
def by_tracepoint(ctx: Tracepoint) -> None:
    hits[0] += 1
@raw_tracepoint("sched_process_exec")
def by_raw(ctx: RawTracepoint) -> None:
    hits[1] += 1
@tp_btf("sched_process_exec")
def by_btf(task: task_struct) -> None:
    hits[2] += 1
@uprobe("libc:getppid")
def by_uprobe(ctx: PtRegs) -> None:
    hits[3] += 1
@uretprobe("libc:getppid")
def by_return(ctx: PtRegs) -> None:
    hits[4] += 1
@uprobe_multi("libc", "getppi*")
def by_many(ctx: PtRegs) -> None:
    hits[5] += 1
@iter("task")
def by_reading(meta: bpf_iter_meta, task: task_struct | None) -> None:
    hits[6] += 1
@xdp
def by_nobody(ctx: XdpContext) -> None:
    hits[7] += 1
"""


def spec_of(text: str) -> ObjectSpec:
    names = cell(text)
    return collect([each for each in names.values() if hasattr(each, "section")])


def counts(loaded: Any) -> list[int]:
    return [int(loaded.maps["hits"][n]) for n in range(8)]


def test_everything_that_says_where_is_attached() -> None:
    with load(spec_of(TEXT)) as loaded:
        with attach_all(loaded) as links:
            subprocess.run(["true"], check=True)
            LIBC.getppid()
        during = counts(loaded)
        subprocess.run(["true"], check=True)
        LIBC.getppid()
        after = counts(loaded)

    assert links.left == ["by_nobody"]
    assert list(links)[:3] == ["by_tracepoint", "by_raw", "by_btf"]
    assert all(count >= 1 for count in during[:6])
    assert after == during
    assert links["by_raw"].closed


def test_nothing_is_left_when_one_cannot_be_attached(
    open_descriptors: Callable[[], int],
) -> None:
    text = TEXT.replace('"libc:getppid"', '"libc:getppidd"')
    with load(spec_of(text)) as loaded:
        before = open_descriptors()

        with pytest.raises(AttachError, match="no function 'getppidd'"):
            attach_all(loaded)

        assert open_descriptors() == before


def test_a_place_can_be_given_in_the_stead_of_the_sections() -> None:
    with load(spec_of(TEXT)) as loaded:
        program = loaded.programs["by_uprobe"]

        with attach(program, "libc:getuid", pid=os.getpid(), cookie=0):
            LIBC.getppid()
            LIBC.getuid()

        assert counts(loaded)[3] == 1


NEEDED = {
    "xdp": (ProgramKind.XDP, "give an interface"),
    "tracepoint": (ProgramKind.TRACEPOINT, "give category/name"),
    "uprobe": (ProgramKind.KPROBE, "give path:function"),
    "usdt": (ProgramKind.KPROBE, "give path:provider:name"),
    "kprobe.multi": (ProgramKind.KPROBE, "give a pattern"),
    "ksyscall": (ProgramKind.KPROBE, "give a system call"),
    "cgroup/connect4": (ProgramKind.CGROUP_SOCK_ADDR, "give a cgroup"),
    "perf_event": (ProgramKind.PERF_EVENT, "give a perf event"),
    "socket": (ProgramKind.SOCKET_FILTER, "give a socket"),
    "lwt_out": (ProgramKind.LWT_OUT, "give a destination, and interface="),
    "sk_lookup": (ProgramKind.SK_LOOKUP, "give a network namespace"),
}


@pytest.mark.parametrize("section", NEEDED)
def test_what_the_section_lacks_is_asked_for(
    counter: MakeCounter, section: str
) -> None:
    kind, message = NEEDED[section]
    count = counter(kind, parse_section(section).attach_kind)
    count.program.spec.section = section

    with pytest.raises(AttachError, match=message):
        attach(count.program)


def test_a_syscall_program_is_run_instead(counter: MakeCounter) -> None:
    count = counter(ProgramKind.RAW_TRACEPOINT)
    count.program.spec.section = "syscall"
    count.program.spec.kind = ProgramKind.SYSCALL

    with pytest.raises(AttachError, match="attached by no call: run it"):
        attach(count.program)
