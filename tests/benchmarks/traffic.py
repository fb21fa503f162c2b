"""Frames of many kinds, and what the maps of the corpus hold before they arrive.

The same seed gives the same frames. Addresses and ports are few, so that flows repeat.
"""

import random
import struct
import zlib

MAC = [bytes([2, 0, 0, 0, 0, n]) for n in range(4)]
# 10/8 is inside; 192.0.2.1 is outside, and a virtual address.
IP4 = [bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]), bytes([192, 0, 2, 1])]
IP6 = [
    bytes.fromhex("20010db8000000000000000000000001")[:15] + bytes([n]) for n in (1, 2)
]
PORTS = [53, 80, 123, 443, 4789, 7777, 20001]
NAME = b"\x03WWW\x07example\x03com\x00"
HTTP = [
    b"GET /admin HTTP/1.1\r\n",
    b"POST /x HTTP/1.0\r\n",
    b"PATCH /admin/1 ",
    b"OPTI",
]
VERSIONS = [1, 0, 0x6B3343CF, 7]


def checksum(data: bytes) -> int:
    """The Internet checksum of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Traffic:
    """A source of frames."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def frame(self) -> bytes:
        """A frame; sometimes cut short, sometimes with a byte changed."""
        r = self.random
        frame = bytearray(
            r.choice((self.udp, self.udp, self.tcp, self.tcp, self.ipv6, self.arp))()
        )
        if r.random() < 0.1:
            frame[r.randrange(12, len(frame))] ^= 1 << r.randrange(8)
        if r.random() < 0.15:
            del frame[r.randrange(14, len(frame) + 1) :]
        return bytes(frame)

    def ethernet(self, protocol: int, body: bytes) -> bytes:
        r = self.random
        tags = b""
        for _ in range(r.choice((0, 0, 0, 0, 1, 2))):
            tags += struct.pack(
                "!HH", r.choice((0x8100, 0x88A8)), r.choice((5, 0xE006))
            )
        macs = r.choice(MAC) + r.choice(MAC)
        return macs + tags + struct.pack("!H", protocol) + body

    def ipv4(self, protocol: int, body: bytes) -> bytes:
        r = self.random
        options = bytes(4 * r.choice((0, 0, 0, 0, 0, 0, 3)))
        fragment = r.choice((0, 0, 0, 0, 0x4000, 185))
        header = bytearray(
            struct.pack(
                "!BBHHHBBH",
                0x45 + len(options) // 4,
                r.choice((0, 8)),
                20 + len(options) + len(body),
                r.randrange(1 << 16),
                fragment,
                r.choice((1, 64)),
                protocol,
                0,
            )
            + r.choice(IP4)
            + r.choice(IP4)
            + options
        )
        header[10:12] = struct.pack(
            "!H", checksum(bytes(header)) if r.random() < 0.9 else 1
        )
        return self.ethernet(0x0800, bytes(header) + body)

    def transport(self) -> tuple[int, bytes]:
        r = self.random
        if r.random() < 0.2:
            kind = r.choice((0, 3, 8, 11, 128, 129, 135))
            return r.choice((1, 58)), bytes([kind, 0, 1, 2]) + r.randbytes(24)
        return (17, self.datagram()) if r.random() < 0.6 else (6, self.segment())

    def udp(self) -> bytes:
        protocol, body = self.transport()
        return self.ipv4(protocol, body)

    def tcp(self) -> bytes:
        return self.ipv4(6, self.segment())

    def ipv6(self) -> bytes:
        r = self.random
        protocol, body = self.transport()
        for _ in range(r.choice((0, 0, 1, 2, 7))):
            length = r.choice((0, 1))
            body = bytes([protocol, length, 0, 0]) + bytes(4 + 8 * length) + body
            protocol = r.choice((0, 43, 44, 60))
        header = struct.pack("!IHBB", 6 << 28, len(body), protocol, r.choice((1, 64)))
        return self.ethernet(0x86DD, header + r.choice(IP6) + r.choice(IP6) + body)

    def arp(self) -> bytes:
        r = self.random
        source = r.choice(MAC)
        body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, r.choice((1, 1, 2)))
        body += source + r.choice(IP4) + r.choice(MAC) + r.choice(IP4)
        frame = bytearray(self.ethernet(0x0806, body))
        if r.random() < 0.8:
            frame[6:12] = source
        return bytes(frame)

    def datagram(self) -> bytes:
        r = self.random
        ports = struct.pack("!HH", r.choice(PORTS), r.choice(PORTS))
        payload = self.payload()
        check = r.choice((0, 0x1234))
        return ports + struct.pack("!HH", 8 + len(payload), check) + payload

    def payload(self) -> bytes:
        r = self.random
        match r.randrange(8):
            case 0:
                return r.randbytes(r.randrange(100))
            case 1:
                return bytes([0xFF, 0xFE, 0xF1]) + r.randbytes(80)
            case 2:
                return str(r.randrange(1 << 36)).encode() + b"\n"
            case 3:
                last = r.choice(("9", "x", "", "77"))
                return f"10.{r.randrange(300)}.2.{last}".encode()
            case 4:
                flags = r.choice((0x100, 0x8180))
                return struct.pack("!6H", 7, flags, 1, 0, 0, 0) + NAME
            case 5:
                return self.quic()
            case 6:
                return self.vxlan()
            case _:
                return self.with_crc(r.choice((20, 28)))

    def quic(self) -> bytes:
        r = self.random
        first = r.choice((0x40, 0xC0, 0xD0, 0xE0, 0x80))
        start = struct.pack("!BIB", first, r.choice(VERSIONS), r.choice((8, 20, 3)))
        return start + r.randbytes(20)

    def vxlan(self) -> bytes:
        r = self.random
        inner = (
            r.choice(MAC)
            + r.choice(MAC)
            + struct.pack("!H", r.choice((0x0800, 0x86DD)))
        )
        inner += bytes(8) + r.choice(IP6) + r.choice(IP4) + r.choice(IP4) + bytes(20)
        return (
            struct.pack("!BxHI", r.choice((8, 8, 0)), 0, r.choice((7, 9)) << 8) + inner
        )

    def with_crc(self, size: int) -> bytes:
        body = self.random.randbytes(size)
        wrong = self.random.choice((0, 0, 1))
        return body + struct.pack("=I", zlib.crc32(body) ^ wrong)

    def segment(self) -> bytes:
        r = self.random
        options = r.choice(
            (
                b"",
                bytes([2, 4, 5, 0xB4, 1, 3, 3, 7]),
                bytes([4, 2, 8, 10]) + bytes(8),
                bytes([1, 1, 2, 4, 1, 2, 4, 2, 1, 3, 3, 2]),
                bytes([9, 0, 0, 0]),
            )
        )
        flags = r.choice((0x02, 0x02, 0x12, 0x10, 0x10, 0x18, 0x11, 0x04))
        start = struct.pack(
            "!HHII", r.choice(PORTS), r.choice(PORTS), r.choice((1, 9)), 5
        )
        rest = struct.pack(
            "!BBHHH", (5 + len(options) // 4) << 4, flags, 512, 0xABCD, 0
        )
        return start + rest + options + r.choice([b"", *HTTP])
