"""Features of the selftests: tracing hooks, iterators, LSM, and the helpers of tracing."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from beewire.bpf import (
    Global,
    Kernel,
    PerfEvent,
    PtRegs,
    RawTracepoint,
    Struct,
    Tracepoint,
    Usdt,
    XdpAction,
    XdpContext,
    array,
    bpf_iter_meta,
    chars,
    context,
    current_cgroup_id,
    current_comm,
    current_pid_tgid,
    current_tgid,
    embedded,
    fentry,
    fexit,
    fmod_ret,
    freplace,
    helpers,
    i32,
    iter,
    kfunc,
    kprobe,
    kprobe_multi,
    ktime_ns,
    lsm,
    lsm_cgroup,
    perf_event,
    printk,
    raw_tracepoint,
    raw_tracepoint_writable,
    send_signal,
    seq_printf,
    seq_write,
    tp_btf,
    tracepoint,
    u8,
    u16,
    u32,
    u64,
    uprobe,
    uprobe_multi,
    usdt,
    user_str,
    xdp,
)
from tests.static_probe import TEXT, note, write


class mm_struct(Kernel):
    map_count: i32


class task_struct(Kernel):
    real_parent: "task_struct"
    pid: i32
    tgid: i32
    comm: str = chars(16)
    mm: mm_struct


class path(Kernel):
    pass


class sock(Kernel):
    sk_mark: u32


class socket(Kernel):
    sk: sock


class file(Kernel):
    f_flags: u32
    f_path: path = embedded()


class sock_common(Kernel):
    skc_num: u16


class bpf_map(Kernel):
    id: u32
    name: str = chars(16)


class sched_process_fork(Tracepoint):
    parent_pid: i32
    child_pid: i32


class Pids(Struct):
    pid: u32
    tgid: u32


class Row(Struct):
    id: u32 = 0
    name: str = chars(16, default="")


events = Global(u64)
target = Global(u32)
doomed = Global(u16, 1)


@tracepoint("sched:sched_process_fork")
def tracepoints(ctx: sched_process_fork) -> None:
    if ctx.parent_pid != ctx.child_pid:
        events.value += 1


@raw_tracepoint("sys_enter")
def raw_tracepoints(ctx: RawTracepoint) -> int:
    return 1 if ctx.args[0] == 0 else 0


@raw_tracepoint_writable("nbd_send_request")
def writable_tracepoints(ctx: RawTracepoint) -> None:
    events.value += ctx.args[1]


@tp_btf("sched_switch")
def tracepoints_with_types(preempt: bool, prev: task_struct, next: task_struct) -> None:
    if next.real_parent.pid == 1:
        events.value += 1


@fentry("tcp_connect")
def function_entries(sk: sock) -> None:
    events.value += sk.sk_mark


@fexit("tcp_connect")
def function_exits(sk: sock, result: i32) -> None:
    if result < 0:
        events.value += 1


@fmod_ret("security_file_open")
def results_replaced(file: file, result: i32) -> int:
    return result


@lsm("file_open")
def security_hooks(file: file) -> int:
    return 0 if file.f_flags & 3 == 0 else -1


@lsm_cgroup("socket_bind")
def security_of_a_cgroup(sock: socket, address: u64, addrlen: i32) -> int:
    return 1


@kprobe("tcp_connect")
def kernel_probes(sk: sock) -> None:
    events.value += sk.sk_mark


@uprobe("/bin/sh:main")
def user_probes(argc: i32, argv: u64) -> None:
    events.value += u64(argc)


@kprobe_multi("tcp_*")
def probes_of_many(ctx: PtRegs) -> None:
    events.value += ctx.parm1


@uprobe_multi("/bin/sh", "m*")
def user_probes_of_many(ctx: PtRegs) -> None:
    events.value += ctx.parm1


# A program with a static probe, as compilers make them of <sys/sdt.h>.
_FOLDER = tempfile.mkdtemp(prefix="bw-probed-")
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
write(
    Path(_FOLDER) / "probed",
    os.uname().machine,
    note("test", "usdt0", TEXT, 0, "-4@$7"),
)


@usdt(f"{_FOLDER}/probed:test:usdt0")
def static_probes(ctx: Usdt) -> None:
    events.value += u64(ctx.arg(0, u32))


@xdp
def _whole(ctx: XdpContext) -> int:
    return XdpAction.PASS


@freplace(_whole)
def functions_replaced(ctx: XdpContext) -> int:
    return XdpAction.PASS


@perf_event
def perf_events(ctx: PerfEvent) -> None:
    events.value += ctx.sample_period


@kprobe("tcp_connect")
def cookies(ctx: PtRegs) -> None:
    events.value += helpers.get_attach_cookie(ctx)


@kprobe("tcp_connect")
def addresses_of_functions(sk: sock) -> None:
    events.value += helpers.get_func_ip(context())


@iter("task")
def iterated_tasks(meta: bpf_iter_meta, task: task_struct | None) -> None:
    if task is not None:
        seq_printf(meta.seq, f"{task.pid} {task.comm} {task.real_parent.pid}\n")


@iter("task_file")
def iterated_files(
    meta: bpf_iter_meta, task: task_struct | None, fd: u32, file: file | None
) -> None:
    if task is not None and file is not None:
        seq_printf(meta.seq, f"{task.tgid} {fd} {file.f_flags:#x}\n")


@iter("bpf_map")
def iterated_maps(meta: bpf_iter_meta, map: bpf_map | None) -> None:
    if map is not None:
        row = Row(id=map.id, name=map.name)
        seq_write(meta.seq, row)


@iter("tcp")
def iterated_connections(
    meta: bpf_iter_meta, sk_common: sock_common | None, uid: u32
) -> None:
    if sk_common is not None:
        seq_printf(meta.seq, f"{meta.seq_num} {uid}\n")


@kfunc
def bpf_sock_destroy(sock: sock_common) -> i32: ...  # type: ignore[empty-body]


@iter("tcp")
def connections_closed(meta: bpf_iter_meta, sk_common: sock_common | None) -> None:
    if sk_common is not None and sk_common.skc_num == doomed.value:
        bpf_sock_destroy(sk_common)


@raw_tracepoint("sys_enter")
def lines_of_trace(ctx: RawTracepoint) -> int:
    printk(f"{current_comm()} {current_tgid()} {ktime_ns():x} {1} {2}")
    return 1


@raw_tracepoint("sys_enter")
def texts_formatted(ctx: RawTracepoint) -> int:
    text = Row()
    values = array(u64, 1)
    values[0] = 42
    helpers.snprintf(text.name, 16, "%d", values, 8)
    return 1 if text.name == "42" else 0


@raw_tracepoint("sys_enter")
def atomic_time(ctx: RawTracepoint) -> int:
    return 1 if helpers.ktime_get_tai_ns() > ktime_ns() else 0


@raw_tracepoint("sys_enter")
def pids_of_a_namespace(ctx: RawTracepoint) -> int:
    ids = Pids(pid=0, tgid=0)
    helpers.get_ns_current_pid_tgid(0, 0, ids, 8)
    return 1 if ids.pid == 0 and current_pid_tgid() else 0


@raw_tracepoint("sys_enter")
def cgroup_ids(ctx: RawTracepoint) -> int:
    return 1 if current_cgroup_id() > 0 else 0


@tracepoint("syscalls:sys_enter_nanosleep")
def signals(ctx: Tracepoint) -> None:
    if current_tgid() == target.value:
        send_signal(10)


@raw_tracepoint("sys_enter")
def memory_of_processes(ctx: RawTracepoint) -> int:
    letters = array(u8, 4)
    if helpers.probe_read_user(letters, 4, ctx.args[1]) != 0:
        return 0
    return 1 if letters == b"beew" else 0


@raw_tracepoint("sys_enter")
def texts_of_processes(ctx: RawTracepoint) -> int:
    row = Row()
    row.name = user_str(ctx.args[1])
    return 1 if row.name == "beewire" else 0


@fentry("security_file_open")
def paths_of_files(file: file) -> None:
    name = array(u8, 64)
    if helpers.d_path(file.f_path, name, 64) > 0:
        events.value += name[0]


@tp_btf("sched_switch")
def registers_of_tasks(preempt: bool, prev: task_struct) -> None:
    if helpers.task_pt_regs(prev):
        events.value += 1
