"""Count the packets that an interface receives, by protocol.

    python examples/xdp_count.py eth0
    beewire run examples/xdp_count.py --interface eth0

Numbers of packets and bytes come at Ctrl-C.
"""

import sys
import time
from enum import IntEnum

from beewire.bpf import PerCpuArray, Struct, XdpContext, array, htons, u8, u16, u64, xdp

IPV4 = htons(0x0800)
IPV6 = htons(0x86DD)


class Seen(IntEnum):
    OTHER = 0
    TCP = 1
    UDP = 2
    ICMP = 3


class Ethernet(Struct):
    target: bytes = array(u8, 6)
    source: bytes = array(u8, 6)
    protocol: u16


class Ipv4(Struct):
    start: u64
    ttl: u8
    protocol: u8


class Ipv6(Struct):
    start: u16
    flow: u16
    length: u16
    protocol: u8


packets = PerCpuArray[u64](max_entries=len(Seen))
octets = PerCpuArray[u64](max_entries=len(Seen))


def classify(protocol: u8) -> int:
    """Which counter a packet of an IP protocol belongs to."""
    match protocol:
        case 6:
            return Seen.TCP
        case 17:
            return Seen.UDP
        case 1 | 58:
            return Seen.ICMP
        case _:
            return Seen.OTHER


def protocol_of(ctx: XdpContext) -> int:
    """The counter of this frame."""
    if (frame := ctx.at(0, Ethernet)) is None:
        return Seen.OTHER
    if frame.protocol == IPV4 and (ip4 := ctx.at(14, Ipv4)) is not None:
        return classify(ip4.protocol)
    if frame.protocol == IPV6 and (ip6 := ctx.at(14, Ipv6)) is not None:
        return classify(ip6.protocol)
    return Seen.OTHER


@xdp
def count(ctx: XdpContext) -> None:
    seen = protocol_of(ctx)
    packets[seen] += 1
    octets[seen] += ctx.length


def main() -> None:
    """Print the counters at Ctrl-C."""
    print("counting; Ctrl-C ends it", flush=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print()
    for seen in Seen:
        total, size = sum(packets[seen]), sum(octets[seen])
        print(f"{seen.name:6} {total:>9} packets {size:>12} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with count.attach(sys.argv[1]):
        main()
