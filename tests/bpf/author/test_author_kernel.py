"""Collect, load and attach in the running kernel: what one module becomes, and how often."""

import copy
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from beewire.bpf import (
    Array,
    BpfSock,
    Global,
    HashMap,
    LpmTrie,
    PerCpuArray,
    RawTracepoint,
    RingBuf,
    SkStorage,
    SockAddr,
    Struct,
    Tracepoint,
    cgroup_sock_create,
    chars,
    collect,
    connect4,
    current_comm,
    current_tgid,
    htons,
    ip4,
    load,
    ntohs,
    raw_tracepoint,
    tracepoint,
    u16,
    u32,
    u64,
)
from beewire.bpf.kernel import cgroup2_mount
from beewire.errors import AttachError, MapError, SpecError
from tests.cgroups import remove

pytestmark = pytest.mark.kernel


class Call(Struct):
    pid: u32
    port: u16
    comm: str = chars(16)


class Settings(Struct):
    denied_port: u32
    watched: u32


class Prefix(Struct):
    bits: u32
    address: u32


calls = HashMap[u32, u64](max_entries=64)
records = RingBuf[Call](size=4096)
per_cpu = PerCpuArray[u64](max_entries=2)
last = Array[Call](max_entries=1)
kept = SkStorage[Call]()
settings = Global(Settings)
step = Global(u64, 1)
spare = HashMap[u32, u32](max_entries=1)  # no program uses it
networks = LpmTrie[Prefix, u32](max_entries=4)


def note(port: u16) -> None:
    """Count a call, by a function that both programs use."""
    calls[current_tgid()] += step.value
    per_cpu[0] += 1
    records.emit(Call(pid=current_tgid(), port=port, comm=current_comm()))


@connect4
def outbound(ctx: SockAddr) -> int:
    port = ntohs(ctx.user_port)
    note(port)
    if (state := kept.get_or_create(ctx.sk)) is not None:
        state.port = port
    last[0] = Call(pid=current_tgid(), port=port, comm=current_comm())
    return port != settings.denied_port


@cgroup_sock_create
def created(ctx: BpfSock) -> None:
    note(ctx.family)


@connect4
def network_of(ctx: SockAddr) -> None:
    key = Prefix(bits=32, address=ctx.user_ip4)
    if (found := networks.lookup(key)) is not None:
        found.value += 1


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A cgroup of our own; what is in it afterwards goes back to its parent."""
    path = Path(cgroup2_mount()) / f"bw-author-{os.getpid()}"
    path.mkdir()
    yield path
    remove(path)


def connect_in(cgroup: Path, port: int = 9) -> str:
    """Let a process in `cgroup` connect to 127.0.0.1:port; what became of it."""
    code = (
        "import os, socket, sys\n"
        f"open('{cgroup}/cgroup.procs', 'w').write(str(os.getpid()))\n"
        "try:\n"
        f"    socket.create_connection(('127.0.0.1', {port}), timeout=60)\n"
        "except OSError as error:\n"
        "    print(type(error).__name__, end='')\n"
    )
    command = [sys.executable, "-S", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_collect_finds_programs_and_what_they_use() -> None:
    spec = collect(sys.modules[__name__])

    assert {"outbound", "created", "network_of"} <= set(spec.programs)
    assert {"calls", "records", "per_cpu", "last", "kept", "networks"} <= set(spec.maps)
    assert "spare" not in spec.maps
    assert {name for each in spec.sections.values() for name, *_ in each.variables} == {
        "settings",
        "step",
        "bw_dropped_records",
    }


def test_collect_of_one_program_leaves_out_what_it_does_not_use() -> None:
    assert set(collect(created).maps) == {"calls", "per_cpu", "records"}


def test_a_loaded_program_sees_connections_and_user_space_sees_its_maps(
    cgroup: Path,
) -> None:
    with load(outbound) as loaded, loaded[outbound].attach(cgroup):
        connect_in(cgroup)

        (record,) = loaded[records].read(timeout=60)
        (pid,) = loaded[calls]
        assert (record.pid, record.port) == (pid, 9)
        assert record.comm.startswith("python")
        assert loaded[calls][pid] == 1
        assert sum(loaded[per_cpu][0]) == 1
        assert loaded[last][0] == record


def test_maps_and_programs_are_found_by_name_too(cgroup: Path) -> None:
    with load(outbound) as loaded, loaded.programs["outbound"].attach(cgroup=cgroup):
        connect_in(cgroup)

        assert len(loaded.maps["calls"]) == 1
        assert loaded.maps["last"][0].port == 9


def test_two_loaded_of_one_program_share_nothing(cgroup: Path) -> None:
    with load(outbound) as one, load(outbound) as other:
        with one[outbound].attach(cgroup=cgroup):
            connect_in(cgroup)

        assert len(one[calls]) == 1
        assert len(other[calls]) == 0


def test_two_loaded_share_a_map_that_is_given(cgroup: Path) -> None:
    with load(outbound) as one, load(outbound, maps={"calls": one[calls]}) as other:
        with other[outbound].attach(cgroup=cgroup):
            connect_in(cgroup)

        assert len(one[calls]) == 1
        assert len(other[last]) == 1
        assert one[last][0].port == 0


def test_a_collected_module_is_loaded_again_without_compiling_it() -> None:
    spec = collect(outbound)

    with load(spec) as one, load(spec, globals={"step": 5}) as other:
        assert one[step].value == 1
        assert other[step].value == 5


def test_globals_steer_the_programs_of_their_loaded_only(cgroup: Path) -> None:
    closed = {"settings": Settings(denied_port=9, watched=0)}

    with load(outbound, globals=closed) as loaded:
        with loaded[outbound].attach(cgroup=cgroup):
            denied = connect_in(cgroup)
            loaded[settings].denied_port = 10
            let_through = connect_in(cgroup)

        assert denied == "PermissionError"
        assert let_through == "ConnectionRefusedError"


def test_globals_are_read_and_written_by_name_and_by_field() -> None:
    with load(outbound) as loaded:
        loaded.globals["settings"] = Settings(denied_port=1, watched=2)
        loaded[settings].watched = 3

        assert loaded.globals["settings"] == Settings(denied_port=1, watched=3)
        assert loaded[settings].denied_port == 1
        assert dict(loaded.globals)["step"] == 1


def test_a_global_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(
        SpecError, match="no global 'stp' here; there are: settings, step"
    ):
        load(outbound, globals={"stp": 1})


def test_storage_is_read_by_the_socket_itself() -> None:
    with load(outbound) as loaded, socket.socket() as sock:
        loaded[kept][sock] = Call(pid=1, port=80, comm="x")

        assert loaded[kept][sock].port == 80
        assert loaded[kept].delete(sock) == 0
        assert sock not in loaded[kept]


def test_a_trie_is_keyed_by_prefixes() -> None:
    with load(network_of) as loaded:
        loaded[networks][Prefix(bits=8, address=ip4("10.0.0.0"))] = 7

        assert loaded[networks][Prefix(bits=32, address=ip4("10.1.2.3"))] == 7


def test_mapping_methods_work_on_the_map_in_the_kernel() -> None:
    with load(outbound) as loaded:
        table = loaded[calls]
        table.update({1: 10, 2: 20})

        assert dict(table) == {1: 10, 2: 20}
        assert table.get(3, 0) == 0
        assert table.pop(1) == 10
        assert table.insert(2, 5) == -17
        assert table.delete(9) == -2
        assert sorted(table.items()) == [(2, 20)]
        table.clear()
        assert len(table) == 0


def test_a_per_cpu_value_is_set_for_every_cpu() -> None:
    with load(outbound) as loaded:
        loaded[per_cpu][1] = 7

        assert set(loaded[per_cpu][1]) == {7}


def test_attach_makes_one_implicit_loaded_that_later_programs_join(
    cgroup: Path,
) -> None:
    with created.attach(cgroup), outbound.attach(cgroup):
        calls.clear()
        records.poll()
        connect_in(cgroup)

        ((pid, count),) = calls.items()
        ports = [record.port for record in records.read(timeout=60)]

    assert pid > 0
    assert count == 2
    assert ports == [socket.AF_INET, 9]


def test_collecting_in_between_does_not_move_the_implicit_globals(cgroup: Path) -> None:
    with outbound.attach(cgroup):
        collect(created)
        settings.denied_port = 9

        assert connect_in(cgroup) == "PermissionError"
        settings.denied_port = 0


@pytest.mark.parametrize("given", [None, 5])
def test_what_is_no_map_is_not_shared(given: Any) -> None:
    with pytest.raises(SpecError, match=f"{given} was given for map 'calls', and is"):
        load(created, maps={"calls": given})


def test_what_owns_descriptors_is_not_copied() -> None:
    with load(created) as loaded:
        with pytest.raises(TypeError, match="owns a descriptor: it is not copied"):
            copy.copy(loaded.maps["calls"])
        with pytest.raises(TypeError, match="owns a descriptor: it is not copied"):
            copy.deepcopy(loaded)


def test_a_ring_that_was_read_says_that_it_is_closed() -> None:
    with load(created) as loaded:
        assert loaded[records].poll() == []

    with pytest.raises(ValueError, match="is closed"):
        loaded[records].poll()


def test_what_is_not_part_of_a_loaded_is_a_key_error() -> None:
    with (
        load(created) as loaded,
        pytest.raises(KeyError, match="is no part of <Loaded"),
    ):
        assert loaded[spare]


def test_a_map_that_no_attached_program_uses_says_so() -> None:
    with pytest.raises(MapError, match=r"HashMap .* is not in the kernel: attach a"):
        spare[1] = 1


def test_a_missing_cgroup_is_a_sentence() -> None:
    with pytest.raises(AttachError, match="/bw-nowhere does not exist"):
        outbound.attach(cgroup=f"{cgroup2_mount()}/bw-nowhere")


def test_a_tracepoint_that_does_not_exist_is_a_sentence() -> None:
    @tracepoint("sched:sched_process_exek")
    def on_exec(ctx: Tracepoint) -> None:
        """Nothing."""

    with pytest.raises(AttachError, match="sched_process_exek"):
        on_exec.attach()


def test_a_raw_tracepoint_runs() -> None:
    seen = Array[u64](max_entries=1, name="seen")

    @raw_tracepoint("sched_process_exec")
    def on_exec(ctx: RawTracepoint) -> None:
        seen[0] += ctx.args[2] != 0

    with load(on_exec) as loaded, loaded[on_exec].attach():
        subprocess.run(["true"], check=True)

        assert loaded[seen][0] >= 1


def test_two_maps_of_one_name_are_refused() -> None:
    def first() -> HashMap[u32, u32]:
        return HashMap[u32, u32](max_entries=1, name="twin")

    one, other = first(), first()

    @connect4
    def program(ctx: SockAddr) -> None:
        one[1] = ctx.user_ip4
        other[1] = ctx.user_ip4

    with pytest.raises(SpecError, match="two maps are called 'twin'"):
        collect(program)


def test_constants_are_computed_where_they_are_written() -> None:
    target = ip4("127.0.0.1")
    port = htons(80)

    @connect4
    def program(ctx: SockAddr) -> int:
        return ctx.user_ip4 == target and ctx.user_port == port

    assert f"{target:#x}" in program.disassemble()


dialled = HashMap[u32, u32](8)
told = Array[u64](1)


@connect4
def one_end_by_three_pointers(ctx: SockAddr) -> int:
    number: u32 = 0
    if ctx.user_port == 5:
        number = ctx.sk.bound_dev_if
    elif ctx.user_port == 6:
        number = ctx.user_family
    elif (known := dialled.lookup(1)) is not None:
        number = known.value
    told[0] = number + 1
    return 1


def test_one_instruction_serves_no_two_kinds_of_pointers() -> None:
    # All three read four bytes at offset 0, and go on alike.
    with load(one_end_by_three_pointers):
        pass
