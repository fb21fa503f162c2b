"""Packets: references, slices and copies that the verifier accepts, in every hook."""

from typing import Any

import pytest

from beewire.bpf import World, evaluate, load
from beewire.errors import CompileError
from tests.bpf.lang.test_lang_data import cell

pytestmark = pytest.mark.kernel

HEADERS = """
from beewire.bpf.author.program import Program
from beewire.bpf.object.kinds import ProgramKind

class Ethernet(Struct, packed=True):
    target: bytes = array(u8, 6)
    source: bytes = array(u8, 6)
    protocol: be16
class Ipv4(Struct):
    words: u8 = bits(4)
    version: u8 = bits(4)
    service: u8
    length: be16
    start: be32
    ttl: u8
    protocol: u8
    checksum: u16
    source: be32
    target: be32
class Ports(Struct):
    source: be16
    target: be16

def tc(function):
    return Program(
        function, kind=ProgramKind.SCHED_CLS, section="tc", context=SkBuff, neutral=0
    )
"""

ETHERNET = bytes(6) + b"\1\2\3\4\5\6" + b"\x08\0"
IPV4 = bytes.fromhex("46000028 12345678 40061234 0a000001 0a000002 01010101")
PORTS = bytes.fromhex("04d201bb")
PACKET = (ETHERNET + IPV4 + PORTS + b"GET / HTTP/1.1").ljust(80, b"\0")


def outcome(text: str, packet: bytes, count: int) -> tuple[list[int], bytes]:
    """`results` and the packet after the program, where the reference says the same."""
    names: dict[str, Any] = cell(HEADERS + text)
    world, memory = World(), bytearray(packet)
    returned = evaluate(names["program"], memory, world=world)
    expected = [world.entries(names["results"])[i] for i in range(count)]
    with load([names["program"]]) as loaded:
        run = loaded[names["program"]].live.test_run(data_in=packet)
        found = [loaded[names["results"]][i] for i in range(count)]

    assert found == expected
    assert run.data_out == memory
    assert run.retval == returned
    return found, run.data_out


PARSE = """
@xdp
def program(ctx: XdpContext) -> XdpAction:
    ip = ctx.at(14, Ipv4)
    if ip is None:
        return XdpAction.PASS
    start = 14 + ip.words * 4
    if (ports := ctx.at(start, Ports)) is None:
        return XdpAction.DROP
    results[0] = ntohs(ports.target)
    if (verb := ctx.data[start + 4 : start + 4 + 3]) is None:
        return XdpAction.DROP
    results[1] = verb == b"GET"
    if (kind := ctx.at(12, be16)) is not None:
        results[2] = ntohs(kind.value)
    if (name := ctx.data[6:12]) is not None:
        kept = array(u8, 6)
        kept[:] = name
        results[3] = kept[5]
        ethernet = ctx.at(0, Ethernet)
        if ethernet is not None:
            ethernet.target = kept
            ethernet.source[0:2] = b"ab"
    if (four := ctx.at(start + 4, array(u8, 4))) is not None:
        for octet in four:
            results[4] = results_of(results_at(), octet)
    return XdpAction.TX
def results_at() -> u64:
    return 10
def results_of(base: u64, octet: u8) -> u64:
    return base + octet
"""


def test_headers_at_fixed_and_variable_offsets() -> None:
    found, after = outcome(PARSE, PACKET, 5)

    assert found == [443, 1, 0x800, 6, 10 + ord(" ")]
    assert after[:8] == b"\1\2\3\4\5\6ab"


@pytest.mark.parametrize("length", [14, 33, 34, 41, 42, 44, 45, 46])
def test_every_length_ends_as_the_reference_says(length: int) -> None:
    outcome(PARSE, PACKET[:length], 5)


@pytest.mark.parametrize(
    "offset", [0, 14, 60, 61, 65535, 1 << 20, 1 << 40, (1 << 64) - 1]
)
def test_an_offset_without_bounds_is_bounded(offset: int) -> None:
    text = """
class Where(Struct):
    offset: u64
@xdp
def program(ctx: XdpContext) -> XdpAction:
    if (where := ctx.at(0, Where)) is None:
        return XdpAction.ABORTED
    offset = where.offset
    results[0] = 1
    if (at := ctx.at(offset, Ports)) is not None:
        results[0] = ntohs(at.source) + 2
    if (copy := ctx.read(offset, Ports)) is not None:
        results[1] = ntohs(copy.source) + 2
    if (copy := ctx.read(i64(offset), Ports)) is not None:
        results[2] = ntohs(copy.source) + 2
    return XdpAction.PASS
"""
    outcome(text, offset.to_bytes(8, "little") + bytes(range(56)), 3)


def test_copies_are_read_and_written() -> None:
    found, after = outcome(
        """
@xdp
def program(ctx: XdpContext) -> XdpAction:
    ip = ctx.read(14, Ipv4)
    if ip is None:
        return XdpAction.DROP
    ip.ttl -= 1
    ip.target = be32(0x0A0000FF)
    results[0] = ctx.write(14, ip)
    results[1] = ctx.write(14, Ports(source=be16(7)))
    results[2] = ctx.write(ctx.length - 2, Ports())
    port = ctx.read(38, be16)
    if port is None:
        return XdpAction.DROP
    results[3] = ntohs(port.value)
    return XdpAction.PASS
""",
        PACKET,
        4,
    )

    assert found == [1, 1, 0, 1234]
    assert after[14:18] == bytes.fromhex("00070000")
    assert after[22] == 0x3F
    assert after[30:34] == bytes.fromhex("0a0000ff")


def test_a_tc_program_reads_writes_and_pulls() -> None:
    found, after = outcome(
        """
@tc
def program(ctx: SkBuff) -> int:
    if ctx.pull(60) != 0:
        return 2
    ip = ctx.at(14, Ipv4)
    if ip is None:
        return 2
    ip.ttl = 9
    results[0] = ip.version
    header = ctx.read(14, Ipv4)
    if header is None:
        return 2
    header.source = header.target
    results[1] = ctx.write(14, header)
    if (again := ctx.at(14, Ipv4)) is None:
        return 2
    results[2] = ntohl(again.source)
    return 0
""",
        PACKET,
        3,
    )

    assert found == [4, 1, 0x0A000002]
    assert after[22] == 9


def test_a_cgroup_skb_program_reads() -> None:
    names = cell(
        HEADERS
        + """
@cgroup_skb_ingress
def program(ctx: SkBuff) -> int:
    if (ip := ctx.at(0, Ipv4)) is None:
        return 0
    if (ports := ctx.at(ip.words * 4, Ports)) is None:
        return 0
    results[0] = ntohs(ports.target)
    if (copy := ctx.read(ip.words * 4, Ports)) is not None:
        results[1] = copy.target == ports.target
    return 1
"""
    )
    with load([names["program"]]) as loaded:
        run = loaded[names["program"]].live.test_run(data_in=PACKET)
        found = [loaded[names["results"]][i] for i in range(2)]

    assert (run.retval, found) == (1, [443, 1])


def test_sk_msg_and_sockopt_see_their_bytes() -> None:
    names = cell(
        """
@sk_msg
def program(ctx: SkMsg) -> SkAction:
    if ctx.pull(16) != 0:
        return SkAction.SK_PASS
    if (start := ctx.data[0:4]) is not None and start == b"GET ":
        results[0] += 1
        start[0:4] = b"PUT "
    return SkAction.SK_PASS
"""
    )

    with load([names["program"]]) as loaded:
        assert loaded[names["program"]].live.fd > 0


REFUSED = {
    "a packet that may only be read": (
        """
@cgroup_skb_ingress
def program(ctx: SkBuff) -> int:
    if (ip := ctx.at(0, Ipv4)) is not None:
        ip.ttl = 1
    return 1
""",
        "'ip.ttl' is read-only: it is in the packet",
        "cgroup_skb programs read packets only",
    ),
    "a reference after the packet moved": (
        """
@tc
def program(ctx: SkBuff) -> int:
    if (ip := ctx.at(0, Ipv4)) is not None:
        ctx.pull(40)
        ip.ttl = 1
    return 1
""",
        "'ip' is gone: ctx.pull() may have moved the packet",
        "take it again, or do this before it is gone",
    ),
    "a slice that may pass the end": (
        """
@xdp
def program(ctx: XdpContext) -> int:
    data = ctx.data[0:4]
    return data == b"GET "
""",
        "'data' may be None here",
        "test it first: if data is None: return",
    ),
    "a single byte": (
        """
@xdp
def program(ctx: XdpContext) -> int:
    return ctx.data[4]
""",
        "a byte of a packet may be missing",
        "x = ctx.data[i : i + 1], or ctx.at(i, u8)",
    ),
    "a slice without an end": (
        """
@xdp
def program(ctx: XdpContext) -> int:
    x = ctx.data[4:]
    return 0
""",
        "a slice of a packet needs an end",
        "[0:4]",
    ),
    "bytes that no program sees": (
        """
@xdp
def program(ctx: XdpContext) -> int:
    x = ctx.at(70000, Ports)
    return 0
""",
        "programs see 65535 bytes of a packet, this is byte 70000",
        "stay below the length",
    ),
    "a message is copied from": (
        """
@sk_msg
def program(ctx: SkMsg) -> int:
    x = ctx.read(0, Ports)
    return 1
""",
        "the context (SkMsg) has no read() in programs",
        "write ctx.at(offset, T)",
    ),
    "a number is written": (
        """
@xdp
def program(ctx: XdpContext) -> int:
    return ctx.write(0, 5)
""",
        "write() takes a struct or an array, not the number 5",
        "put the number into a struct",
    ),
    "a frame is pulled": (
        """
@xdp
def program(ctx: XdpContext) -> int:
    return ctx.pull(5)
""",
        "the context (XdpContext) has no pull() in programs",
        "use an operation that this kind of value has",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_with_advice(name: str) -> None:
    text, message, hint = REFUSED[name]
    names = cell(HEADERS + text)

    with pytest.raises(CompileError) as caught:
        names["program"].spec()

    fault = caught.value.diagnostics[0]
    assert (fault.message, fault.hint) == (message, hint)
