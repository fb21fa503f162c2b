"""Each kind of map has the operations that the kernel allows for it, and no others."""

import pytest

from beewire.bpf import (
    Arena,
    Array,
    ArrayOfMaps,
    AttachedStorage,
    BloomFilter,
    CgroupArray,
    CgroupStorage,
    CpuMap,
    DevMap,
    DevMapHash,
    HashMap,
    HashOfMaps,
    InodeStorage,
    LpmTrie,
    LruHash,
    LruPerCpuHash,
    PerCpuArray,
    PerCpuAttachedStorage,
    PerCpuHash,
    PerfEventArray,
    ProgArray,
    Queue,
    ReusePortSockArray,
    RingBuf,
    SkStorage,
    SockHash,
    SockMap,
    Stack,
    StackBuildIds,
    StackTrace,
    Struct,
    TaskStorage,
    UserRingBuf,
    XskMap,
    array,
    collect,
    u8,
    u32,
    u64,
)
from beewire.bpf.lang.decl import MapDecl
from beewire.errors import CompileError
from beewire.reasons import Reason
from tests.bpf.lang.test_lang_kernel import cell


class Prefix(Struct):
    bits: u32
    address: bytes = array(u8, 4)


TABLE = {"lookup", "update", "insert", "delete", "[]", "in", "del", "for_each"}
FIXED = {"lookup", "update", "[]", "in", "for_each"}
SOCKETS = {"lookup", "update", "delete", "del", "redirect", "select"}
STORAGE = {"get", "get_or_create", "delete"}

# What check_map_func_compatibility() of kernel/bpf/verifier.c allows.
KINDS: dict[str, tuple[MapDecl, set[str]]] = {
    "HashMap": (HashMap[u32, u64](8), TABLE),
    "LruHash": (LruHash[u32, u64](8), TABLE),
    "LpmTrie": (LpmTrie[Prefix, u64](8), TABLE - {"for_each"}),
    "Array": (Array[u64](8), FIXED),
    "PerCpuHash": (PerCpuHash[u32, u64](8), TABLE | {"lookup_cpu"}),
    "LruPerCpuHash": (LruPerCpuHash[u32, u64](8), TABLE | {"lookup_cpu"}),
    "PerCpuArray": (PerCpuArray[u64](8), FIXED | {"lookup_cpu"}),
    "Queue": (Queue[u64](8), {"push", "pop", "peek"}),
    "Stack": (Stack[u64](8), {"push", "pop", "peek"}),
    "BloomFilter": (BloomFilter[u64](8), {"add", "in"}),
    "RingBuf": (
        RingBuf[Prefix](4096),
        {"reserve", "submit", "discard", "emit", "output", "waiting"},
    ),
    "UserRingBuf": (UserRingBuf[Prefix](4096), {"drain"}),
    "PerfEventArray": (PerfEventArray[Prefix](), {"output", "counter"}),
    "StackBuildIds": (StackBuildIds(8), {"stack_id"}),
    "StackTrace": (StackTrace(8), {"stack_id"}),
    "CgroupArray": (CgroupArray(8), {"has_current_task", "has_packet"}),
    "Arena": (Arena(1), {"at", "alloc", "free"}),
    "ProgArray": (ProgArray(8), {"tail_call"}),
    "ArrayOfMaps": (ArrayOfMaps(Array[u64](8), 8), {"lookup"}),
    "HashOfMaps": (HashOfMaps[u32, Array[u64]](Array[u64](8), 8), {"lookup"}),
    "DevMap": (DevMap(8), {"redirect", "in"}),
    "DevMapHash": (DevMapHash(8), {"redirect", "in"}),
    "CpuMap": (CpuMap(8), {"redirect"}),
    "XskMap": (XskMap(8), {"redirect", "in"}),
    "SockMap": (SockMap[u32](8), SOCKETS),
    "SockHash": (SockHash[u64](8), SOCKETS),
    "ReusePortSockArray": (ReusePortSockArray(8), {"select"}),
    "SkStorage": (SkStorage[u64](), STORAGE),
    "TaskStorage": (TaskStorage[u64](), STORAGE),
    "InodeStorage": (InodeStorage[u64](), STORAGE),
    "CgroupStorage": (CgroupStorage[u64](), STORAGE),
    "AttachedStorage": (AttachedStorage[u64](), {"here"}),
    "PerCpuAttachedStorage": (PerCpuAttachedStorage[u64](), {"here"}),
}
EVERY = set().union(*(allowed for _, allowed in KINDS.values()))
SYNTAX = {
    "[]": ("the_map[0] = 0", "[...] ="),
    "in": ("if 0 in the_map:\n        pass", "'in'"),
    "del": ("del the_map[0]", "del"),
}

PROGRAM = """
from beewire.bpf import XdpAction, XdpContext, xdp

def program(ctx: XdpContext) -> XdpAction:
    {statement}
    return XdpAction.PASS
"""


def refusal(table: MapDecl, statement: str) -> CompileError:
    """How a program of this statement about `the_map` is refused."""
    names = cell(PROGRAM.format(statement=statement))
    names["the_map"] = table
    program = names["xdp"](names["program"])
    with pytest.raises(CompileError) as caught:
        collect([program])
    return caught.value


@pytest.mark.parametrize("name", KINDS)
def test_what_a_kind_does_not_have_is_refused(name: str) -> None:
    table, has = KINDS[name]
    lacks = EVERY - has

    for operation in sorted(lacks):
        written, called = SYNTAX.get(
            operation, (f"the_map.{operation}()", f"{operation}()")
        )
        error = refusal(table, written)
        first = error.diagnostics[0]
        assert first.message == f"{name} has no {called} in programs"
        assert first.code == Reason.MAP_OPERATION


@pytest.mark.parametrize("name", KINDS)
def test_what_a_kind_has_is_offered(name: str) -> None:
    table, has = KINDS[name]

    error = refusal(table, "the_map.frobnicate()")

    offered = ", ".join(sorted(has - SYNTAX.keys()))
    assert error.diagnostics[0].hint == f"it has {offered}"
