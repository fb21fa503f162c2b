"""Run-time statistics of programs: how often each ran, and for how long.

The kernel counts only while somebody asks it to: each run takes some 20 ns more then.
"""

import errno
import struct

from beewire.bpf.kernel import explain, syscall
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.bpf.kernel.privilege import read_text

_SWITCH = "/proc/sys/kernel/bpf_stats_enabled"
_RUN_TIME = 0  # BPF_STATS_RUN_TIME


class Statistics(Descriptor):
    """Statistics are on for as long as this is open, and off when the process has died.

    Several may be open at once, in any processes: the last one switches them off.
    """

    __slots__ = ("_before",)

    def __init__(self, fd: int, before: str = "") -> None:
        super().__init__(fd)
        self._before = before

    def __repr__(self) -> str:
        return "<run-time statistics, on>" if self.open else "<run-time statistics>"

    @property
    def open(self) -> bool:
        """Whether they are on because of this object."""
        return not self.closed or bool(self._before)

    def close(self) -> None:
        """Switch them off, unless somebody else wants them. Closing twice does nothing."""
        super().close()
        before, self._before = self._before, ""
        if before:
            _write(before)


def statistics() -> Statistics:
    """Switch statistics on; the caller closes what is returned.

        with statistics():
            time.sleep(1)
            for program in programs(): print(program.name, program.run_count)

    Kernels before 5.8 have only a switch for the whole machine (kernel.bpf_stats_enabled):
    it is put back when this is closed, but not when the process is killed.

    Raises:
        NotPermitted: CAP_SYS_ADMIN is missing.
        NotSupported: the kernel has no statistics (before Linux 5.1).
    """
    record = bytearray(struct.pack("=I", _RUN_TIME))
    result = syscall.try_bpf(syscall.Cmd.ENABLE_STATS, record)
    if result >= 0:
        return Statistics(result)
    before = read_text(_SWITCH)
    if result == -errno.EINVAL and before and _write("1"):
        return Statistics(-1, before)
    about = "switch on run-time statistics"
    raise explain.refusal(-result, "ENABLE_STATS", about, ("CAP_SYS_ADMIN",))


def always_on() -> bool:
    """Whether statistics are on for the whole machine, whoever asks for them."""
    return read_text(_SWITCH) == "1"


def _write(value: str) -> bool:
    try:
        with open(_SWITCH, "w") as file:  # noqa: PTH123 - no pathlib in this room
            file.write(value)
    except OSError:
        return False
    return True
