"""The memory that the kernel writes its reasons into: as much as they take.

Imported only after a refusal.
"""

import errno
import mmap
from collections.abc import Callable

from beewire.bpf.kernel import syscall

# From here up to what the kernel takes: UINT_MAX >> 2, since Linux 5.2 (7a9f5c65abcc).
FIRST, LARGEST, GROWTH = 1 << 20, (1 << 30) - 1, 16
# How much longer the same log may be the next time: it tells how long it took.
_SLACK = 1 << 12


def call_with_log(call: Callable[[int, int], tuple[int, int]]) -> tuple[int, str]:
    """What `call` gives with a log that fits, and that log.

    `call` takes the size of a buffer and its address; it gives its result, and the size
    that the log would have taken where the kernel tells (Linux 6.4), else 0. The result
    is -ENOSPC where even the largest buffer is too small: the log is a part then.
    """
    size = FIRST
    while True:
        # Not a bytearray: pages that the kernel does not write to are never there.
        with mmap.mmap(-1, size) as memory:
            result, needed = call(size, syscall.address(memory))
            if result != -errno.ENOSPC or size == LARGEST:
                end = memory.find(b"\0")
                return result, memory[:end].decode(errors="replace")
        size = min(needed + _SLACK if needed > size else size * GROWTH, LARGEST)
