"""What the kernel says of the programs, maps and links in it."""

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from beewire.bpf.kernel import (
    Loaded,
    Program,
    attach_cgroup,
    attach_netns,
    attach_raw_tracepoint,
    attach_tracepoint,
    attach_xdp,
    attr,
    ensure_bpffs,
    ids,
    syscall,
)
from beewire.bpf.kernel.inspection import (
    Attachment,
    Census,
    Held,
    LinkState,
    Owner,
    ProgramState,
    held_by_proc,
    link_state,
    take_census,
)
from beewire.bpf.kernel.statistics import always_on, statistics
from beewire.bpf.kernel.syscall import System
from beewire.bpf.object import AttachKind, MapKind, MapSpec, ObjectSpec, ProgramKind
from beewire.errors import UsageError
from tests.systems import BPF

pytestmark = pytest.mark.kernel

Count = Callable[..., "Counted"]
COMM = Path("/proc/self/comm").read_text().strip()


class Counted(Protocol):
    """What the fixture `counter` makes: a program that counts its runs."""

    program: Program


def program_of(census: Census, program: Program) -> ProgramState:
    number = program.info().id
    return next(each for each in census.programs if each.id == number)


def link_of(census: Census, fd: int) -> LinkState:
    number = link_state(fd).id
    return next(each for each in census.links if each.id == number)


@pytest.fixture
def bpffs() -> Iterator[str]:
    folder = f"{ensure_bpffs()}/bw-inspect-{os.getpid()}"
    Path(folder).mkdir()
    yield folder
    for path in Path(folder).iterdir():
        path.unlink()
    Path(folder).rmdir()


def test_a_program_is_told_with_all_that_is_known(counter: Count) -> None:
    count = counter(ProgramKind.XDP)

    found = program_of(take_census(), count.program)

    info = count.program.info()
    assert (found.kind, found.name, found.tag) == ("XDP", "count", info.tag)
    assert (found.xlated_size, found.jited_size) == (info.xlated_size, info.jited_size)
    assert abs(found.loaded_at - time.time()) < 60
    assert (found.uid, found.gpl, found.memory > 0) == (os.geteuid(), True, True)
    assert found.owners == (Owner(os.getpid(), COMM),)
    assert (found.attachments, found.pins) == ((), ())


def test_a_map_is_told_with_its_programs(counter: Count) -> None:
    count = counter(ProgramKind.XDP)
    census = take_census()

    (number,) = program_of(census, count.program).map_ids
    found = next(each for each in census.maps if each.id == number)

    assert (found.kind, found.key_size, found.value_size) == ("ARRAY", 4, 8)
    assert found.program_ids == (count.program.info().id,)
    assert found.owners == (Owner(os.getpid(), COMM),)


def test_a_link_on_a_cgroup_is_told_by_its_directory(
    counter: Count, cgroup: str
) -> None:
    kind = AttachKind.CGROUP_INET4_CONNECT
    count = counter(ProgramKind.CGROUP_SOCK_ADDR, kind)
    with attach_cgroup(count.program, cgroup) as link:
        census = take_census()
        found = link_of(census, link.fd)

    assert (found.kind, found.hook) == ("CGROUP", "cgroup_inet4_connect")
    assert found.target == cgroup
    assert found.owners == (Owner(os.getpid(), COMM),)
    place = Attachment("cgroup_inet4_connect", cgroup, found.id)
    assert program_of(census, count.program).attachments == (place,)


def test_what_a_cgroup_runs_without_a_link_is_told(counter: Count, cgroup: str) -> None:
    kind = AttachKind.CGROUP_INET4_CONNECT
    count = counter(ProgramKind.CGROUP_SOCK_ADDR, kind)
    fd = os.open(cgroup, os.O_RDONLY)
    record = attr.PROG_ATTACH.pack(
        target_fd=fd, attach_bpf_fd=count.program.fd, attach_type=kind
    )
    try:
        assert syscall.try_bpf(syscall.Cmd.PROG_ATTACH, record) == 0
        found = program_of(take_census(), count.program)
        syscall.try_bpf(syscall.Cmd.PROG_DETACH, record)
    finally:
        os.close(fd)

    assert found.attachments == (Attachment("cgroup_inet4_connect", cgroup),)


def test_tracepoints_are_told_by_name(counter: Count) -> None:
    plain = counter(ProgramKind.TRACEPOINT)
    raw = counter(ProgramKind.RAW_TRACEPOINT)
    with (
        attach_tracepoint(plain.program, "sched", "sched_process_fork"),
        attach_raw_tracepoint(raw.program, "sched_process_fork"),
    ):
        census = take_census()

    (plain_at,) = program_of(census, plain.program).attachments
    (raw_at,) = program_of(census, raw.program).attachments
    assert (raw_at.kind, raw_at.target) == ("raw_tracepoint", "sched_process_fork")
    # The kernel tells the name of a perf event link since Linux 6.6.
    assert plain_at.kind in {"tracepoint", "perf_event"}
    assert plain_at.target in {"sched_process_fork", ""}


def test_an_interface_of_another_namespace_is_told(
    counter: Count, netns: str, inside: Callable[[Callable[[], object]], None]
) -> None:
    count = counter(ProgramKind.XDP, verdict=2)
    links = []
    inside(lambda: links.append(attach_xdp(count.program, "lo")))
    with links[0] as link:
        census = take_census()
        found = link_of(census, link.fd)

    assert found.target == f"lo in netns {netns} (generic)"
    places = program_of(census, count.program).attachments
    assert [(each.kind, each.link_id) for each in places] == [("xdp", found.id)]


def test_a_filter_of_tc_is_told_though_it_has_no_link(
    counter: Count, netns: str, bpffs: str
) -> None:
    count = counter(ProgramKind.SCHED_CLS, verdict=0)
    count.program.pin(f"{bpffs}/filter")
    for words in (
        "qdisc add dev lo clsact",
        f"filter add dev lo egress bpf da object-pinned {bpffs}/filter",
    ):
        # Not by `ip netns exec`, which shows another /sys.
        command = ["nsenter", f"--net=/run/netns/{netns}", "tc", *words.split()]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            pytest.skip("tc(8) cannot attach a pinned program here")

    found = program_of(take_census(), count.program)

    assert found.attachments == (Attachment("clsact egress", f"lo in netns {netns}"),)
    assert found.pins == (f"{bpffs}/filter",)


def test_a_socket_lookup_is_told_by_its_namespace(counter: Count, netns: str) -> None:
    count = counter(ProgramKind.SK_LOOKUP, AttachKind.SK_LOOKUP)
    with attach_netns(count.program, f"/run/netns/{netns}") as link:
        found = link_of(take_census(), link.fd)

    assert (found.hook, found.target) == ("sk_lookup", f"netns {netns}")


def test_a_program_in_a_table_of_programs_runs_there(
    counter: Count,
    load_now: Callable[..., Loaded],
    make_object: Callable[..., ObjectSpec],
) -> None:
    count = counter(ProgramKind.XDP)
    table = MapSpec(
        "jumps", kind=MapKind.PROG_ARRAY, key_size=4, value_size=4, max_entries=3
    )
    jumps = load_now(make_object(table)).maps["jumps"]
    key, value = (
        bytearray((2).to_bytes(4, "little")),
        bytearray(count.program.fd.to_bytes(4, "little")),
    )
    record = attr.MAP_ELEM.pack(
        map_fd=jumps.fd, key=syscall.address(key), value=syscall.address(value)
    )
    assert syscall.try_bpf(syscall.Cmd.MAP_UPDATE_ELEM, record) == 0

    (found,) = program_of(take_census(), count.program).attachments

    assert found.kind == "tail_call"
    assert found.target.endswith("(jumps)[2]")


def test_pins_are_told_of_programs_and_links(
    counter: Count, bpffs: str, cgroup: str
) -> None:
    kind = AttachKind.CGROUP_INET4_CONNECT
    count = counter(ProgramKind.CGROUP_SOCK_ADDR, kind)
    count.program.pin(f"{bpffs}/program")
    with attach_cgroup(count.program, cgroup) as link:
        link.pin(f"{bpffs}/link")
        census = take_census()
        pins = link_of(census, link.fd).pins

    assert pins == (f"{bpffs}/link",)
    assert program_of(census, count.program).pins == (f"{bpffs}/program",)


def test_every_process_that_holds_a_program_owns_it(counter: Count) -> None:
    count = counter(ProgramKind.XDP)
    fd = count.program.fd
    code = "import sys; print('ready', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        pass_fds=[fd],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        owners = program_of(take_census(), count.program).owners

    assert {owner.pid for owner in owners} == {os.getpid(), child.pid}


def test_holders_are_taken_from_who_found_them(counter: Count) -> None:
    count = counter(ProgramKind.XDP)
    number = count.program.info().id
    told = [Held("program", number, 7, 3, "other")]

    found = program_of(take_census(lambda: told), count.program)

    assert found.owners == (Owner(7, "other"),)


def test_holders_by_proc_are_this_process_for_what_it_holds(counter: Count) -> None:
    count = counter(ProgramKind.XDP)
    number = count.program.info().id

    found = [
        each for each in held_by_proc() if (each.kind, each.id) == ("program", number)
    ]

    assert [(each.pid, each.fd) for each in found] == [(os.getpid(), count.program.fd)]


def test_runs_are_counted_only_while_statistics_are_on(counter: Count) -> None:
    if always_on():
        pytest.skip("statistics are on for the whole machine")
    count = counter(ProgramKind.XDP)
    count.program.test_run(bytes(64))
    before = count.program.info().run_count
    on = statistics()
    with on:
        count.program.test_run(bytes(64))
    counted = count.program.info()
    count.program.test_run(bytes(64))

    assert (before, counted.run_count) == (0, 1)
    assert counted.run_time_ns > 0
    assert count.program.info().run_count == 1
    assert not on.open
    on.close()


def test_statistics_end_with_the_process_that_wanted_them(counter: Count) -> None:
    if always_on():
        pytest.skip("statistics are on for the whole machine")
    code = (
        "from beewire.bpf.kernel.statistics import statistics; import os, signal\n"
        "on = statistics(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    count = counter(ProgramKind.XDP)
    count.program.test_run(bytes(64))

    assert count.program.info().run_count == 0


def test_an_id_that_does_not_exist_is_the_callers_mistake() -> None:
    with pytest.raises(UsageError, match=r"there is no map 4294967295: `beewire maps`"):
        ids.open_id(ids.MAP, 0xFFFF_FFFF)


def test_taking_a_census_leaves_no_descriptor(
    open_descriptors: Callable[[], int], counter: Count
) -> None:
    counter(ProgramKind.XDP)
    take_census()
    before = open_descriptors()

    take_census()

    assert open_descriptors() == before


def test_without_the_capability_it_says_which_is_missing(
    python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    told = python(
        "-c",
        "import os\n"
        "from beewire.bpf.kernel.inspection import take_census\n"
        "from beewire.errors import NotPermitted\n"
        "os.setresuid(65534, 65534, 65534)\n"
        "try: take_census()\n"
        "except NotPermitted as error: print(error)",
    )

    assert told.stdout.startswith(
        "cannot list the programs of this machine: this process lacks CAP_SYS_ADMIN;"
    ), told.stderr


class Before58(System):
    """A kernel that has no statistics by descriptor."""

    __slots__ = ()

    def call(self, number: int, *arguments: int) -> int:
        """syscall(2)."""
        if number == BPF and arguments[0] == syscall.Cmd.ENABLE_STATS:
            return -errno.EINVAL
        return super().call(number, *arguments)


def test_the_switch_for_the_whole_machine_is_put_back() -> None:
    if always_on():
        pytest.skip("statistics are on for the whole machine")
    syscall.use(Before58())
    try:
        with statistics():
            meanwhile = always_on()
    finally:
        syscall.use(None)

    assert (meanwhile, always_on()) == (True, False)
