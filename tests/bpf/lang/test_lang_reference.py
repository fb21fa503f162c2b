"""`evaluate` of whole programs: what they do to packets, maps, globals and rings."""

from typing import Any

import pytest

from beewire.bpf.lang import World, evaluate
from beewire.errors import BeewireError
from tests.bpf.lang.conftest import run

PACKETS = """
class Pair(Struct):
    a: u16
    b: i32
@xdp
def program(ctx: XdpContext) -> XdpAction:
    if (pair := ctx.at(4, Pair)) is None:
        return XdpAction.ABORTED
    pair.b = pair.a - 1
    if ctx.length > 14:
        return XdpAction.DROP
    return XdpAction.PASS
"""
MAPS = """
@xdp
def program(ctx: XdpContext) -> XdpAction:
    table[7] += 3
    table[7] += 4
    if table.insert(7, 1) != -17 or table.delete(8) != -2:
        return XdpAction.ABORTED
    if (entry := table.lookup(7)) is not None:
        entry.value ^= 1
    limit.value -= 10
    settings.high = u16(slots.update(0, 0) + 0x12345)
    slots[1] = 5
    if slots.update(4, 1) == -7:
        per_cpu[0] = 9
    return XdpAction.PASS
"""
RINGS = """
@xdp
def program(ctx: XdpContext) -> XdpAction:
    for pid in range(3):
        with events.reserve() as e:
            if e is None:
                return XdpAction.ABORTED
            e.pid = pid
            if pid == 1:
                continue
    events.emit(Record(pid=9, delta=-1, comm="name"))
    return XdpAction.PASS
"""
KERNEL = """
@tracepoint
def program(ctx: Tracepoint) -> int:
    return current(task_struct).real_parent.tgid + cpu_id()
"""


@pytest.fixture
def world() -> World:
    return World({"cpu_id": 1}, {"real_parent": {"tgid": 40}})


@pytest.mark.parametrize(
    ("size", "result", "left"),
    [(8, 0, bytes(8)), (12, 2, bytes(8) + b"\xff" * 4), (15, 1, None)],
)
def test_packets_are_read_and_written(
    size: int, result: int, left: bytes | None
) -> None:
    packet = bytearray(size)

    assert evaluate(run(PACKETS)["program"], packet) == result
    assert left in {None, bytes(packet)}


def test_maps_and_globals_keep_what_programs_do(world: World) -> None:
    names = run(MAPS)

    assert evaluate(names["program"], bytes(14), world=world) == 2
    assert world.entries(names["table"]) == {7: 6}
    assert world.entries(names["slots"]) == {0: 0, 1: 5, 2: 0, 3: 0}
    assert world.entries(names["per_cpu"])[0] == 9
    assert world.value(names["limit"]) == 0xFFFF_FFFD
    assert world.value(names["settings"]).high == 0x2345


def test_records_that_are_left_early_are_not_sent(world: World) -> None:
    names = run(RINGS)
    record: Any = names["Record"]

    evaluate(names["program"], bytes(14), world=world)
    sent = [record.from_bytes(raw) for raw in world.records(names["events"])]

    assert [one.pid for one in sent] == [0, 2, 9]
    assert (sent[2].delta, sent[2].comm) == (-1, "name")


def test_records_come_in_the_order_in_which_they_were_reserved(world: World) -> None:
    names = run(
        "@xdp\n"
        "def program(ctx: XdpContext) -> XdpAction:\n"
        "    with events.reserve() as e:\n"
        "        if e is not None:\n"
        "            events.emit(Record(pid=2))\n"
        "            e.pid = 1\n"
        "    return XdpAction.PASS\n"
    )

    evaluate(names["program"], bytes(14), world=world)

    assert [one.pid for one in world.sent(names["events"])] == [1, 2]


def test_the_kernel_is_what_the_world_says(world: World) -> None:
    assert evaluate(run(KERNEL)["program"], world=world) == 41


def test_a_map_that_is_unknown_is_said() -> None:
    names = run(
        "socks2 = SockHash[Key](16)\n"
        "@sock_ops\n"
        "def program(ctx: SockOps) -> int:\n"
        "    return socks2.update(ctx, Key())\n"
    )

    with pytest.raises(BeewireError, match=r"knows no socks2\.update"):
        evaluate(names["program"])
