"""Compiled programs in the running kernel: it takes them, and they do what they say."""

import itertools
import linecache
import struct
from typing import Any

import pytest

from beewire.bpf import load

pytestmark = pytest.mark.kernel

_numbers = itertools.count()
M64 = (1 << 64) - 1


def cell(text: str) -> dict[str, Any]:
    """Run source text; the names that it defines."""
    filename = f"<kernel {next(_numbers)}>"
    linecache.cache[filename] = (
        len(text),
        None,
        text.splitlines(keepends=True),
        filename,
    )
    names: dict[str, Any] = {"__name__": "cell"}
    exec(compile(text, filename, "exec"), names)
    return names


PROGRAMS = {
    "connect4 with storage, globals and a ring": """
class Dialled(Struct):
    ip: u32
    port: u32
class Settings(Struct):
    proxy: u64
    port: u32
class Event(Struct):
    pid: u32
    ip: u32
    comm: str = chars(16)
class SockaddrIn(Struct):
    family: u16
    port: u16
    addr: u32
    zero: u64
settings = Global(Settings)
dialled = SkStorage[Dialled]()
events = RingBuf[Event](4096)
counts = PerCpuArray[u64](4)
@connect4
def program(ctx: SockAddr) -> None:
    if ctx.protocol != 6 or current_cgroup_id() == settings.proxy:
        counts[0] += 1
        return
    if (kept := dialled.get_or_create(ctx.sk)) is None:
        return
    kept.ip, kept.port = ctx.user_ip4, ctx.user_port
    if bind(ctx, SockaddrIn(family=2)) != 0:
        return
    ctx.user_ip4, ctx.user_port = ip4("127.0.0.1"), htons(15001)
    with events.reserve() as e:
        if e is not None:
            e.pid, e.ip, e.comm = current_tgid(), kept.ip, current_comm()
""",
    "connect6 writes words of the context": """
@connect6
def program(ctx: SockAddr) -> None:
    if ctx.user_ip6[0] == 0 and ctx.user_ip6[2] == htonl(0xFFFF):
        ctx.user_ip6[3] = ip4("127.0.0.1")
""",
    "getsockopt answers in optval": """
class Answer(Struct):
    family: u16
    port: u16
    addr: u32
    zero: u64
@getsockopt
def program(ctx: SockOpt) -> None:
    if ctx.level != 0 or ctx.optname != 80:
        return
    if (out := ctx.at(0, Answer)) is None:
        return
    out.family, out.addr = 2, ip4("10.0.0.1")
    ctx.retval, ctx.optlen = 0, 16
""",
    "sock_ops keeps sockets in a hash": """
class Flow(Struct):
    remote: u32
    local: u32
    port: u32
    cookie: u64
socks = SockHash[Flow](16)
@sock_ops
def program(ctx: SockOps) -> None:
    match ctx.op:
        case SockOp.TCP_CONNECT_CB:
            sock_ops_cb_flags_set(ctx, SockOpsFlag.STATE_CB)
        case SockOp.ACTIVE_ESTABLISHED_CB | SockOp.PASSIVE_ESTABLISHED_CB if (
            ctx.family == 2
        ):
            key = Flow(remote=ctx.remote_ip4, local=ctx.local_ip4, port=ctx.local_port)
            key.cookie = netns_cookie(ctx)
            socks.update(ctx, key)
""",
    "sk_msg redirects": """
class Flow(Struct):
    remote: u32
    local: u32
socks = SockHash[Flow](16)
@sk_msg
def program(ctx: SkMsg) -> SkAction:
    key = Flow(remote=ctx.remote_ip4, local=ctx.local_ip4)
    return socks.redirect(ctx, key, ingress=True)
""",
    "sk_lookup assigns, and releases on every way": """
listeners = SockMap(2)
@sk_lookup
def program(ctx: SkLookup) -> SkAction:
    if ctx.local_port == 15006:
        return SkAction.SK_PASS
    with listeners.lookup(0) as sk:
        if sk is None:
            return SkAction.SK_DROP
        if sk_assign(ctx, sk) != 0:
            return SkAction.SK_DROP
    return SkAction.SK_PASS
""",
    "a tracepoint's record and kernel memory by CO-RE": """
class task_struct(Kernel):
    real_parent: "task_struct"
    tgid: i32
    comm: str = chars(16)
class sched_process_fork(Tracepoint):
    parent_pid: i32
    child_pid: i32
class Event(Struct):
    pid: u32
    parent: i32
    comm: str = chars(16)
events = RingBuf[Event](4096)
born = LruHash[u32, u64](16)
@tracepoint("sched:sched_process_fork")
def program(ctx: sched_process_fork) -> None:
    born[ctx.child_pid] = ktime_ns()
    born[7] += 3
    task = current(task_struct)
    for i in range(3):
        task = task.real_parent
    events.emit(Event(pid=ctx.child_pid, parent=task.tgid, comm=task.comm))
    printk(f"{ctx.child_pid} of {current_comm()} at {ctx.parent_pid:#x}")
""",
    "a raw tracepoint's argument as a kernel struct": """
class task_struct(Kernel):
    tgid: i32
hits = Array[u64](1)
@raw_tracepoint("sched_switch")
def program(ctx: RawTracepoint) -> None:
    if kernel_ptr(ctx.args[2], task_struct).tgid == 1:
        hits[0] += 1
""",
    "a context's socket as a kernel struct": """
class file(Kernel):
    f_flags: u32
class socket(Kernel):
    file: file
class sock(Kernel):
    sk_socket: socket
    sk_mark: u32
@connect4
def program(ctx: SockAddr) -> int:
    made = kernel_ptr(ctx.sk, sock)
    return 1 if made.sk_mark == made.sk_socket.file.f_flags else 0
""",
    "addresses of a socket and of a kernel struct, kept and read again": """
class sock(Kernel):
    sk_mark: u32
kept = Array[u64](2)
@sk_msg
def program(ctx: SkMsg) -> SkAction:
    found = helpers.skc_to_tcp_sock(ctx.sk)
    if found is None:
        return SkAction.SK_PASS
    address = kernel_address(found)
    kept[0] = address
    kept[1] = kernel_address(ctx.sk)
    marked = kernel_ptr(address, sock).sk_mark == 7
    return SkAction.SK_DROP if marked else SkAction.SK_PASS
""",
    "a remainder that is checked, and one that is masked, as an index": """
class Slots(Struct):
    words: list[int] = array(u32, 8)
table = Array[Slots](1)
@xdp
def program(ctx: XdpContext) -> XdpAction:
    slots = table.lookup(0)
    if slots is None:
        return XdpAction.PASS
    i = random_u32() % 5
    if i < 8:
        slots.words[i] = 1
    slots.words[(ktime_ns() % 7) & 7] = 2
    return XdpAction.PASS
""",
    "a length in network order that is checked, as an index": """
class Counts(Struct):
    sizes: list[int] = array(u64, 8)
class Header(Struct):
    first: u16
    last: u16
table = Array[Counts](1)
@xdp
def program(ctx: XdpContext) -> XdpAction:
    counts = table.lookup(0)
    header = ctx.at(0, Header)
    if counts is None or header is None:
        return XdpAction.PASS
    length = ntohs(header.last)
    if 0 < length <= 8:
        counts.sizes[length - 1] += 1
    distance = header.last - header.first
    if distance > 0 and distance <= 8:
        counts.sizes[distance - 1] += 1
    return XdpAction.PASS
""",
    "a checked product and a checked quotient, as indices": """
class Words(Struct):
    words: list[int] = array(u32, 8)
table = Array[Words](1)
@xdp
def program(ctx: XdpContext) -> XdpAction:
    words = table.lookup(0)
    if words is None:
        return XdpAction.PASS
    twice = random_u32() * 2
    if twice < 8:
        words.words[twice] = 1
    page = ktime_ns() >> 12
    if page < 16:
        words.words[page >> 1] = 2
    return XdpAction.PASS
""",
    "a variable index into a packet": """
class Row(Struct):
    first: u16
    words: list[int] = array(u32, 4)
@xdp
def program(ctx: XdpContext) -> XdpAction:
    if (row := ctx.at(14, Row)) is None:
        return XdpAction.PASS
    row.words[ctx.length & 3] = row.words[row.first & 3]
    return XdpAction.DROP
""",
    "a packet with a variable offset": """
class Ethernet(Struct):
    dst: bytes = array(u8, 6)
    src: bytes = array(u8, 6)
    proto: u16
class IPv4(Struct):
    ver_ihl: u8
    tos: u8
    length: u16
    rest: bytes = array(u8, 5)
    proto: u8
    tail: bytes = array(u8, 10)
class Ports(Struct):
    src: u16
    dst: u16
blocked = HashMap[u16, u64](16)
@xdp
def program(ctx: XdpContext) -> XdpAction:
    eth = ctx.at(0, Ethernet)
    if eth is None or eth.proto != htons(0x0800):
        return XdpAction.PASS
    total = 0
    for i in range(6):
        total += eth.src[i]
    if (ip := ctx.at(14, IPv4)) is None or ip.proto not in (6, 17) or total == 0:
        return XdpAction.PASS
    if (l4 := ctx.at(14 + (ip.ver_ihl & 15) * 4, Ports)) is None:
        return XdpAction.PASS
    if (n := blocked.lookup(ntohs(l4.dst))) is None:
        return XdpAction.PASS
    n.value += 1
    return XdpAction.DROP
""",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_kernel_accepts(name: str) -> None:
    names = cell(f"from beewire.bpf import *\n{PROGRAMS[name]}")

    with load([names["program"]]) as loaded:
        assert loaded[names["program"]].live.fd > 0


def test_a_packet_is_read_where_its_headers_say() -> None:
    names = cell(
        f"from beewire.bpf import *\n{PROGRAMS['a packet with a variable offset']}"
    )
    ethernet = bytes(6) + b"\x01" * 6 + b"\x08\x00"
    ip = b"\x46" + bytes(8) + b"\x06" + bytes(10) + bytes(4)
    ports = struct.pack("!HH", 1234, 443)
    packet = ethernet + ip + ports

    with load([names["program"]]) as loaded:
        blocked = loaded[names["blocked"]]
        blocked[443] = 0
        live = loaded[names["program"]].live
        hit = live.test_run(data_in=packet).retval
        miss = live.test_run(data_in=packet[:-1] + b"\0").retval
        short = live.test_run(data_in=packet[:-1]).retval

        assert (hit, miss, short) == (1, 2, 2)
        assert blocked[443] == 1


def test_a_key_is_computed_before_what_is_added() -> None:
    names = cell(
        """
from beewire.bpf import *
class Next(Struct):
    number: u32
counts = HashMap[u32, u64](8)
def take(what: Next) -> u32:
    what.number += 1
    return what.number
@xdp
def program(ctx: XdpContext) -> XdpAction:
    tickets = Next(number=4)
    counts[take(tickets)] += tickets.number
    return XdpAction.PASS
"""
    )

    with load([names["program"]]) as loaded:
        loaded[names["program"]].live.test_run(data_in=bytes(20))
        counts = dict(loaded[names["counts"]])

    assert counts == {5: 5}


def test_a_global_struct_is_passed_copied_and_stored_whole() -> None:
    names = cell(
        """
from beewire.bpf import *
class Limits(Struct):
    low: u32
    high: u32
limits = Global(Limits)
kept = Array[Limits](2)
def widen(what: Limits) -> u32:
    what.high += 1
    return what.low
@xdp
def program(ctx: XdpContext) -> XdpAction:
    own = limits.copy()
    own.low = widen(limits)
    kept[0] = own
    kept[1] = limits
    return XdpAction.PASS
"""
    )

    limits = names["Limits"](low=3, high=4)
    with load([names["program"]], globals={"limits": limits}) as loaded:
        loaded[names["program"]].live.test_run(data_in=bytes(20))
        own, whole = loaded[names["kept"]][0], loaded[names["kept"]][1]

    assert (own.low, own.high) == (3, 4)
    assert (whole.low, whole.high) == (3, 5)


def test_records_and_globals_reach_user_space() -> None:
    names = cell(
        """
from beewire.bpf import *
class Event(Struct):
    size: u32
    name: str = chars(8)
    words: list[u32] = array(u32, 3)
events = RingBuf[Event](4096)
limit = Global(u32, 5)
seen = Global(u64)
@xdp
def program(ctx: XdpContext) -> XdpAction:
    seen.value += 1
    if ctx.length > limit.value:
        events.emit(Event(size=ctx.length, name="abc", words=(1, 2, limit.value)))
    return XdpAction.PASS
"""
    )

    with load([names["program"]]) as loaded:
        loaded[names["program"]].live.test_run(data_in=bytes(20))
        loaded.globals["limit"] = 50
        loaded[names["program"]].live.test_run(data_in=bytes(20))
        records = loaded[names["events"]].poll()

        assert [(r.size, r.name, r.words) for r in records] == [(20, "abc", [1, 2, 5])]
        assert loaded.globals["seen"] == 2
