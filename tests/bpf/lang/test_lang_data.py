"""Data in compiled programs: the kernel takes them, and they compute what they say."""

import itertools
import linecache
import os
from pathlib import Path
from typing import Any

import pytest

from beewire.bpf import World, evaluate, load

pytestmark = pytest.mark.kernel

_numbers = itertools.count()

PRELUDE = """
from enum import IntEnum, IntFlag
from typing import Annotated
from beewire.bpf import *

results = Array[u64](16)
"""


def cell(text: str) -> dict[str, Any]:
    """Run source text; the names that it defines."""
    filename = f"<data {next(_numbers)}>"
    source = PRELUDE + text
    lines = source.splitlines(keepends=True)
    linecache.cache[filename] = (len(source), None, lines, filename)
    names: dict[str, Any] = {"__name__": "cell"}
    exec(compile(source, filename, "exec"), names)
    return names


def agrees(names: dict[str, Any], found: list[int], packet: bytes = bytes(64)) -> bool:
    """Whether the reference gives the same results for a program."""
    world = World(kernel={"comm": "pytest"})
    evaluate(names["program"], packet, world=world)
    expected = world.entries(names["results"])
    return found == [expected[i] for i in range(len(found))]


def results(text: str, packet: bytes = bytes(64), count: int = 1) -> list[int]:
    """What the program called `program` leaves in `results`, as the reference says."""
    names = cell(text)
    with load([names["program"]]) as loaded:
        loaded[names["program"]].live.test_run(data_in=packet)
        found = [loaded[names["results"]][i] for i in range(count)]
    assert agrees(names, found, packet)
    return found


BITS = """
class Bits(Struct{how}):
    low: u8 = bits(3)
    sign: i8 = bits(4)
    flag: bool = bits(1)
    wide: u32 = bits(20)
    more: i32 = bits(12)
    long: u64 = bits(37)
    last: u16
kept = Array[Bits](1)
@xdp
def program(ctx: XdpContext) -> XdpAction:
    own = Bits(low=5, sign=-3, flag=True, wide=0xABCDE, more=-7, long=1 << 36, last=77)
    own.wide += 1
    own.low = own.low ^ 7
    results[0] = own.low
    results[1] = u64(own.sign + 8)
    results[2] = own.flag
    results[3] = own.wide
    results[4] = u64(own.more + 100)
    results[5] = own.long
    kept[0] = own
    if (at := kept.lookup(0)) is not None:
        at.more = ctx.length
        at.last = at.wide
    return XdpAction.PASS
"""


@pytest.mark.parametrize("how", ["", ", packed=True"])
def test_bit_fields_are_read_and_written(how: str) -> None:
    names = cell(BITS.format(how=how))
    with load([names["program"]]) as loaded:
        loaded[names["program"]].live.test_run(data_in=bytes(64))
        found = [loaded[names["results"]][i] for i in range(6)]
        kept = loaded[names["kept"]][0]

    assert agrees(names, found)
    assert found == [2, 5, 1, 0xABCDF, 93, 1 << 36]
    assert (kept.low, kept.sign, kept.flag, kept.wide) == (2, -3, True, 0xABCDF)
    assert (kept.more, kept.long, kept.last) == (64, 1 << 36, 0xBCDF)


def test_packed_structs_on_the_stack() -> None:
    assert results(
        """
class Tight(Struct, packed=True):
    first: u8
    wide: u64
    signed: i32
    port: be16
@xdp
def program(ctx: XdpContext) -> XdpAction:
    own = Tight(first=1, wide=0x1122334455667788, signed=-5, port=be16(443))
    own.wide += ctx.length
    results[0] = own.wide
    results[1] = u64(own.signed + 6)
    results[2] = ntohs(own.port)
    results[3] = own.first
    return XdpAction.PASS
""",
        count=4,
    ) == [0x1122334455667788 + 64, 1, 443, 1]


def test_a_union_is_several_types_for_the_same_bytes() -> None:
    names = cell(
        """
class Address(Union):
    v4: be32
    words: list[u32] = array(u32, 4)
class Peer(Struct):
    family: u16
    address: Address
    number: u64
    halves: list[u32] = overlay("number", array(u32, 2))
kept = Array[Peer](1)
@xdp
def program(ctx: XdpContext) -> XdpAction:
    peer = Peer(family=2, address=Address(v4=be32(0x7F000001)), number=1 << 32)
    peer.address.words[3] = 9
    peer.halves[0] = 7
    results[0] = peer.address.words[0]
    results[1] = peer.number
    own = Address(words=(1, 2, 3, ctx.length))
    results[2] = own.words[3]
    kept[0] = peer
    return XdpAction.PASS
"""
    )
    with load([names["program"]]) as loaded:
        loaded[names["program"]].live.test_run(data_in=bytes(64))
        found = [loaded[names["results"]][i] for i in range(3)]
        kept = loaded[names["kept"]][0]

    assert agrees(names, found)
    assert found == [0x0100007F, (1 << 32) + 7, 64]
    assert kept.address.v4 == 0x7F000001
    assert kept.address.words == [0x0100007F, 0, 0, 9]
    assert kept.halves == [7, 1]


def test_big_endian_fields_and_keys() -> None:
    names = cell(
        """
class Ports(Struct):
    source: be16
    target: be16
    address: be32
    cookie: be64
hits = HashMap[be16, u64](16)
WEB = htons(80)
@xdp
def program(ctx: XdpContext) -> XdpAction:
    ports = ctx.at(0, Ports)
    if ports is None:
        return XdpAction.ABORTED
    if ports.target == be16(443) and ports.source in (htons(80), htons(81)):
        results[0] = 1
    if ports.source == WEB and ports.address & be32(0xFF000000) == htonl(0x7F000000):
        results[1] = ntohs(ports.source)
    results[2] = bswap64(ports.cookie)
    either = ports.source if ports.target == 0 else ports.target
    hits[either] = 5
    ports.source = ports.target
    ports.target = be16(ctx.length)
    results[3] = ntohl(~ports.address)
    results[4] = 1 if ports.source == WEB else 2
    port = 0
    if ctx.length > 3:
        port = ports.target
    results[5] = ntohs(port)
    return XdpAction.PASS
"""
    )
    packet = bytes.fromhex("005001bb7f0000011122334455667788") + bytes(48)
    with load([names["program"]]) as loaded:
        after = loaded[names["program"]].live.test_run(data_in=packet).data_out
        found = [loaded[names["results"]][i] for i in range(6)]
        hits = dict(loaded[names["hits"]])

    assert agrees(names, found, packet)
    assert found == [1, 80, 0x1122334455667788, 0x80FFFFFE, 2, 64]
    assert hits == {443: 5}
    assert after[:4].hex() == "01bb0040"


def test_enums_of_other_widths_and_flags() -> None:
    names = cell(
        """
class Protocol(IntEnum):
    TCP = 6
    UDP = 17
class Flag(IntFlag):
    FIN = 1
    SYN = 2
    ACK = 16
Narrow = Annotated[Protocol, u8]
class Header(Struct):
    protocol: Annotated[Protocol, u8]
    flags: Annotated[Flag, u16]
    plain: Flag
kept = Array[Header](1)
counts = HashMap[Protocol, u64](8)
def known(protocol: Narrow) -> bool:
    return protocol in (Protocol.TCP, Protocol.UDP)
def answer(flags: Flag) -> Flag:
    return flags | Flag.ACK
@xdp
def program(ctx: XdpContext) -> XdpAction:
    header = Header(protocol=Protocol.UDP, flags=Flag.SYN | Flag.FIN)
    header.plain = answer(Flag.SYN)
    flags = header.flags
    if Flag.SYN in flags and Flag.ACK not in flags:
        results[0] = 1
    if Flag.SYN | Flag.ACK in header.plain:
        results[1] = 1
    flags &= ~Flag.SYN
    if Flag.SYN not in flags:
        results[2] = flags
    results[3] = known(header.protocol)
    match header.protocol:
        case Protocol.TCP:
            results[4] = 1
        case Protocol.UDP:
            results[4] = 2
    counts[header.protocol] += 1
    kept[0] = header
    return XdpAction.PASS
"""
    )
    with load([names["program"]]) as loaded:
        loaded[names["program"]].live.test_run(data_in=bytes(64))
        found = [loaded[names["results"]][i] for i in range(5)]
        kept = loaded[names["kept"]][0]
        counts = dict(loaded[names["counts"]])

    assert agrees(names, found)
    assert found == [1, 1, 1, 1, 2]
    assert kept.protocol is names["Protocol"].UDP
    assert kept.flags == names["Flag"].SYN | names["Flag"].FIN
    assert names["Flag"].ACK in kept.plain
    assert counts == {names["Protocol"].UDP: 1}


def test_arrays_and_texts_of_the_programs_own() -> None:
    assert results(
        """
@xdp
def program(ctx: XdpContext) -> XdpAction:
    counts = array(u32, 6)
    for i in range(6):
        counts[i] = i * i
    counts[1:3] = counts[4:6]
    results[0] = counts[1] * 100 + counts[2]
    kept = counts[0:3]
    counts[0] = 9
    results[1] = kept[0] + len(kept)
    total = 0
    for count in counts:
        if count == 9:
            continue
        total += count
    results[2] = total
    name: str = chars(8, default="nginx")
    raw: bytes = array(u8, 4, default=b"HTTP")
    results[3] = name == "nginx" and raw == b"HTTP" and raw[:2] != b"HA"
    results[4] = name.startswith("ng") and not name.startswith("nx")
    for port in (80, 443):
        if port == 443:
            results[5] = port
            break
    else:
        results[5] = 1
    grid = array(array(u16, 3), 2)
    grid[1][2] = 7
    copy = grid.copy()
    copy[1][2] += 1
    at = ctx.length & 1
    results[6] = copy[at + 1][2] * 10 + grid[1][at + 2]
    results[7] = counts[0:2] == counts[2:4]
    return XdpAction.PASS
""",
        count=8,
    ) == [1625, 3, 16 + 25 + 9 + 16 + 25 - 9, 1, 1, 443, 87, 0]


def test_texts_are_equal_up_to_their_end() -> None:
    assert results(
        """
class Names(Struct):
    first: str = chars(8)
    second: str = chars(8)
    longer: str = chars(12)
    raw: bytes = array(u8, 8)
@xdp
def program(ctx: XdpContext) -> XdpAction:
    at = ctx.at(0, Names)
    if at is None:
        return XdpAction.ABORTED
    own = chars(8)
    own = at.first
    results[0] = at.first == at.second
    results[1] = at.first == at.longer
    results[2] = own == "ab"
    results[3] = at.second in ("xx", "ab")
    results[4] = own == current_comm()
    results[5] = at.raw == at.first[:]
    low = (ctx.length - 62) & 3
    raw = array(u8, 8)
    raw[:] = at.raw
    results[6] = raw[low : low + 2] == b"cd"
    results[7] = at.longer == "abc"
    return XdpAction.PASS
""",
        packet=b"ab\0xxxxxab\0yyyyyab\0zzzzzzzzzabcdefgh".ljust(64, b"\0"),
        count=8,
    ) == [1, 1, 1, 1, 0, 0, 1, 0]


def test_names_hold_the_texts_of_tasks() -> None:
    names = cell(
        """
class Record(Struct):
    mine: bool
    pid: u32
    comm: str = chars(16)
class task_struct(Kernel):
    comm: str = chars(16)
    tgid: i32
last = Array[Record](1)
@tracepoint("syscalls:sys_enter_getppid")
def program(ctx: Tracepoint) -> None:
    name = current_comm()
    task = current(task_struct)
    kernels = task.comm
    if (at := last.lookup(0)) is not None and at.pid == current_tgid():
        at.mine = name == task.comm and kernels == name
        at.comm = name
"""
    )

    with load([names["program"]]) as loaded:
        last = loaded[names["last"]]
        last[0] = names["Record"](pid=os.getpid())
        with loaded[names["program"]].attach():
            os.getppid()
        record = last[0]

    assert record.mine
    assert record.comm == Path("/proc/self/comm").read_text().strip()


def test_names_refer_to_fields_and_elements() -> None:
    names = cell(
        """
class Inner(Struct):
    low: u32
    high: u32
class Outer(Struct):
    number: u64
    inner: Inner
    rows: list[Inner] = array(Inner, 3)
kept = Array[Outer](2)
other = Array[Outer](2)
def double(what: Inner) -> None:
    what.low *= 2
@xdp
def program(ctx: XdpContext) -> XdpAction:
    own = Outer(number=1)
    part = own.inner
    part.low = 7
    double(part)
    part = own.rows[2]
    part.high = 5
    for row in own.rows:
        row.low += 1
    results[0] = own.inner.low * 100 + own.rows[2].high * 10 + own.rows[1].low
    rows = array(Inner, 2)
    at = rows[ctx.length & 1]
    at.low = 3
    results[1] = rows[0].low
    value = kept.lookup(0)
    if value is None:
        return XdpAction.ABORTED
    inner = value.inner
    inner.high = 9
    inner = value.rows[1]
    inner.high = 8
    results[2] = value.inner.high * 10 + value.rows[1].high
    found = kept.lookup(1) if ctx.length > 100 else other.lookup(1)
    if found is not None:
        found.number = 77
    best = None
    for i in range(2):
        candidate = kept.lookup(i)
        if candidate is not None and candidate.inner.high == 9:
            best = candidate
    results[3] = 0 if best is None else best.rows[1].high
    none = None if ctx.length > 100 else other.lookup(1)
    if none:
        results[4] = none.number
    return XdpAction.PASS
"""
    )
    with load([names["program"]]) as loaded:
        loaded[names["program"]].live.test_run(data_in=bytes(64))
        found = [loaded[names["results"]][i] for i in range(5)]

    assert agrees(names, found)
    assert found == [1451, 3, 98, 8, 77]


def test_bit_fields_and_unions_of_a_global_are_set_one_by_one() -> None:
    names = cell(
        """
class Settings(Struct):
    mode: u8 = bits(3)
    strict: bool = bits(1)
    port: be16
    wide: u64
    halves: list[u32] = overlay("wide", array(u32, 2))
settings = Global(Settings)
@xdp
def program(ctx: XdpContext) -> XdpAction:
    results[0] = settings.mode * 10 + settings.strict
    results[1] = settings.port == be16(443)
    results[2] = settings.wide
    settings.mode = 6
    return XdpAction.PASS
"""
    )
    given = names["Settings"](mode=5, port=80)
    with load([names["program"]], globals={"settings": given}) as loaded:
        settings = loaded[names["settings"]]
        settings.strict, settings.port, settings.halves = True, 443, [1, 2]
        seen = settings.mode, settings.strict, settings.port, settings.wide
        loaded[names["program"]].live.test_run(data_in=bytes(64))
        found = [loaded[names["results"]][i] for i in range(3)]
        after = settings.mode, settings.strict

    assert seen == (5, True, 443, (2 << 32) + 1)
    assert found == [51, 1, (2 << 32) + 1]
    assert after == (6, True)
