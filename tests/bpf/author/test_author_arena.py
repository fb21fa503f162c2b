"""Arenas: memory by offsets, in programs and in user space."""

from collections.abc import Callable

import pytest

from beewire.bpf import (
    Arena,
    Array,
    Program,
    Struct,
    XdpAction,
    XdpContext,
    chars,
    collect,
    fetch_add,
    load,
    u64,
    xdp,
)
from beewire.bpf.lang.contexts import Context
from beewire.bpf.object.kinds import ProgramKind
from beewire.errors import CompileError, SpecError

pytestmark = pytest.mark.kernel

PAGE = 4096


class Node(Struct):
    key: u64 = 0
    next: u64 = 0
    name: str = chars(8, default="")


heap = Arena(pages=16)
other = Arena(pages=1)
out = Array[u64](max_entries=8)


@xdp
def walk(_ctx: XdpContext) -> XdpAction:
    first = heap.at(64, Node)
    first.key += 5
    out[0] = fetch_add(first.key, 1)
    second = heap.at(first.next, Node)
    second.key = 77
    second.name = "abc"
    where = 64
    for _ in range(5):
        node = heap.at(where, Node)
        out[1] += node.key
        where = node.next
    out[2] = heap.at(9 * PAGE, Node).key
    return XdpAction.PASS


def make(_ctx: Context) -> int:
    place = heap.alloc(2)
    if place < 0:
        return 1
    out[0] = place
    heap.at(place, Node).key = 99
    heap.at(0, Node).next = place
    spare = heap.alloc()
    heap.free(spare)
    return 0 if heap.alloc(100) == -12 else 2


@xdp
def allocates(_ctx: XdpContext) -> XdpAction:
    return XdpAction.PASS if heap.alloc() else XdpAction.DROP


@xdp
def uses_two(_ctx: XdpContext) -> XdpAction:
    heap.at(0, Node).key = other.at(0, Node).key
    return XdpAction.PASS


def test_programs_and_user_space_write_to_the_same_memory() -> None:
    with load([walk]) as loaded:
        live = loaded[heap]
        live.put(64, Node(key=1, next=PAGE))
        live.put(PAGE, Node(next=2 * PAGE))

        loaded[walk].live.test_run(data_in=bytes(64))

        assert live.at(64, Node) == Node(key=7, next=PAGE)
        assert live.at(PAGE, Node) == Node(key=77, next=2 * PAGE, name="abc")
        assert list(loaded[out].values())[:3] == [6, 7 + 77, 0]
        assert len(live.memory) == 16 * PAGE


def test_sleepable_programs_allocate_pages() -> None:
    program: Program[Callable[[Context], int]] = Program(
        make, kind=ProgramKind.SYSCALL, section="syscall", context=Context, flags=16
    )
    with load([program]) as loaded:
        result = loaded[program].live.test_run()

        place = loaded[out][0]
        assert result.retval == 0
        assert place % PAGE == 0
        assert loaded[heap].at(0, Node).next == place
        assert loaded[heap].at(place, Node).key == 99


def test_programs_that_never_sleep_allocate_nothing() -> None:
    with pytest.raises(
        CompileError, match=r"alloc\(\) works in sleepable programs only"
    ):
        collect([allocates])


def test_an_object_has_one_arena() -> None:
    with pytest.raises(SpecError, match="a second arena"):
        collect([uses_two])
