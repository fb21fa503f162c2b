"""What is left attached when a process is killed: nothing, or what its page says."""

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from beewire.bpf.kernel import attr, features, syscall
from beewire.bpf.kernel.links.struct_ops import take_back
from beewire.bpf.object import AttachKind
from beewire.errors import AttachError
from tests.test_docs import CHECKOUT

pytestmark = [pytest.mark.kernel, pytest.mark.thorough]

HEAD = """
import sys
from beewire.bpf import *
from beewire.bpf.kernel import attach_struct_ops

class task_struct(Kernel):
    pid: i32
class sock(Kernel):
    sk_mark: u32
class file(Kernel):
    f_flags: u32
class tcp_sock(Kernel):
    snd_cwnd: u32

def wait(number, *links):
    print(number, flush=True)
    sys.stdin.read()
"""
SIMPLE = {
    "tracepoint": ('tracepoint("sched:sched_switch")', "ctx: Tracepoint", ""),
    "raw_tracepoint": ('raw_tracepoint("sched_switch")', "ctx: RawTracepoint", ""),
    "tp_btf": ('tp_btf("sched_switch")', "preempt: bool", ""),
    "perf_event": ("perf_event", "ctx: PerfEvent", '"cpu-clock", frequency=9'),
    "iterator": ('iter("task")', "meta: bpf_iter_meta, task: task_struct | None", ""),
    "uprobe": ('uprobe("libc:getppid")', "ctx: PtRegs", ""),
    "uretprobe": ('uretprobe("libc:getppid")', "ctx: PtRegs", ""),
    "uprobe_multi": ('uprobe_multi("libc", "getppi*")', "ctx: PtRegs", ""),
    "kprobe": ('kprobe("do_sys_openat2")', "ctx: PtRegs", ""),
    "kprobe by ioctl": ('kprobe("do_sys_openat2")', "ctx: PtRegs", 'way="ioctl"'),
    "kretprobe": ('kretprobe("do_sys_openat2")', "ctx: PtRegs", ""),
    "kprobe_multi": ('kprobe_multi("ksys_*")', "ctx: PtRegs", ""),
    "fentry": ('fentry("do_sys_openat2")', "dfd: i32", ""),
    "fexit": ('fexit("do_sys_openat2")', "dfd: i32", ""),
    "lsm": ('lsm("file_open")', "file: file", ""),
    "fmod_ret": ('fmod_ret("security_file_open")', "file: file", ""),
    "freplace": ("freplace(whole)", "ctx: XdpContext", ""),
    "kprobe_session": ('kprobe_session("ksys_*")', "ctx: PtRegs", ""),
    "uprobe_session": ('uprobe_session("libc", "getppi*")', "ctx: PtRegs", ""),
    "usdt": ('usdt(f"{place}:bw:done")', "ctx: PtRegs", ""),
}
BEFORE = {
    "freplace": "@xdp\ndef whole(ctx: XdpContext) -> int:\n    return 2\n",
    "usdt": """
import os
from pathlib import Path
from tests.static_probe import TEXT, note, write
place = Path(__file__).parent / "probed"
write(place, os.uname().machine, note("bw", "done", TEXT, 0, ""))
""",
}
DECIDES = ("lsm", "fmod_ret", "freplace")
NEEDED = {
    "fentry": AttachKind.TRACE_FENTRY,
    "fexit": AttachKind.TRACE_FEXIT,
    "lsm": AttachKind.LSM_MAC,
    "fmod_ret": AttachKind.MODIFY_RETURN,
}
SKIPPED = {
    "built without CONFIG_KPROBE": "this kernel is built without kprobes",
    "forbids it although": "this machine forbids programs on functions",
    "does not support kprobe sessions": "this kernel has no kprobe sessions",
    "does not support uprobe sessions": "this kernel has no uprobe sessions",
}


def killed(text: str, tmp_path: Path) -> int:
    """Run a script in a process that is killed when it waits; the number it told."""
    script = tmp_path / "script.py"
    script.write_text(HEAD + text)
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        if not line:
            error = process.stderr.read()
            for words, reason in SKIPPED.items():
                if words in error:
                    pytest.skip(reason)
            pytest.fail(error)
        process.send_signal(signal.SIGKILL)
    return int(line)


def gone(number: int) -> bool:
    """Whether a program leaves the kernel, which takes a moment."""
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


@pytest.mark.parametrize("kind", SIMPLE)
def test_nothing_is_left(kind: str, tmp_path: Path) -> None:
    hook, parameters, where = SIMPLE[kind]
    if kind in NEEDED and not features.attach_kind(NEEDED[kind]).available:
        pytest.skip("this machine forbids programs on functions")
    returns, body = ("int", "return 0") if kind in DECIDES else ("None", "pass")
    text = BEFORE.get(kind, "") + (
        f"@{hook}\ndef program({parameters}) -> {returns}:\n    {body}\n"
        f"link = program.attach({where})\nwait(program.live.info().id, link)\n"
    )

    assert gone(killed(text, tmp_path))


TABLE = """
class Left(StructOps, kernel="tcp_congestion_ops", link={link}):
    name: str = chars(16, default="bw_left")
    @staticmethod
    def ssthresh(sk: sock) -> u32:
        return 2
    @staticmethod
    def undo_cwnd(sk: sock) -> u32:
        return kernel_ptr(sk, tcp_sock).snd_cwnd
    @staticmethod
    def cong_avoid(sk: sock, ack: u32, acked: u32) -> None:
        kernel_ptr(sk, tcp_sock).snd_cwnd = 7
link = Left.attach()
if {link} and link.kind == "struct_ops.map":
    link.close()
    print(-1, flush=True)
program = Left.table.members["ssthresh"]
wait(program.live.info().id if {link} else Left.table.live.info.id, link)
"""


def is_registered() -> bool:
    with socket.socket() as client:
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bw_left")
        except FileNotFoundError:
            return False
        return True


def test_a_table_that_a_link_registers_is_taken_back(tmp_path: Path) -> None:
    number = killed(TABLE.format(link=True), tmp_path)
    if number < 0:
        pytest.skip("this kernel has no links of struct_ops")

    assert gone(number)
    assert not is_registered()


def test_a_table_that_no_link_registers_stays(tmp_path: Path) -> None:
    number = killed(TABLE.format(link=False), tmp_path)
    try:
        assert is_registered()
    finally:
        take_back(number)

    assert not is_registered()
    with pytest.raises(AttachError, match=f"map {number}"):
        take_back(number)
