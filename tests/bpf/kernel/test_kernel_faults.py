"""Every step of loading, attaching and detaching fails once, with every errno.

Whatever fails: no descriptor is left, nothing stays attached, and the error says what.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from beewire.bpf import isa
from beewire.bpf.btf import Func, FuncProto, Int, Param, Ptr
from beewire.bpf.kernel import (
    Link,
    Loaded,
    Map,
    RingReader,
    Sampling,
    UserRing,
    attach_cgroup,
    attach_iterator,
    attach_netns,
    attach_perf_event,
    attach_raw_tracepoint,
    attach_sockmap,
    attach_tcx,
    attach_tracepoint,
    attach_tracing,
    attach_xdp,
    load,
    read_iterator,
)
from beewire.bpf.kernel.maps.create import create_map
from beewire.bpf.kernel.perf import PerfReader
from beewire.bpf.object import (
    AttachKind,
    DataSection,
    MapKind,
    MapSpec,
    ObjectSpec,
    ProgramKind,
    ProgramSpec,
    Relocation,
    RelocationKind,
    Variable,
)
from beewire.errors import BeewireError, NotPermitted
from tests.faults import FEW, closing, exists_soon, fail_everywhere
from tests.systems import Faulty, using

if TYPE_CHECKING:
    from tests.bpf.kernel.conftest import Counter

pytestmark = [pytest.mark.kernel, pytest.mark.host]

MakeCounter = Callable[..., "Counter"]
RunInside = Callable[[Callable[[], object]], None]


@pytest.fixture
def gone() -> Iterator[Callable[[Loaded], int]]:
    """Notes programs, whose ids have to be free at the end: nothing holds them."""
    noted: list[tuple[Loaded, int]] = []

    def note(loaded: Loaded) -> int:
        (program,) = loaded.programs.values()
        noted.append((loaded, program.info().id))
        return noted[-1][1]

    yield note
    for loaded, id_ in noted:
        loaded.close()
        assert not exists_soon(id_)


Gone = Callable[[Loaded], int]


@pytest.mark.parametrize("as_link", [True, False])
def test_tracepoints(counter: MakeCounter, gone: Gone, as_link: bool) -> None:
    count = counter(ProgramKind.TRACEPOINT)

    def attach() -> Link:
        where = ("sched", "sched_process_exec")
        return attach_tracepoint(count.program, *where, as_link=as_link)

    fail_everywhere(closing(attach), gone(count.loaded), FEW)


def test_raw_tracepoints(counter: MakeCounter, gone: Gone) -> None:
    count = counter(ProgramKind.RAW_TRACEPOINT)

    fail_everywhere(
        closing(lambda: attach_raw_tracepoint(count.program, "sched_process_exec")),
        gone(count.loaded),
        FEW,
    )


def test_tracing(counter: MakeCounter, gone: Gone) -> None:
    hook = (AttachKind.TRACE_RAW_TP, 0, "sched_process_exec")
    count = counter(ProgramKind.TRACING, *hook)

    fail_everywhere(closing(lambda: attach_tracing(count.program)), gone(count.loaded))


@pytest.mark.parametrize("as_link", [True, False])
def test_perf_events(counter: MakeCounter, gone: Gone, as_link: bool) -> None:
    count = counter(ProgramKind.PERF_EVENT, verdict=0)

    def attach() -> Link:
        rate = Sampling(frequency=1)
        return attach_perf_event(count.program, "cpu-clock", rate, as_link=as_link)

    fail_everywhere(closing(attach), gone(count.loaded), FEW)


def test_cgroups(counter: MakeCounter, gone: Gone, cgroup: str) -> None:
    hook = AttachKind.CGROUP_INET4_CONNECT
    count = counter(ProgramKind.CGROUP_SOCK_ADDR, hook)

    fail_everywhere(
        closing(lambda: attach_cgroup(count.program, cgroup)), gone(count.loaded)
    )


def test_network_namespaces(counter: MakeCounter, gone: Gone, netns: str) -> None:
    count = counter(ProgramKind.SK_LOOKUP, AttachKind.SK_LOOKUP)

    fail_everywhere(
        closing(lambda: attach_netns(count.program, f"/run/netns/{netns}")),
        gone(count.loaded),
    )


def test_interfaces(
    counter: MakeCounter, gone: Gone, inside: RunInside, veth: str
) -> None:
    frames = counter(ProgramKind.XDP, AttachKind.XDP, verdict=2)
    packets = counter(ProgramKind.SCHED_CLS, AttachKind.TCX_INGRESS, verdict=0)

    def body() -> None:
        xdp = closing(lambda: attach_xdp(frames.program, veth))
        tcx = closing(lambda: attach_tcx(packets.program, veth))
        fail_everywhere(xdp, gone(frames.loaded))
        fail_everywhere(tcx, gone(packets.loaded))

    inside(body)


@pytest.mark.parametrize("as_link", [True, False])
def test_sockmaps(counter: MakeCounter, as_link: bool) -> None:
    spec = MapSpec(
        "sockets", kind=MapKind.SOCKMAP, key_size=4, value_size=4, max_entries=4
    )
    count = counter(ProgramKind.SK_MSG, AttachKind.SK_MSG_VERDICT)
    id_ = count.program.info().id
    with Map.wrap(create_map(spec), spec) as sockets:
        fail_everywhere(
            closing(lambda: attach_sockmap(count.program, sockets, as_link=as_link)),
            id_,
            spared="PROG_DETACH",
        )
        count.loaded.close()
        # The map, which is still there, would hold a program that was left on it.
        assert not exists_soon(id_)


def test_a_program_that_cannot_be_taken_off_is_told(counter: MakeCounter) -> None:
    spec = MapSpec(
        "sockets", kind=MapKind.SOCKMAP, key_size=4, value_size=4, max_entries=4
    )
    count = counter(ProgramKind.SK_MSG, AttachKind.SK_MSG_VERDICT)
    with Map.wrap(create_map(spec), spec) as sockets:
        link = attach_sockmap(count.program, sockets, as_link=False)

        with using(Faulty(0)), pytest.raises(NotPermitted, match="where it stays"):
            link.close()

        assert link.closed


def test_iterators(counter: MakeCounter, gone: Gone) -> None:
    count = counter(ProgramKind.TRACING, AttachKind.TRACE_ITER, 0, "bpf_map")

    def action() -> None:
        with attach_iterator(count.program) as link:
            read_iterator(link)

    fail_everywhere(action, gone(count.loaded))


def whole_object() -> ObjectSpec:
    """Maps in a map, a section, types, and a program that uses a map and a global."""
    spec = ObjectSpec("faults")
    number = Int("unsigned long", 8)
    spec.maps["hits"] = MapSpec(
        "hits",
        kind=MapKind.HASH,
        key_size=8,
        value_size=8,
        max_entries=4,
        key=number,
        value=number,
    )
    spec.maps["outer"] = MapSpec(
        "outer",
        kind=MapKind.ARRAY_OF_MAPS,
        key_size=4,
        value_size=4,
        max_entries=2,
        inner=spec.maps["hits"],
        initial={1: "hits"},
    )
    for name in (".bss", ".rodata"):
        variable = Variable(name[1:], 0, 8, number)
        spec.sections[name] = DataSection(name, bytearray(b"\1" * 8), [variable])
    spec.programs["p"] = ProgramSpec(
        "p",
        kind=ProgramKind.XDP,
        section="xdp",
        insns=(
            isa.ld_imm64(1, 0),
            isa.ld_imm64(2, 0),
            isa.mov_imm(0, 2),
            isa.exit_insn(),
        ),
        relocations=(
            Relocation(0, RelocationKind.MAP, "hits"),
            Relocation(2, RelocationKind.GLOBAL, "bss"),
        ),
        signature=Func(
            "p",
            FuncProto(Int("int", 4, signed=True), (Param("ctx", Ptr(None)),)),
        ),
    )
    return spec


def test_loading() -> None:
    spec = whole_object()

    fail_everywhere(lambda: load(spec).close())


def test_loading_with_pins(pins: str) -> None:
    spec = whole_object()

    def action() -> None:
        try:
            load(spec, pin_dir=pins).close()
            assert names_in(pins) == ["hits", "outer"]
        except BeewireError:
            assert names_in(pins) == []
            raise
        finally:
            for name in names_in(pins):
                Path(pins, name).unlink()

    fail_everywhere(action)


def names_in(folder: str) -> list[str]:
    """What is pinned in a directory."""
    return sorted(path.name for path in Path(folder).iterdir())


def test_readers() -> None:
    ring = MapSpec(
        "ring", kind=MapKind.RINGBUF, key_size=0, value_size=0, max_entries=1 << 12
    )
    user = MapSpec(
        "user", kind=MapKind.USER_RINGBUF, key_size=0, value_size=0, max_entries=1 << 12
    )
    perf = MapSpec(
        "perf", kind=MapKind.PERF_EVENT_ARRAY, key_size=4, value_size=4, max_entries=0
    )
    with ExitStack() as stack:
        rings, users, events = (
            stack.enter_context(Map.wrap(create_map(each), each))
            for each in (ring, user, perf)
        )
        fail_everywhere(lambda: RingReader(rings, bytes).close())
        fail_everywhere(lambda: UserRing(users).close())
        fail_everywhere(lambda: PerfReader(events, bytes).close())
