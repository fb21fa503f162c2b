"""A scheduler in Python (sched_ext, Linux 6.12): first come, first served.

    sudo python examples/scheduler.py 10     # schedules the machine for ten seconds

Tasks wait in one queue for all CPUs, in the order in which they woke up, and run for 5 ms
at a time. If this process dies, or a task waits too long, the kernel takes its own
scheduler back.
"""

import sys
import time

from beewire.bpf import Kernel, PerCpuArray, StructOps, chars, i32, kfunc, u32, u64

SHARED = 0  # the queue
SLICE_NS = 5_000_000
ENQUEUED, DISPATCHED = 0, 1


class task_struct(Kernel):
    pid: i32


@kfunc
def scx_bpf_create_dsq(dsq_id: u64, node: i32) -> i32: ...  # type: ignore[empty-body]


@kfunc
def scx_bpf_dsq_insert(
    p: task_struct,
    dsq_id: u64,
    slice_ns: u64,
    enq_flags: u64,
) -> None: ...


@kfunc
def scx_bpf_dsq_move_to_local(dsq_id: u64) -> bool: ...  # type: ignore[empty-body]


counts = PerCpuArray[u64](2)


class Fifo(StructOps, kernel="sched_ext_ops", sleepable=("init",)):
    """`struct sched_ext_ops`; what it leaves out is the kernel's own."""

    timeout_ms: u32 = 5000
    name: str = chars(128, default="bw_fifo")

    @staticmethod
    def init() -> i32:
        """Make the queue."""
        return scx_bpf_create_dsq(SHARED, -1)

    @staticmethod
    def enqueue(p: task_struct, enq_flags: u64) -> None:
        """A task may run: to the end of the queue."""
        counts[ENQUEUED] += 1
        scx_bpf_dsq_insert(p, SHARED, SLICE_NS, enq_flags)

    @staticmethod
    def dispatch(cpu: i32, prev: task_struct | None) -> None:  # noqa: ARG004
        """A CPU has nothing to do: the first of the queue."""
        if scx_bpf_dsq_move_to_local(SHARED):
            counts[DISPATCHED] += 1


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    with Fifo.attach() as link:
        print(f"bw_fifo schedules this machine ({link.kind})", flush=True)
        time.sleep(seconds)
        told = [counts[i].sum() for i in (ENQUEUED, DISPATCHED)]
    print(f"{told[0]} tasks queued, {told[1]} dispatched")


if __name__ == "__main__":
    main()
