"""Reads events of one process: read_beewire.py PID FILE WAY BYTES.

FILE counts the records, in a number of 8 bytes. WAY is iterate, batch or numpy. Readers of
batches are woken when 128 KiB wait, or look after 5 ms.
"""

import sys
from mmap import mmap
from pathlib import Path

from beewire.bpf import (
    Const,
    RingBuf,
    Struct,
    Tracepoint,
    chars,
    current_comm,
    current_pid,
    current_tgid,
    ktime_ns,
    load,
    tracepoint,
    u32,
    u64,
)

pid, path, way, size = sys.argv[1:]


class Event(Struct):
    """What every tool reports of a call."""

    pid: u32
    tid: u32
    ns: u64
    comm: str = chars(16)


events = RingBuf[Event](
    int(size), wakeup_bytes=0 if way == "iterate" else 1 << 17, latency=0.005
)
caller = Const(u32)


@tracepoint("syscalls:sys_enter_getppid")
def on_call(ctx: Tracepoint) -> None:
    if current_tgid() == caller.value:
        for _ in range(32):
            with events.reserve() as event:
                if event is not None:
                    event.pid, event.tid = current_tgid(), current_pid()
                    event.ns = ktime_ns()
                    event.comm = current_comm()


def read(ring: RingBuf[Event], counter: memoryview) -> None:
    """Read for ever."""
    if way == "iterate":
        for _ in ring:
            counter[0] += 1
    while True:
        counter[0] += len(ring.read_batch(numpy=way == "numpy"))


with (
    Path(path).open("r+b") as file,
    mmap(file.fileno(), 8) as memory,
    load(on_call, globals={"caller": int(pid)}) as loaded,
    loaded[on_call].attach(),
):
    read(loaded[events], memoryview(memory).cast("Q"))
