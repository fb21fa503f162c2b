"""Close a pod before it is configured: first its network namespace, then its cgroup.

    with load(gate.programs()) as programs:
        netns = Path("/run/netns/pod-a")
        closed = gate.close_namespace(programs, netns)                      # CNI ADD
        ...                                         # now the pod's cgroup is known
        held = gate.close_pod(programs, Path("/sys/fs/cgroup/pod-a"), netns)
        closed.open()
        ...                                         # now the pod is configured
        held.open()

A gate is closed as long as it has links. They end with the process, unless they are
pinned: `closed.pin(directory)`, and `Gate.from_pins(programs, directory)` elsewhere.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any, Self

from beewire.bpf import Loaded, Program, kernel, load
from beewire.bpf.author.net_programs import TcProgram
from beewire.bpf.kernel import Link, features, pins
from beewire.bpf.kernel.links.clsact import find_clsact
from beewire.bpf.object import AttachKind, ProgramKind
from beewire.errors import AttachError, KernelError, MeshError, NotSupported
from beewire.mesh import netns as namespaces
from beewire.mesh.programs import gate

HOOKS = ("input", "forward", "output")
FIRST = 2 - (1 << 31)  # of netfilter's priorities; the least is the kernel's own
FRAMES = "frames"  # links of tc, and how their pins' names begin
IPV6 = Path("/proc/sys/net/ipv6")  # absent where the kernel runs without it


def programs() -> tuple[Program[Any], ...]:
    """The programs that all pods of a node share.

    Before Linux 6.4 there are no netfilter links, and before 6.15 packets of cgroups do not
    tell their namespace: `close_namespace` and `close_pod` then load copies for each pod.
    """
    cookie = features.helper("get_netns_cookie", ProgramKind.CGROUP_SKB).available
    return (
        *((gate.packets,) if _has(AttachKind.NETFILTER) else ()),
        *((gate.pod_out, gate.pod_in) if cookie else ()),
        *(gate.frames_out, gate.frames_pass),
    )


class Gate:
    """What keeps a namespace, or a pod's cgroup, closed.

    `close` gives the descriptors back: a gate whose links are pinned stays closed, any
    other opens. `open` opens it either way.
    """

    def __init__(self, programs: Loaded, links: dict[str, Link]) -> None:
        self.links = links
        self.directory: Path | None = None
        self._pass = programs[gate.frames_pass]

    @classmethod
    def from_pins(
        cls, programs: Loaded, directory: Path, netns: Path | None = None
    ) -> Self:
        """The gate that is pinned in `directory`, made by the same `programs`.

        Of a kernel before 6.4 it is found in its namespace, `netns`.

        Raises:
            MeshError: none is.
        """
        links: dict[str, Link] = {}
        paths = sorted(directory.iterdir()) if directory.is_dir() else []
        with ExitStack() as undo:
            for path in paths:
                if (link := _found(programs, path, netns)) is not None:
                    links[path.name] = undo.enter_context(link)
            if not paths:
                raise MeshError(f"no gate is pinned in {directory}")
            undo.pop_all()
        for path in paths:
            if path.name not in links:  # its interface is gone
                path.unlink(missing_ok=True)
        found = cls(programs, links)
        found.directory = directory
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_swept(self) -> bool:
        """Whether it is open, and nothing of it is left."""
        return not self.links

    def pin(self, directory: Path) -> None:
        """Keep it closed beyond the process, until `open`: a name for each link.

        The directory is made, for its owner only; its parent lies on a BPF file system.
        Filters (before Linux 6.4) are no links, and stay by themselves: the name is their
        program's, by which they are found.

        Raises:
            MeshError: something else is pinned there.
            KernelError: it lies on no BPF file system. Nothing is pinned then.
        """
        _make(directory)
        with ExitStack() as undo:
            undo.callback(directory.rmdir)
            for name, link in self.links.items():
                if _is_filter(link):
                    pins.pin(link.fd, str(directory / name))
                else:
                    link.pin(str(directory / name))
                undo.callback((directory / name).unlink)
            undo.pop_all()
        self.directory = directory

    def open(self, *, sweep: bool = True) -> None:
        """Let everything through from now on. Opening twice does nothing.

        Without `sweep` that is done in microseconds, and programs that let everything
        through may stay on interfaces until `sweep` is called.
        """
        for name, link in [*self.links.items()]:
            if not name.startswith(FRAMES):
                self._take_away(name)
                continue
            with contextlib.suppress(KernelError):  # its interface is gone
                link.update(self._pass.live)
        if sweep:
            self.sweep()

    def sweep(self) -> None:
        """Take away what is left of a gate that is open: some 10 ms an interface."""
        for name in [*self.links]:
            self._take_away(name)
        if self.directory is not None:
            with contextlib.suppress(FileNotFoundError):
                self.directory.rmdir()

    def close(self) -> None:
        """Close the descriptors. Closing twice does nothing."""
        for link in self.links.values():
            if _is_filter(link) and self.directory is not None and not link.closed:
                os.close(link.release())  # it stays
            link.close()

    def _take_away(self, name: str) -> None:
        link = self.links.pop(name)
        if self.directory is not None:
            (self.directory / name).unlink(missing_ok=True)
        if not link.closed:
            # The hook may have gone before us, with its namespace or its cgroup.
            with contextlib.suppress(KernelError):
                link.detach()
            link.close()


def _is_filter(link: Link) -> bool:
    return link.kind == "clsact"


def _found(programs: Loaded, path: Path, netns: Path | None) -> Link | None:
    """What is pinned at `path`: a link, or the program of a filter in `netns`."""
    try:
        return Link.from_pin(str(path))
    except KernelError:
        if netns is None or not path.name.startswith(FRAMES):
            raise
    _, direction, number = path.name.rsplit("-", 2)
    hook = AttachKind.TCX_EGRESS if direction == "egress" else AttachKind.TCX_INGRESS
    spec = programs[gate.frames_out].live.spec
    with (
        kernel.Program.from_pin(str(path), spec) as program,
        contextlib.suppress(MeshError),  # the namespace is gone
    ):
        return namespaces.within(netns, lambda: find_clsact(program, int(number), hook))
    return None


def close_namespace(programs: Loaded, netns: Path) -> Gate:
    """Let no packet into the namespace, or out of it, except over loopback.

    Netfilter programs close every interface, those to come, too; where the kernel has no
    links for them (before Linux 6.4), only the interfaces that are there are closed.

    Raises:
        MeshError: there is no such namespace, or its gate is closed already.
        KernelError: the kernel refused; then nothing has changed.
    """
    return namespaces.within(netns, lambda: _closed_here(programs, netns))


def close_pod(programs: Loaded, cgroup: Path, netns: Path) -> Gate:
    """Let no packet to the cgroup's sockets, or from them, except over loopback.

    What connect() and sendmsg() hooks do not see goes here: raw sockets, ICMP, and
    sockets that were connected before the hooks were there.

    Raises:
        MeshError: there is no such cgroup.
        KernelError: the kernel refused; then nothing has changed.
    """
    if not cgroup.is_dir():
        raise MeshError(f"{cgroup} does not exist: a pod's gate needs its cgroup")
    both = (gate.pod_out, gate.pod_in)
    with ExitStack() as undo:
        if gate.pod_out.name in programs.programs:
            own = programs
        else:
            own = undo.enter_context(_copy(programs, both, namespaces.cookie(netns)))
        made = ExitStack()
        undo.enter_context(made)
        links = {
            name: made.enter_context(own[program].attach(str(cgroup)))
            for name, program in zip(("egress", "ingress"), both, strict=True)
        }
        made.pop_all()
    return Gate(programs, links)


def _closed_here(programs: Loaded, netns: Path) -> Gate:
    links: dict[str, Link] = {}
    found: Iterator[tuple[str, Link]]
    with ExitStack() as undo:
        if gate.packets.name in programs.programs:
            # Packet sockets send past netfilter; what they receive is no way out. Filters
            # of clsact (before Linux 6.6) could not be pinned beside the rest.
            by_frame = {"egress": programs} if _has(AttachKind.TCX_EGRESS) else {}
            found = chain(_packet_links(programs, netns), _frame_links(by_frame))
        else:
            both = (gate.frames_out, gate.frames_in)
            own = _copy(programs, both, namespaces.own_cookie())
            # A link holds its program.
            undo.callback(own.close)
            found = _frame_links({"egress": own, "ingress": own})
        made = undo.enter_context(ExitStack())
        for name, link in found:
            links[name] = made.enter_context(link)
        made.pop_all()
    return Gate(programs, links)


def _has(kind: AttachKind) -> bool:
    return bool(features.attach_kind(kind).available)


def _copy(shared: Loaded, wanted: Sequence[Program[Any]], pod: int) -> Loaded:
    # They count and tell where all others do.
    maps = {name: shared.maps[name] for name in ("events", "tallies")}
    return load(wanted, maps=maps, globals={"namespace": pod})


def _packet_links(programs: Loaded, netns: Path) -> Iterator[tuple[str, Link]]:
    program = programs[gate.packets]
    for version in (4, 6) if IPV6.exists() else (4,):
        for hook in HOOKS:
            try:
                link = program.attach(hook, version=version, priority=FIRST)
            except AttachError as error:
                raise MeshError(f"the namespace {netns} is closed already") from error
            yield f"{hook}-{version}", link


def _frame_links(programs: dict[str, Loaded]) -> Iterator[tuple[str, Link]]:
    for interface in namespaces.interfaces():
        for direction, loaded in programs.items():
            outward = direction == "egress"
            program = loaded[gate.frames_out if outward else gate.frames_in]
            name = f"{FRAMES}-{direction}-{interface.number}"
            yield name, _first(program, interface.number, direction)


def _first(program: TcProgram[Any], interface: int, direction: str) -> Link:
    # Programs of others may end the way of a packet: ours comes before them.
    try:
        return program.attach(interface, direction, before="all")
    except NotSupported:  # of clsact: before Linux 6.6
        return program.attach(interface, direction, priority=1)


def _make(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError as error:
        if not directory.is_dir() or any(directory.iterdir()):
            raise MeshError(
                f"{directory} is taken: something is pinned there already"
            ) from error
    except OSError as error:
        raise MeshError(
            f"the gate cannot be pinned in {directory}: {error.strerror}"
        ) from error
