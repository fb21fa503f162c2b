"""A loaded program."""

import errno

from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.bpf.object import ProgramSpec
from beewire.errors import KernelError
from beewire.hints import TYPE_CHECKING, Any
from beewire.rows import Row

if TYPE_CHECKING:
    from beewire.bpf.kernel.info import ProgramInfo


class TestRun(Row):
    """What BPF_PROG_TEST_RUN gave: r0 as 32 bits, and the data as the program left it.

    `ctx_out` is the context, which only programs of kind SYSCALL change.
    """

    retval: int
    data_out: bytes
    ctx_out: bytes = b""


class Program(Descriptor):
    """A program that the kernel accepted. Closing it does not end its links.

    `maps` are those of its object, by name.
    """

    __slots__ = ("maps", "spec")

    def __init__(self, fd: int, spec: ProgramSpec) -> None:
        super().__init__(fd)
        self.spec = spec
        self.maps: dict[str, Any] = {}

    @classmethod
    def from_pin(cls, path: str, spec: ProgramSpec) -> "Program":
        """Open the program pinned at `path`, which was loaded from the like of `spec`.

        The kernel does not keep the section and the hook, so that `spec` says them; its
        instructions do not matter.

        Raises:
            KernelError: nothing is pinned there, or it is no program.
        """
        from beewire.bpf.kernel import pins  # noqa: PLC0415 - not on the start-up path

        return cls(pins.open_pin(path, "program"), spec)

    def __repr__(self) -> str:
        return f"<Program {self.spec.name!r} ({self.spec.section})>"

    @property
    def name(self) -> str:
        """The name in the object, which the kernel may know cut to 15 characters."""
        return self.spec.name

    def info(self) -> "ProgramInfo":
        """Id, sizes and counters as the kernel tells them."""
        from beewire.bpf.kernel.info import program_info  # noqa: PLC0415 - not on the start-up path

        return program_info(self.fd)

    def test_run(
        self, data_in: bytes = b"", ctx_in: bytes = b"", *, repeat: int = 1
    ) -> TestRun:
        """Run the program once (or `repeat` times) on this packet and context.

        A packet needs at least 14 bytes, an Ethernet header. Tracepoint, cgroup sockopt
        and sk_msg programs cannot be run this way by any kernel.

        Raises:
            NotSupported: the kernel cannot run this kind of program by itself.
            KernelError: the packet or the context does not fit the program's kind.
        """
        data, context = bytearray(data_in), bytearray(ctx_in)
        # bpf_xdp_adjust_head and its kin may grow the packet by this much.
        output = bytearray(len(data) + 256 if data else 0)
        record = attr.TEST_RUN.pack(
            prog_fd=self.fd,
            data_size_in=len(data),
            # sk_lookup insists on null pointers where there is no packet.
            data_in=syscall.address(data) if data else 0,
            data_size_out=len(output),
            data_out=syscall.address(output) if output else 0,
            ctx_size_in=len(context),
            ctx_in=syscall.address(context) if context else 0,
            # Kinds without repetition (raw tracepoint, syscall) insist on zero.
            repeat=repeat if repeat > 1 else 0,
        )
        try:
            syscall.bpf(
                syscall.Cmd.PROG_TEST_RUN, record, f"run {self.name!r} by itself"
            )
        except KernelError as error:
            if error.errno == errno.EINVAL:
                error.add_note("a packet is at least 14 bytes, a context as the kind's")
            raise
        size = attr.TEST_RUN.integer(record, "data_size_out")
        retval = attr.TEST_RUN.integer(record, "retval")
        return TestRun(retval, bytes(output[:size]), bytes(context))

    def pin(self, path: str) -> None:
        """Keep the program alive under `path` on a BPF file system."""
        from beewire.bpf.kernel import pins  # noqa: PLC0415 - not on the start-up path

        pins.pin(self.fd, path)
