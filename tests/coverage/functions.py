"""Features of the selftests: functions, callbacks, tail calls, globals."""

from beewire.bpf import (
    Array,
    Const,
    Global,
    HashMap,
    ProgArray,
    Ref,
    SkBuff,
    Struct,
    XdpAction,
    XdpContext,
    array,
    goto,
    kfunc,
    subprogram,
    tc,
    u32,
    u64,
    xdp,
)
from tests.coverage import borrowed
from tests.coverage.borrowed import doubled


class Limits(Struct):
    packets: u64
    bytes: u64


class Sum(Struct):
    total: u64


table = HashMap[u32, u64](max_entries=64)
slots = Array[u64](max_entries=8)
steps = ProgArray(max_entries=4)
count = Global(u64, 41)
sizes = Global(array(u64, 16))
totals = Global(Limits)
enabled = Const(bool, True)


@subprogram
def digest(value: u32, seed: u32) -> u32:
    for i in range(4):
        value = (value ^ seed) * 0x9E3779B1 + i
    return value


@xdp
def static_functions(ctx: XdpContext) -> XdpAction:
    same = digest(ctx.length, 7) == digest(ctx.length, 7)
    return XdpAction.PASS if same else XdpAction.DROP


@subprogram(is_global=True)
def sum_of(a: u32, b: u32) -> u32:
    return a + b


@xdp
def global_functions(ctx: XdpContext) -> XdpAction:
    return XdpAction.PASS if sum_of(40, 2) == 42 else XdpAction.DROP


@subprogram(is_global=True)
def allows(limits: Limits | None, length: u32) -> bool:
    return limits is None or limits.bytes + length < 1 << 20


@xdp
def structs_for_global_functions(ctx: XdpContext) -> XdpAction:
    here = Limits(packets=1, bytes=2)
    allowed = allows(here, ctx.length) and allows(None, ctx.length)
    return XdpAction.PASS if allowed else XdpAction.DROP


@subprogram(is_global=True)
def length_of(ctx: XdpContext) -> u32:
    return ctx.length


@xdp
def contexts_for_global_functions(ctx: XdpContext) -> XdpAction:
    return XdpAction.PASS if length_of(ctx) == ctx.length else XdpAction.DROP


@subprogram(is_global=True)
def room(limits: Limits) -> u64:
    return limits.bytes


@xdp
def arguments_that_are_there(ctx: XdpContext) -> XdpAction:
    here = Limits(packets=1, bytes=2)
    return XdpAction.PASS if room(here) == 2 else XdpAction.DROP


@xdp
def functions_of_other_modules(ctx: XdpContext) -> XdpAction:
    twice = doubled(21)
    if twice == 42 and borrowed.shared.value > 0:
        return XdpAction.PASS
    return XdpAction.DROP


def add(key: u32, value: Ref[u64], sums: Sum) -> None:
    sums.total += value.value


@xdp
def callbacks_for_tables(ctx: XdpContext) -> XdpAction:
    table[1] = 20
    table[2] = 22
    sums = Sum(total=0)
    table.for_each(add, sums)
    return XdpAction.PASS if sums.total == 42 else XdpAction.DROP


def fill(key: u32, value: Ref[u64]) -> bool:
    value.value = key
    return key == 3


@xdp
def callbacks_for_arrays(ctx: XdpContext) -> XdpAction:
    return XdpAction.PASS if slots.for_each(fill) == 4 else XdpAction.DROP


@xdp
def _passes(ctx: XdpContext) -> XdpAction:
    return XdpAction.PASS


@xdp
def tail_calls(ctx: XdpContext) -> XdpAction:
    if ctx.length > 20:
        goto(_passes)
    return XdpAction.DROP


@subprogram
def go_on(ctx: XdpContext) -> u32:
    goto(_passes)
    return 1


@xdp
def tail_calls_in_functions(ctx: XdpContext) -> XdpAction:
    return XdpAction.PASS if go_on(ctx) == 2 else XdpAction.DROP


@xdp
def program_arrays(ctx: XdpContext) -> XdpAction:
    steps.tail_call(ctx, ctx.rx_queue_index)
    return XdpAction.PASS  # nothing is there


@kfunc
def bpf_throw(cookie: u64) -> None: ...


@tc
def exceptions(ctx: SkBuff) -> int:
    if ctx.length > 20:
        bpf_throw(1)  # what the program returns
    return 0


@xdp
def global_variables(ctx: XdpContext) -> XdpAction:
    count.value += 1
    sizes[ctx.length >> 7 & 15] += 1
    totals.bytes += ctx.length
    totals.packets = count.value
    return XdpAction.PASS if totals.packets >= 42 else XdpAction.DROP


@xdp
def constants_set_before_load(ctx: XdpContext) -> XdpAction:
    return XdpAction.PASS if enabled.value else XdpAction.DROP
