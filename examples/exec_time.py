# fmt: off
"""How long does every program run? A line for each, live; Ctrl-C shows a histogram."""
from beewire.bpf import Kernel, LruHash, RingBuf, Struct, Tracepoint, chars, embedded  # noqa: I001
from beewire.bpf import current, current_tgid, ktime_ns, tracepoint, i32, u32, u64
class Exec(Struct):                       # one class: kernel layout, BTF, user-space view
    pid: u32
    ppid: u32
    ran_ns: u64
    comm: str = chars(16)
class atomic_t(Kernel):                   # CO-RE: name only the fields that are read
    counter: i32
class signal_struct(Kernel):
    live: atomic_t = embedded()           # how many threads still run
class task_struct(Kernel):
    real_parent: "task_struct"
    group_leader: "task_struct"
    signal: signal_struct
    tgid: i32
    comm: str = chars(16)
started = LruHash[u32, u64](max_entries=8192)
exits = RingBuf[Exec](size=1 << 18)

@tracepoint("sched:sched_process_exec")
def on_exec(ctx: Tracepoint) -> None:
    started[current_tgid()] = ktime_ns()

@tracepoint("sched:sched_process_exit")   # fires for every thread, in any order
def on_exit(ctx: Tracepoint) -> None:
    task, t0 = current(task_struct), started.lookup(current_tgid())
    if t0 is not None and task.signal.live.counter == 0:
        ran_ns = ktime_ns() - t0.value
        if started.delete(current_tgid()) == 0:   # two threads may find themselves last
            with exits.reserve() as e:            # submitted at the end of the block
                if e is not None:
                    e.pid, e.ppid, e.ran_ns = task.tgid, task.real_parent.tgid, ran_ns
                    e.comm = task.group_leader.comm

if __name__ == "__main__":                # user space: the same objects
    runs = [0] * 64
    with on_exec.attach(), on_exit.attach():
        for e in exits:
            print(f"{e.comm:16} {e.pid:>7} {e.ppid:>7} {e.ran_ns / 1e6:11.1f} ms", flush=True)
            runs[e.ran_ns.bit_length()] += 1
    for n, k in filter(all, enumerate(runs)):
        print(f"<{2**n / 1e6:11.1f} ms {'#' * (60 * k // max(runs))} {k}")
