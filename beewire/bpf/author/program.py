"""Programs: functions that the kernel runs, and where each kind of them is attached."""

from __future__ import annotations

from beewire.bpf.author.bound import home_of
from beewire.bpf.lang import MapDecl, ProgramDecl
from beewire.bpf.object.kinds import ProgramKind
from beewire.errors import SpecError
from beewire.garbage import Paused
from beewire.hints import TYPE_CHECKING, Any, Callable, ClassVar, Generic, TypeVar

if TYPE_CHECKING:
    from os import PathLike

    from beewire.bpf import kernel
    from beewire.bpf.author.home import Home
    from beewire.bpf.kernel import Link, XdpMode
    from beewire.bpf.kernel.links.order import Neighbour
    from beewire.bpf.object import ProgramSpec

F = TypeVar("F", bound=Callable[..., object])


class Program(ProgramDecl, Generic[F]):
    """A function that is a program; `function` is the function itself.

    `attach` compiles and loads it, with the maps that it uses, and gives a Link: a
    context manager, whose end is the end of the attachment.
    """

    function: F
    # What `attach` needs: "cgroup", "netns", "interface", "sockets"; "" for hooks that
    # are the machine's.
    takes: ClassVar[str] = ""
    home: Home | None = None
    origin: ProgramDecl | None = None

    def __repr__(self) -> str:
        return f"<program {self.name!r} ({self.section})>"

    def attach(self, *args: Any, **where: Any) -> Link:  # noqa: ARG002 - any override fits
        """Let the kernel run it; each kind of program says where.

        Raises:
            CompileError: It cannot be compiled; the message says where and why.
            VerifierError: The kernel refuses the program.
            AttachError: It cannot be attached there.
            NotPermitted: A capability is missing.
        """
        raise SpecError(f"a program of kind {self.kind.name} cannot be attached yet")

    @property
    def live(self) -> kernel.Program:
        """The program in the kernel; compiles and loads it first where that is due.

        Raises:
            CompileError: It cannot be compiled.
            VerifierError: The kernel refuses it.
            AttachError: It is bound to a Loaded that it is no part of.
        """
        # Before anything else asks for the kernel room, which is imported here.
        with Paused():
            return home_of(self).program(self.origin or self)

    @property
    def missed(self) -> int:
        """Runs that returned at once: no place was free for locals beside the stack.

        Counts those of all programs that were loaded with it; 0 where none has locals
        that the stack does not hold. In the map `bw_scratch` it is the first u64.
        """
        return home_of(self).missed(self.origin or self)

    def spec(self) -> ProgramSpec:
        """The program as plain data: instructions, relocations, line table.

        Raises:
            CompileError: It cannot be compiled.
        """
        from beewire.bpf.author.collection import collect  # noqa: PLC0415 - the compiler

        declared = self.origin or self
        return collect(declared).programs[declared.name]

    @property
    def source(self) -> str:
        """The function's source text, decorator included."""
        from inspect import getsource  # noqa: PLC0415 - for those who look

        return getsource(self.function)

    def disassemble(self) -> str:
        """The compiled instructions in the kernel's notation, its subprograms' too.

        Raises:
            CompileError: It cannot be compiled.
        """
        from beewire.bpf.author.collection import collect  # noqa: PLC0415 - the compiler
        from beewire.bpf.isa import format_program  # noqa: PLC0415 - for those who look

        declared = self.origin or self
        functions = collect(declared).programs
        called = [f for f in functions.values() if f.kind is ProgramKind.UNSPEC]
        texts = [f"{each.name}:\n{format_program(each.insns)}" for each in called]
        return "\n".join([format_program(functions[declared.name].insns), *texts])


class TracepointProgram(Program[F]):
    """Runs at a static tracepoint, for the whole machine."""

    def attach(self, *, cookie: int = 0) -> Link:
        """Run it whenever the tracepoint is passed, until the Link is closed.

        `attach_cookie()` gives `cookie` (Linux 5.15).

        Raises:
            AttachError: This kernel has no such tracepoint.
            NotPermitted: CAP_PERFMON is missing.
        """
        live = self.live
        from beewire.bpf.kernel import attach_tracepoint  # noqa: PLC0415

        category, _, name = self.attach_to.partition("/")
        return attach_tracepoint(live, category, name, cookie=cookie)


class RawTracepointProgram(Program[F]):
    """Runs at a raw tracepoint, for the whole machine."""

    def attach(self, *, cookie: int = 0) -> Link:
        """Run it whenever the tracepoint is passed, until the Link is closed.

        `attach_cookie()` gives `cookie` (Linux 6.10).

        Raises:
            AttachError: This kernel has no such tracepoint.
            NotPermitted: CAP_PERFMON is missing.
        """
        live = self.live
        from beewire.bpf.kernel import attach_raw_tracepoint  # noqa: PLC0415

        return attach_raw_tracepoint(live, self.attach_to, cookie=cookie)


class CgroupProgram(Program[F]):
    """Runs for the sockets, or packets, of the processes in a cgroup and below."""

    takes = "cgroup"

    def attach(  # noqa: PLR0913 - where it is, and where among the others
        self,
        cgroup: str | PathLike[str] | int,
        *,
        before: Neighbour | Program[Any] | None = None,
        after: Neighbour | Program[Any] | None = None,
        preorder: bool = False,
        revision: int = 0,
        flags: int = 0,
        as_link: bool = True,
        override: bool = False,
    ) -> Link:
        """Run it for every process in `cgroup` and below, until the Link is closed.

        `cgroup` is a cgroup2 directory, or a descriptor of one. Programs of child
        cgroups run first, then in the order of attaching, or `before` or `after` another
        (a Link, a Program, `LinkId(n)`, `ProgramId(n)`, "all"; Linux 6.16). Those with
        `preorder` run before all without, parents first (Linux 6.15). `flags` are further
        BPF_F_*. Without `as_link` (before Linux 5.7) the cgroup holds it, also when the
        process dies; `override` then lets a child's program take its place.

        Raises:
            AttachError: The path is no cgroup2 directory.
            NotPermitted: CAP_NET_ADMIN is missing.
        """
        live = self.live
        from beewire.bpf.kernel import attach_cgroup  # noqa: PLC0415

        return attach_cgroup(
            live,
            _path(cgroup),
            before=neighbour(before),
            after=neighbour(after),
            preorder=preorder,
            revision=revision,
            flags=flags,
            as_link=as_link,
            override=override,
        )


class NetnsProgram(Program[F]):
    """Runs for the incoming connections, or packets, of a network namespace."""

    takes = "netns"

    def attach(
        self, netns: str | PathLike[str] | int = "/proc/thread-self/ns/net"
    ) -> Link:
        """Run it in network namespace `netns` until the Link is closed.

        `netns` is a path such as /run/netns/NAME or /proc/PID/ns/net, or a descriptor;
        this thread's own where none is given.

        Raises:
            AttachError: The path names no network namespace.
            NotPermitted: CAP_NET_ADMIN is missing.
        """
        live = self.live
        from beewire.bpf.kernel import attach_netns  # noqa: PLC0415

        return attach_netns(live, _path(netns))


class XdpProgram(Program[F]):
    """Runs for every frame that a network interface receives."""

    takes = "interface"

    def attach(
        self,
        interface: str | int,
        mode: XdpMode | None = None,
        *,
        as_link: bool = True,
    ) -> Link:
        """Run it for every frame that `interface` receives, until the Link is closed.

        `interface` is a name or an index; `mode` says whether the driver must do it
        (by default it does where it can: `link.info.mode` tells). Without `as_link`
        (before Linux 5.9) it stays when the process dies.

        Raises:
            AttachError: There is no such interface, or it has a program already.
            NotPermitted: CAP_NET_ADMIN is missing.
        """
        live = self.live
        from beewire.bpf.kernel import XdpMode, attach_xdp  # noqa: PLC0415

        chosen = XdpMode.AUTO if mode is None else mode
        return attach_xdp(live, interface, chosen, as_link=as_link)


class SkMsgProgram(Program[F]):
    """Runs for every message that a socket of a socket map sends."""

    takes = "sockets"

    def attach(
        self, sockets: MapDecl, *, as_link: bool = True, replace: bool = False
    ) -> Link:
        """Run it for the sockets of a SockMap or SockHash, until the Link is closed.

        Without `as_link` (before Linux 6.10) the map holds it, as long as the map is there;
        with `replace` it takes the place of one that the map holds so, in one step.

        Raises:
            AttachError: The map holds no sockets, or has a program already.
            NotPermitted: CAP_NET_ADMIN is missing.
        """
        live = self.live  # loads the map too, where it is not there yet
        from beewire.bpf.kernel import attach_sockmap  # noqa: PLC0415

        live_map = home_of(sockets).map(_origin(sockets))
        return attach_sockmap(live, live_map, as_link=as_link, replace=replace)


def neighbour(found: Neighbour | Program[Any] | None) -> Neighbour | None:
    """What a program comes before or after, as the kernel room takes it."""
    return found.live if isinstance(found, Program) else found


def _origin(declared: MapDecl) -> MapDecl:
    found: MapDecl | None = getattr(declared, "origin", None)
    return found or declared


def _path(place: str | PathLike[str] | int) -> str | int:
    if isinstance(place, int | str):
        return place
    return place.__fspath__()
