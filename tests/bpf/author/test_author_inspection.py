"""`beewire.bpf.inspection`: what runs in the kernel, and what it costs."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from beewire.bpf import (
    Array,
    Kernel,
    PtRegs,
    StructOps,
    Tracepoint,
    chars,
    features,
    fentry,
    i32,
    inspection,
    kprobe,
    tracepoint,
    u32,
    u64,
)
from beewire.bpf.author.held_files import held_files
from beewire.bpf.kernel.inspection import Held, held_by_proc
from beewire.bpf.kernel.inspection.owners import PERF_EVENT
from beewire.errors import BeewireError

pytestmark = pytest.mark.kernel

runs = Array[u64](max_entries=1)


@tracepoint("syscalls:sys_enter_getpgid")
def on_getpgid(ctx: Tracepoint) -> None:  # noqa: ARG001 - the hook's
    runs[0] += 1


class sock(Kernel):  # noqa: N801 - the kernel's name
    sk_mark: u32


class Still(StructOps, kernel="tcp_congestion_ops"):
    name: str = chars(16, default="bw_still")

    @staticmethod
    def ssthresh(sk: sock) -> u32:  # noqa: ARG004 - the table's
        return 2

    @staticmethod
    def undo_cwnd(sk: sock) -> u32:  # noqa: ARG004 - the table's
        return 2

    @staticmethod
    def cong_avoid(sk: sock, ack: u32, acked: u32) -> None:  # noqa: ARG004 - the table's
        return


@pytest.fixture
def attached() -> Iterator[int]:
    """The id of a program that runs when somebody asks for a process group."""
    with on_getpgid.attach():
        yield on_getpgid.live.info().id


def ours(found: list[Held]) -> set[tuple[str, int, int]]:
    """What this process holds; /proc does not tell which program a perf event runs."""
    return {
        (each.kind, 0 if each.kind == PERF_EVENT else each.id, each.fd)
        for each in found
        if each.pid == os.getpid()
    }


def test_the_iterator_finds_what_proc_tells(attached: int) -> None:
    try:
        by_program = held_files()
    except BeewireError as error:
        pytest.skip(f"no iterator over files: {type(error).__name__}")
    by_proc = held_by_proc()

    # While it reads, the iterator's own descriptors are there, too.
    assert ours(by_proc) <= ours(by_program)
    assert ("program", attached) in {(each.kind, each.id) for each in by_program}
    comm = Path("/proc/self/comm").read_text().strip()
    assert {each.comm for each in by_program if each.pid == os.getpid()} == {comm}


def test_a_census_has_programs_maps_and_links_of_this_process(attached: int) -> None:
    census = inspection.census()

    program = next(each for each in census.programs if each.id == attached)
    assert (program.kind, program.name) == ("TRACEPOINT", "on_getpgid")
    assert [owner.pid for owner in program.owners] == [os.getpid()]
    maps = {each.id: each for each in census.maps}
    assert [maps[number].name for number in program.map_ids] == ["runs"]
    (place,) = program.attachments
    links = {each.id: each for each in census.links}
    # Before Linux 5.15 a perf event has no link.
    if place.link_id:
        assert [o.pid for o in links[place.link_id].owners] == [os.getpid()]


def test_the_iterator_leaves_nothing_behind(attached: int) -> None:
    before = {each.id for each in inspection.programs()}

    inspection.census()

    names = {each.name for each in inspection.programs() if each.id not in before}
    assert attached in before
    assert "held" not in names


def test_watching_tells_how_often_a_program_ran_and_for_how_long(attached: int) -> None:
    costs = inspection.watch(interval_s=0.2)
    try:
        first = next(costs)
        for _ in range(500):
            os.getpgid(0)
        second = next(costs)
    finally:
        costs.close()

    before = next(each for each in first if each.program.id == attached)
    after = next(each for each in second if each.program.id == attached)
    assert after.runs >= 500 > before.runs
    assert after.run_time_ns > 0
    assert after.cpu_percent > 0
    assert after.ns_per_run == pytest.approx(after.run_time_ns / after.runs)
    assert [each.run_time_ns for each in second] == sorted(
        (each.run_time_ns for each in second), reverse=True
    )


def test_watching_switches_statistics_off_at_its_end() -> None:
    if inspection.always_on():
        pytest.skip("statistics are on for the whole machine")
    costs = inspection.watch(interval_s=0.01)
    next(costs)
    costs.close()

    before = on_getpgid.live.info().run_count
    with on_getpgid.attach():
        os.getpgid(0)

    assert on_getpgid.live.info().run_count == before


def test_maps_and_links_are_told_by_themselves(attached: int) -> None:
    assert "runs" in {each.name for each in inspection.maps()}
    if features.perf_link():
        assert attached in {each.program_id for each in inspection.links()}


def test_programs_of_a_table_of_operations_are_its_members() -> None:
    if not features.map_flag(features.MapFlag.LINK):
        pytest.skip("no links of tables of operations")
    with Still.attach():
        programs = {each.name: each for each in inspection.programs()}

    (place, *_) = programs["Still_ssthresh"].attachments
    assert (place.kind, place.link_id) == ("struct_ops", 0)
    assert place.target.endswith("(Still).ssthresh")


@fentry("bpf_fentry_test1")
def on_test(a: i32) -> None:  # noqa: ARG001 - the function's
    runs[0] += 1


def test_a_traced_function_is_told_by_name() -> None:
    if not features.attach_kind(features.AttachKind.TRACE_FENTRY):
        pytest.skip("functions cannot be traced here")
    with on_test.attach():
        programs = {each.name: each for each in inspection.programs()}

    (place,) = programs["on_test"].attachments
    assert place.kind == "trace_fentry"
    # The kernel tells the function since Linux 5.13.
    assert place.target in {"bpf_fentry_test1", ""}


@kprobe("vfs_getattr")
def on_getattr(ctx: PtRegs) -> None:  # noqa: ARG001 - the hook's
    runs[0] += 1


def test_a_probed_function_is_told_by_name() -> None:
    try:
        link = on_getattr.attach()
    except BeewireError as error:
        pytest.skip(f"no kprobes: {type(error).__name__}")
    with link:
        programs = {each.name: each for each in inspection.programs()}

    (place,) = programs["on_getattr"].attachments
    assert place.kind == "kprobe"
    assert "vfs_getattr" in place.target
