"""Attach a program as its section says: `kprobe/do_unlinkat`, `tp/sched/sched_switch`, ...

Of a section that does not say where (`xdp`, `cgroup/connect4`, plain `uprobe`) the caller
does. The names are libbpf's: `beewire.bpf.object.parse_section`.
"""

from beewire.bpf.kernel.descriptor import Closing
from beewire.bpf.kernel.links.base import Link
from beewire.bpf.kernel.loaded import Loaded
from beewire.bpf.kernel.maps import AnyMap
from beewire.bpf.kernel.maps.struct_ops import StructOpsMap
from beewire.bpf.kernel.program import Program
from beewire.bpf.object import AttachKind, ProgramKind
from beewire.errors import AttachError
from beewire.hints import Any, Callable, Iterator

Attach = Callable[..., Link]

_ROUTE = ("lwt", "attach_route", "a destination, and interface=")
# By section: the module and the function that attach, and what `where` has to be.
_PLACES: dict[ProgramKind, tuple[str, str, str]] = {
    ProgramKind.XDP: ("xdp", "attach_xdp", "an interface"),
    ProgramKind.SCHED_CLS: ("tcx", "attach_tcx", "an interface"),
    ProgramKind.SK_LOOKUP: ("netns", "attach_netns", "a network namespace"),
    ProgramKind.FLOW_DISSECTOR: ("netns", "attach_netns", "a network namespace"),
    ProgramKind.SOCKET_FILTER: ("socket", "attach_socket_filter", "a socket"),
    ProgramKind.SK_REUSEPORT: ("socket", "attach_reuseport", "a socket of the group"),
    ProgramKind.LWT_IN: _ROUTE,
    ProgramKind.LWT_OUT: _ROUTE,
    ProgramKind.LWT_XMIT: _ROUTE,
    ProgramKind.LWT_SEG6LOCAL: _ROUTE,
    ProgramKind.SK_MSG: ("sockmap", "attach_sockmap", "a map of sockets"),
    ProgramKind.SK_SKB: ("sockmap", "attach_sockmap", "a map of sockets"),
    ProgramKind.NETFILTER: ("netfilter", "attach_netfilter", "a hook of netfilter"),
    ProgramKind.LIRC_MODE2: ("lirc", "attach_lirc", "an infrared device"),
    ProgramKind.PERF_EVENT: ("perf_event", "attach_perf_event", "a perf event"),
}
_CGROUP = ("cgroup", "attach_cgroup", "a cgroup")
_OF_CGROUPS = "CGROUP"


def attach(program: Program, where: Any = None, **options: Any) -> Link:
    """Attach `program` where its section says, or to `where`.

    `where` is in the place of what stands behind the "/", or is what the section lacks:
    a cgroup, an interface, a network namespace, a map of sockets. `options` are those of
    the function that attaches this kind (`cookie`, `pid`, `flags`, ...).

    Raises:
        AttachError: nothing says where; or as that function.
        NotPermitted, NotSupported: as that function.
    """
    word, _, target = program.spec.section.lstrip("?").partition("/")
    word = word.removesuffix(".s")
    by_section = _SECTIONS.get(word)
    if by_section is not None:
        place = target if where is None else where
        if not place and word not in _SELF_EVIDENT:
            raise _nowhere(program, _EXAMPLES.get(word, "a place"))
        return by_section(program, place, **options)
    module, name, needed = _place_of(program)
    if where is None:
        raise _nowhere(program, needed)
    function: Attach = getattr(_module(module), name)
    return function(program, where, **options)


def says_where(program: Program) -> bool:
    """Whether the section alone tells where a program belongs."""
    word, _, target = program.spec.section.lstrip("?").partition("/")
    word = word.removesuffix(".s")
    return word in _SELF_EVIDENT or (word in _SECTIONS and bool(target))


def _place_of(program: Program) -> tuple[str, str, str]:
    kind, attach_kind = program.spec.kind, program.spec.attach_kind
    if kind.name.startswith(_OF_CGROUPS) or kind is ProgramKind.SOCK_OPS:
        return _CGROUP
    if attach_kind is not None and attach_kind.name == "LSM_CGROUP":
        return _CGROUP
    found = _PLACES.get(kind)
    if found is None or attach_kind in _IN_MAPS:
        instead = _IN_MAPS.get(attach_kind) or _ELSEWHERE.get(kind)
        raise AttachError(
            f"program {program.name!r} ({program.spec.section}) is attached by no call: "
            f"{instead or 'the kernel runs it in another way'}"
        )
    return found


# Programs that are found in a table.
_IN_MAPS: dict[AttachKind | None, str] = {
    AttachKind.XDP_DEVMAP: "put it into an entry of a device map",
    AttachKind.XDP_CPUMAP: "put it into an entry of a CPU map",
}
_ELSEWHERE = {
    ProgramKind.SCHED_ACT: "pin it, and name it in `tc filter add ... action bpf "
    "object-pinned PATH`",
    ProgramKind.SYSCALL: "run it, with test_run()",
    ProgramKind.STRUCT_OPS: "register the table that it is in, with attach_struct_ops()",
}


def _nowhere(program: Program, needed: str) -> AttachError:
    section = program.spec.section
    return AttachError(
        f"section {section!r} of program {program.name!r} does not say where to attach "
        f"it: give {needed}"
    )


def _module(name: str) -> Any:
    return __import__(f"{__package__}.{name}", fromlist=("attach",))


def _call(module: str, function: str, *arguments: Any, **options: Any) -> Link:
    found: Attach = getattr(_module(module), function)
    return found(*arguments, **options)


# One function for each family of sections: (program, what is behind "/").


def _kprobe(program: Program, place: str, **options: Any) -> Link:
    function, _, offset = place.partition("+")
    returns = _returns(program)
    number = int(offset, 0) if offset else 0
    options = {"offset": number, "returns": returns, **options}
    return _call("kprobe", "attach_kprobe", program, function, **options)


def _ksyscall(program: Program, place: str, **options: Any) -> Link:
    options = {"returns": _returns(program), **options}
    return _call("kprobe", "attach_ksyscall", program, place, **options)


def _kprobe_multi(program: Program, place: object, **options: Any) -> Link:
    options = {"returns": _returns(program), **options}
    return _call("multi", "attach_kprobe_multi", program, place, **options)


def _uprobe(program: Program, place: str, **options: Any) -> Link:
    from beewire.bpf.kernel.binaries import split_place  # noqa: PLC0415 - uprobes only

    path, function = split_place(place)
    options = {"returns": _returns(program), **options}
    return _call("uprobe", "attach_uprobe", program, path, function, **options)


def _uprobe_multi(program: Program, place: str, **options: Any) -> Link:
    from beewire.bpf.kernel.binaries import split_place  # noqa: PLC0415 - uprobes only

    path, pattern = split_place(place)
    options = {"returns": _returns(program), **options}
    return _call("multi", "attach_uprobe_multi", program, path, pattern, **options)


def _usdt(program: Program, place: str, **options: Any) -> Link:
    maps = program.maps
    return _call("usdt_maps", "attach_usdt_by_maps", program, maps, place, **options)


def _tracepoint(program: Program, place: str, **options: Any) -> Link:
    category, _, name = place.replace(":", "/").partition("/")
    return _call("tracepoint", "attach_tracepoint", program, category, name, **options)


def _raw_tracepoint(program: Program, place: str, **options: Any) -> Link:
    name = "attach_raw_tracepoint"
    return _call("raw_tracepoint", name, program, place, **options)


def _tracing(program: Program, _: object, **options: Any) -> Link:
    return _call("raw_tracepoint", "attach_tracing", program, **options)


def _iterator(program: Program, _: object, **options: Any) -> Link:
    return _call("iterator", "attach_iterator", program, **options)


def _returns(program: Program) -> bool:
    return program.spec.section.lstrip("?").startswith(("kret", "uret"))


_SECTIONS: dict[str, Attach] = {
    **dict.fromkeys(("kprobe", "kretprobe"), _kprobe),
    **dict.fromkeys(("ksyscall", "kretsyscall"), _ksyscall),
    **dict.fromkeys(
        ("kprobe.multi", "kretprobe.multi", "kprobe.session"), _kprobe_multi
    ),
    **dict.fromkeys(("uprobe", "uretprobe"), _uprobe),
    **dict.fromkeys(
        ("uprobe.multi", "uretprobe.multi", "uprobe.session"), _uprobe_multi
    ),
    **dict.fromkeys(("tracepoint", "tp"), _tracepoint),
    **dict.fromkeys(
        ("raw_tracepoint", "raw_tp", "raw_tracepoint.w", "raw_tp.w"), _raw_tracepoint
    ),
    **dict.fromkeys(
        ("tp_btf", "fentry", "fexit", "fmod_ret", "lsm", "freplace"), _tracing
    ),
    "usdt": _usdt,
    "iter": _iterator,
}
# What they are for was said when they were loaded.
_SELF_EVIDENT = ("tp_btf", "fentry", "fexit", "fmod_ret", "lsm", "freplace", "iter")
_EXAMPLES = {
    **dict.fromkeys(("kprobe", "kretprobe"), "a kernel function"),
    **dict.fromkeys(("ksyscall", "kretsyscall"), "a system call"),
    **dict.fromkeys(("kprobe.multi", "kretprobe.multi", "kprobe.session"), "a pattern"),
    **dict.fromkeys(("uprobe", "uretprobe"), "path:function"),
    **dict.fromkeys(
        ("uprobe.multi", "uretprobe.multi", "uprobe.session"), "path:pattern"
    ),
    **dict.fromkeys(("tracepoint", "tp"), "category/name"),
    "usdt": "path:provider:name",
}


class Links(Closing):
    """What `attach_all` attached, by the name of the program or table.

    A context manager that closes all. `left` are the names of what was not attached, as
    its section does not say where.
    """

    def __init__(self) -> None:
        self._links: dict[str, Link] = {}
        self.left: list[str] = []

    def __repr__(self) -> str:
        return f"<Links {', '.join(self._links) or 'none'}>"

    def __getitem__(self, name: str) -> Link:
        return self._links[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._links)

    def __len__(self) -> int:
        return len(self._links)

    def add(self, name: str, link: Link) -> None:
        """Close `link` with the others."""
        self._links[name] = link

    def close(self) -> None:
        """Detach everything. Closing twice does nothing."""
        for link in reversed(self._links.values()):
            link.close()


def attach_all(loaded: Loaded) -> Links:
    """Attach every program whose section says where, and register tables of struct_ops.

    Raises:
        AttachError, NotPermitted, NotSupported: one of them cannot be; then none is.
    """
    links = Links()
    try:
        for name, program in loaded.programs.items():
            if program.spec.kind is ProgramKind.STRUCT_OPS:
                continue
            if says_where(program):
                links.add(name, attach(program))
            else:
                links.left.append(name)
        for name, table in loaded.maps.items():
            if isinstance(table, StructOpsMap):
                links.add(name, _table(table))
    except BaseException:
        links.close()
        raise
    return links


def _table(table: AnyMap) -> Link:
    return _call("struct_ops", "attach_struct_ops", table)
