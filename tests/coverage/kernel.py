"""Features of the selftests: CO-RE, kernel functions and variables, struct_ops."""

from enum import IntEnum

from beewire.bpf import (
    Array,
    Kconfig,
    Kernel,
    Ksym,
    RawTracepoint,
    Struct,
    StructOps,
    array,
    bits,
    chars,
    current,
    current_tgid,
    embedded,
    enum_value,
    exists,
    held,
    helpers,
    i32,
    i64,
    kernel_ptr,
    kernel_str,
    kernel_type_id,
    kfunc,
    pointer,
    raw_tracepoint,
    sizeof,
    syscall,
    type_matches,
    u32,
    u64,
)


class qstr(Kernel):
    name: int = pointer()


class dentry(Kernel):
    d_name: qstr = embedded()


class path(Kernel):
    dentry: dentry


class file(Kernel):
    f_path: path = embedded()


class upid(Kernel):
    nr: i32


class pid(Kernel):
    numbers: list[upid] = embedded(upid, 1)


class signal_struct(Kernel):
    pids: list[pid] = pointer(pid, 4)


class mm_struct(Kernel):
    exe_file: file


class task_struct(Kernel):
    real_parent: "task_struct"
    pid: i32
    tgid: i32
    exit_signal: i32
    comm: str = chars(16)
    mm: mm_struct
    signal: signal_struct
    in_execve: u32 = bits(1)
    sched_reset_on_fork: u32 = bits(1)
    never_was: u64


class task_struct___old(Kernel):
    state: i64
    tgid: i32


class task_struct___same(Kernel):
    tgid: i32


class bpf_func_id(IntEnum):
    BPF_FUNC_map_lookup_elem = 77


class rq(Kernel):
    nr_running: u32


class bpf_cpumask(Kernel):
    pass


class sock(Kernel):
    sk_mark: u32


class tcp_sock(Kernel):
    snd_cwnd: u32


class Names(Struct):
    comm: str = chars(16, default="")
    file: str = chars(32, default="")


class Request(Struct):
    pid: i32
    answer: i32


@kfunc
def bpf_task_from_pid(pid: i32) -> task_struct | None: ...


@kfunc
def bpf_cpumask_create() -> bpf_cpumask | None: ...


@kfunc
def bpf_cpumask_set_cpu(cpu: u32, cpumask: bpf_cpumask) -> None: ...


@kfunc
def bpf_preempt_disable() -> None: ...


@kfunc
def bpf_preempt_enable() -> None: ...


@kfunc
def bpf_never_was(number: u32) -> u64: ...  # type: ignore[empty-body]


requests = Array[Request](max_entries=1)
runqueues = Ksym[rq]("runqueues", per_cpu=True)
version = Kconfig(u32, "LINUX_KERNEL_VERSION")
no_option = Kconfig(bool, "CONFIG_BEEWIRE_NONE", optional=True)
schedule = Ksym[None]("schedule")
never_there = Ksym[u64]("never_there")


@raw_tracepoint("sys_enter")
def chains_of_fields(ctx: RawTracepoint) -> int:
    task = current(task_struct)
    return 1 if task.real_parent.tgid > 0 else 0


@raw_tracepoint("sys_enter")
def core_arrays(ctx: RawTracepoint) -> int:
    group = current(task_struct).signal.pids[1]
    return 1 if group.numbers[0].nr > 0 else 0


@raw_tracepoint("sys_enter")
def core_bit_fields(ctx: RawTracepoint) -> int:
    task = current(task_struct)
    return 1 if task.in_execve + task.sched_reset_on_fork == 0 else 0


@raw_tracepoint("sys_enter")
def core_enum_values(ctx: RawTracepoint) -> int:
    return enum_value(bpf_func_id.BPF_FUNC_map_lookup_elem)


@raw_tracepoint("sys_enter")
def core_existence(ctx: RawTracepoint) -> int:
    if exists(task_struct.never_was):
        return current(task_struct).never_was
    return 1 if exists(task_struct.tgid) else 0


@raw_tracepoint("sys_enter")
def core_flavours(ctx: RawTracepoint) -> int:
    old = current(task_struct___old)
    if exists(old.state):
        return old.state
    return 1 if old.tgid > 0 else 0


@raw_tracepoint("sys_enter")
def texts_behind_pointers(ctx: RawTracepoint) -> int:
    entry = current(task_struct).mm.exe_file.f_path.dentry
    names = Names()
    names.file = kernel_str(entry.d_name.name)
    return 1 if names.file != "" else 0


@raw_tracepoint("sys_enter")
def core_sizes(ctx: RawTracepoint) -> int:
    task = current(task_struct)
    return 1 if sizeof(task_struct) > 1000 and sizeof(task.comm) == 16 else 0


@raw_tracepoint("sys_enter")
def core_types(ctx: RawTracepoint) -> int:
    return 1 if exists(task_struct) and type_matches(task_struct___same) else 0


@raw_tracepoint("sys_enter")
def core_type_ids(ctx: RawTracepoint) -> int:
    return 1 if kernel_type_id(task_struct) > 0 else 0


@syscall
def tasks_acquired(ctx: Request) -> int:
    with held(bpf_task_from_pid(i32(current_tgid()))) as task:
        if task is None:
            return 0
        return 1 if task.tgid > 0 else 0


@syscall
def masks_of_cpus(ctx: Request) -> int:
    with held(bpf_cpumask_create()) as mask:
        if mask is None:
            return 0
        bpf_cpumask_set_cpu(0, mask)
    return 1


@syscall
def weak_functions(ctx: Request) -> int:
    if exists(bpf_never_was):
        return i32(bpf_never_was(1))
    return 1


@syscall
def typed_variables(ctx: Request) -> int:
    running = runqueues.here().nr_running
    return 1 if running < 1 << 20 else 0


@syscall
def configured(ctx: Request) -> int:
    return 1 if version.value >= 0x50000 and not no_option.value else 0


@syscall
def addresses_of_symbols(ctx: Request) -> int:
    return 1 if schedule.address() else 0


@syscall
def without_preemption(ctx: Request) -> int:
    bpf_preempt_disable()
    ctx.answer += 1
    bpf_preempt_enable()
    return 1


@raw_tracepoint("sys_enter")
def dynptrs(ctx: RawTracepoint) -> int:
    if (here := requests.lookup(0)) is None:
        return 0
    here.pid = 7
    dynptr, copy = array(u64, 2), Request(pid=0, answer=0)
    if helpers.dynptr_from_mem(here, sizeof(Request), 0, dynptr) != 0:
        return 0
    if helpers.dynptr_read(copy, sizeof(Request), dynptr, 0, 0) != 0:
        return 0
    return 1 if copy.pid == 7 else 0


@syscall
def run_by_user_space(ctx: Request) -> int:
    ctx.answer = ctx.pid + 1
    return 1 if ctx.answer > ctx.pid else 0


class congestion_control(StructOps, kernel="tcp_congestion_ops"):
    name: str = chars(16, default="bw_coverage")

    @staticmethod
    def ssthresh(sk: sock) -> u32:
        return 2

    @staticmethod
    def undo_cwnd(sk: sock) -> u32:
        return kernel_ptr(sk, tcp_sock).snd_cwnd

    @staticmethod
    def cong_avoid(sk: sock, ack: u32, acked: u32) -> None:
        kernel_ptr(sk, tcp_sock).snd_cwnd = 8
