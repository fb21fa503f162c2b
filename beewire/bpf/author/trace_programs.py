"""Tracing programs: attached to the hook that they were loaded for."""

from __future__ import annotations

from beewire.bpf.author.program import CgroupProgram, F, Program
from beewire.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from beewire.bpf.kernel import EventLink, Link
    from beewire.hints import Iterable


class TracingProgram(Program[F]):
    """Runs at a typed tracepoint, a kernel function or an LSM hook, machine-wide."""

    def attach(self) -> Link:
        """Run it whenever the hook is passed, until the Link is closed.

        Raises:
            AttachError: This kernel has no such hook.
            NotPermitted: CAP_PERFMON is missing, or the machine forbids it.
        """
        from beewire.bpf.kernel import attach_tracing  # noqa: PLC0415

        return attach_tracing(self.live)


class LsmCgroupProgram(CgroupProgram[F]):
    """Runs at an LSM hook, for the processes of a cgroup and below."""


class IteratorProgram(Program[F]):
    """Runs for every object of a kind, when somebody reads."""

    def attach(self) -> Link:
        """Let it be read, until the Link is closed; pin the link to read it by a file.

        Raises:
            AttachError: This iterator needs a map, which cannot be given yet.
            NotPermitted: CAP_BPF is missing.
        """
        from beewire.bpf.kernel import attach_iterator  # noqa: PLC0415

        return attach_iterator(self.live)

    def read(self) -> bytes:
        """Run it for all objects there are: what it wrote.

        Raises:
            AttachError: As `attach`.
            KernelError: It cannot be read.
        """
        from beewire.bpf.kernel import read_iterator  # noqa: PLC0415

        with self.attach() as link:
            return read_iterator(link)


class PerfEventProgram(Program[F]):
    """Runs at samples of a perf event."""

    def attach(  # noqa: PLR0913 - what a sample is of, and when it is taken
        self,
        event: str = "cpu-clock",
        *,
        frequency: int = 0,
        period: int = 0,
        pid: int = -1,
        cpus: Iterable[int] | None = None,
        user: bool = True,
        kernel: bool = True,
        inherit: bool = False,
        cookie: int = 0,
    ) -> EventLink:
        """Run it `frequency` times a second of `event`, or every `period` events.

        `event` is a name of perf-list(1): "cpu-clock", "page-faults", "cpu-cycles",
        "LLC-load-misses", or "rHEX". It counts for every task on all CPUs, or on `cpus`,
        or for the thread `pid` alone, with what it starts where `inherit`. Samples in
        user space or in the kernel can be left out. `helpers.get_attach_cookie(ctx)`
        gives `cookie` (Linux 5.15).

        Raises:
            AttachError: There is no such event, task or CPU, or no counter for it.
            NotPermitted: CAP_PERFMON is missing.
        """
        live = self.live
        from beewire.bpf.kernel import Sampling, attach_perf_event  # noqa: PLC0415

        sampling = Sampling(frequency, period, user, kernel, inherit)
        return attach_perf_event(
            live, event, sampling, pid=pid, cpus=cpus, cookie=cookie
        )
