"""Reads events of one process by BCC: read_bcc.py PID FILE BYTES; see read_beewire.py."""

import sys
from mmap import PAGESIZE, mmap
from pathlib import Path

from bcc import BPF

SOURCE = r"""
struct event { u32 pid; u32 tid; u64 number; };
BPF_RINGBUF_OUTPUT(events, PAGES);

TRACEPOINT_PROBE(syscalls, sys_enter_getppid)
{
    u64 id = bpf_get_current_pid_tgid();
    struct event *event;

    if (id >> 32 != CALLER)
        return 0;
#pragma unroll
    for (int i = 0; i < 32; i++) {
        event = events.ringbuf_reserve(sizeof(*event));
        if (!event)
            continue;
        event->pid = id >> 32;
        event->tid = id;
        event->number = i;
        events.ringbuf_submit(event, 0);
    }
    return 0;
}
"""

pid, path, size = sys.argv[1:]
pages = int(size) // PAGESIZE
bpf = BPF(text=SOURCE.replace("CALLER", pid).replace("PAGES", str(pages)))
events = bpf["events"]
with Path(path).open("r+b") as file, mmap(file.fileno(), 8) as memory:
    counter = memoryview(memory).cast("Q")

    def on_event(_context: object, data: object, _size: int) -> None:
        """Decode an event, as BCC's documentation does."""
        events.event(data)
        counter[0] += 1

    events.open_ring_buffer(on_event)
    while True:
        bpf.ring_buffer_poll()
