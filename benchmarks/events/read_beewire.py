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
    current_pid,
    current_tgid,
    load,
    tracepoint,
    u32,
    u64,
)

process, path, way, size = sys.argv[1:]


class Event(Struct):
    """What every tool reports of a call."""

    pid: u32
    tid: u32
    number: u64


events = RingBuf[Event](
    int(size), wakeup_bytes=0 if way == "iterate" else 1 << 17, latency=0.005
)
caller = Const(u32)


@tracepoint("syscalls:sys_enter_getppid")
def on_call(ctx: Tracepoint) -> None:
    pid, tid = current_tgid(), current_pid()
    if pid == caller.value:
        for number in range(32):
            with events.reserve() as event:
                if event is not None:
                    event.pid, event.tid, event.number = pid, tid, number


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
    load(on_call, globals={"caller": int(process)}) as loaded,
    loaded[on_call].attach(),
):
    read(loaded[events], memoryview(memory).cast("Q"))
