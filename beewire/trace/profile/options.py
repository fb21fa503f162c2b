"""What is to be recorded."""

from typing import NamedTuple


class Options(NamedTuple):
    """What is recorded: `frequency` in Hz, or waiting of at least `least_us`.

    `children` of `pids` are recorded as well, from now on. `unwind` finds callers by
    unwind tables instead of frame pointers, on x86-64; off the CPU of 1024 threads at most.
    """

    pids: tuple[int, ...] = ()
    children: bool = False
    cgroup: str = ""
    frequency: int = 99
    off_cpu: bool = False
    kernel: bool = True
    user: bool = True
    least_us: int = 1
    unwind: bool = False
