"""The headers that the programs of this directory read, and the packet they are run on."""

from beewire.bpf import Struct, array, be16, be32, bits, u8, u16


class Ethernet(Struct, packed=True):
    target: bytes = array(u8, 6)
    source: bytes = array(u8, 6)
    protocol: be16


class Ipv4(Struct):
    words: u8 = bits(4)
    version: u8 = bits(4)
    service: u8
    length: be16
    id: be16
    fragment: be16
    ttl: u8
    protocol: u8
    checksum: u16
    source: be32
    target: be32


class Tcp(Struct):
    source: be16
    target: be16
    sequence: be32
    acknowledged: be32
    reserved: u8 = bits(4)
    words: u8 = bits(4)
    flags: u8
    window: be16
    checksum: u16
    urgent: be16


TEXT = b"GET /index.html HTTP/1.1\r\n"
"""What follows the headers."""

FRAME = (
    Ethernet(target=bytes(6), source=bytes(range(6)), protocol=0x0800).to_bytes()
    + Ipv4(
        words=5,
        version=4,
        service=0,
        length=40 + len(TEXT),
        id=1,
        fragment=0,
        ttl=64,
        protocol=6,
        checksum=0,
        source=0x0A000001,
        target=0x0A000002,
    ).to_bytes()
    + Tcp(
        source=40000,
        target=80,
        sequence=1,
        acknowledged=1,
        reserved=0,
        words=5,
        flags=0x18,
        window=1024,
        checksum=0,
        urgent=0,
    ).to_bytes()
    + TEXT
)
