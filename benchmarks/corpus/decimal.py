"""Read a decimal number of up to ten digits at the start of a UDP payload: a gauge in text."""

from beewire.bpf import Array, Struct, XdpAction, XdpContext, u8, u32, u64, xdp
from corpus.headers import UDP_PAYLOAD, is_plain_udp

MOST_DIGITS = 10
ZERO = ord("0")
SUM = 0
COUNT = 1
LARGEST = 2
MALFORMED = 3

gauge = Array[u64](max_entries=4)


class Character(Struct):
    value: u8


@xdp
def read_gauge(ctx: XdpContext) -> XdpAction:
    if not is_plain_udp(ctx):
        return XdpAction.PASS
    number: u64 = 0
    digits: u32 = 0
    for i in range(MOST_DIGITS):
        if (character := ctx.at(UDP_PAYLOAD + i, Character)) is None:
            break
        digit: u32 = character.value - ZERO
        if digit > 9:
            break
        number = number * 10 + digit
        digits += 1
    if digits == 0:
        gauge[MALFORMED] += 1
        return XdpAction.DROP
    gauge[SUM] += number
    gauge[COUNT] += 1
    if (largest := gauge.lookup(LARGEST)) is not None and number > largest.value:
        largest.value = number
    return XdpAction.PASS
