"""Tracing programs: attached to the hook that they were loaded for."""

from __future__ import annotations

from beewire.bpf.author.bound import OnMap
from beewire.bpf.author.program import CgroupProgram, F, Program
from beewire.bpf.lang.structs import Struct
from beewire.errors import SpecError
from beewire.hints import TYPE_CHECKING, Any, NoReturn, TypeVar

if TYPE_CHECKING:
    from beewire.bpf.kernel import AnyMap, EventLink, IteratorLink, Link
    from beewire.hints import Iterable

S = TypeVar("S", bound=Struct)


class TracingProgram(Program[F]):
    """Runs at a typed tracepoint, a kernel function or an LSM hook, machine-wide."""

    def attach(self, *, cookie: int = 0) -> Link:
        """Run it whenever the hook is passed, until the Link is closed.

        `attach_cookie()` gives `cookie` (Linux 6.0; of tracepoints 6.10).

        Raises:
            AttachError: This kernel has no such hook.
            NotPermitted: CAP_PERFMON is missing, or the machine forbids it.
        """
        from beewire.bpf.kernel import attach_tracing  # noqa: PLC0415

        return attach_tracing(self.live, cookie=cookie)


class FreplaceProgram(Program[F]):
    """Runs in the place of a function of another program, for which it is loaded."""

    def attach(self, program: Program[Any] | None = None, function: str = "") -> Link:
        """Replace the function until the Link is closed.

        `program` is another one that has such a function (Linux 5.10), called `function`
        there, in place of the one that it was loaded for.

        Raises:
            AttachError: There is no such function, or something replaces it already.
            NotPermitted: A capability is missing, or the machine forbids it.
        """
        live = self.live
        from beewire.bpf.kernel import attach_freplace, attach_tracing  # noqa: PLC0415

        if program is None:
            return attach_tracing(live)
        return attach_freplace(live, program.live, function or self.attach_to)


class SyscallProgram(Program[F]):
    """Run by user space, with memory that both see."""

    takes = "request"

    def attach(self, *args: Any, **where: Any) -> NoReturn:  # noqa: ARG002 - any override fits
        """Refuse: it is run.

        Raises:
            SpecError: Always; it says how.
        """
        raise SpecError(
            f"program {self.name!r} is attached to nothing: "
            f"result, request = {self.name}.run(Request(...))"
        )

    def run(self, request: S) -> tuple[int, S]:
        """Run it once: what it returned, and the request as it left it.

        Raises:
            CompileError: It cannot be compiled.
            VerifierError: The kernel refuses it.
            NotSupported: The kernel has no such programs (before Linux 5.14).
            KernelError: The request is of another size than the program's.
        """
        done = self.live.test_run(ctx_in=request.to_bytes())
        result = done.retval - (done.retval >> 31 << 32)
        return result, type(request).from_bytes(done.ctx_out)


class LsmCgroupProgram(CgroupProgram[F]):
    """Runs at an LSM hook, for the processes of a cgroup and below."""


class IteratorProgram(Program[F]):
    """Runs for every object of a kind, when somebody reads."""

    def attach(
        self,
        *,
        map: OnMap | AnyMap | None = None,  # noqa: A002 - the word of the field
        cgroup: str | None = None,
        order: str = "self",
        pid: int = 0,
        tid: int = 0,
    ) -> IteratorLink:
        """Let it be read, until the Link is closed; pin the link to read it by a file.

        `map` is the one whose elements it walks; `cgroup` where it begins, in this
        `order`: "self", "down", "up_from_leaves", "up" or "children"; `pid` or `tid` the
        tasks that it is limited to.

        Raises:
            AttachError: This iterator needs another target.
            NotPermitted: CAP_BPF is missing.
        """
        from beewire.bpf.kernel import attach_iterator  # noqa: PLC0415

        live = self.live
        walked = map.live if isinstance(map, OnMap) else map
        return attach_iterator(
            live, map=walked, cgroup=cgroup, order=order, pid=pid, tid=tid
        )

    def read(self, **target: Any) -> bytes:
        """Run it for all objects there are: what it wrote. `target` is as in `attach`.

        Raises:
            AttachError: As `attach`.
            KernelError: It cannot be read.
        """
        with self.attach(**target) as link:
            return link.read()


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
