"""What programs cannot do with data: source, message, advice; `«...»` is the caret's."""

DECLARATIONS = """
from enum import IntFlag
from beewire.bpf.lang.types import be16, be32, be64, bits, overlay
from beewire.bpf.lang.unions import Union
class Flag(IntFlag):
    SYN = 2
    ACK = 16
class Other(IntFlag):
    SYN = 2
class Ports(Struct):
    source: be16
    target: be16
    address: be32
    cookie: be64
    count: u16
    flags: Flag
    others: Other
    low: u8 = bits(3)
class Address(Union):
    v4: be32
    words: list[u32] = array(u32, 4)
hits = HashMap[u32, be32](16)
"""

DATA = {
    "arithmetic on a number in network order": (
        "x = «ports.source + 1»",
        "'+' of a number in network order (be16)",
        "convert it to host order first: ntohs()",
    ),
    "order of numbers in network order": (
        "x = «ports.address < ports.address»",
        "'<' of a number in network order (be32)",
        "convert it to host order first: ntohl()",
    ),
    "comparison with a host number": (
        "x = «ports.source == ports.count»",
        "'==': one side is in network order (be16), the other is not (u16)",
        "convert one of them: ntohs() or be16()",
    ),
    "comparison with a literal": (
        "x = «ports.source == 80»",
        "80 is in host order, be16 in network order",
        "write be16(80)",
    ),
    "comparison with another width": (
        "x = «ports.source == ports.address»",
        "'==': one side is in network order (be16), the other is not (be32)",
        "convert one of them: ntohs() or be16()",
    ),
    "a literal into a be field": (
        "ports.source = «80»",
        "80 is in host order, be16 in network order",
        "write be16(80)",
    ),
    "a host number into a be field": (
        "ports.source = «ports.count»",
        "u16 does not go into be16, which is in network order",
        "convert it: be16()",
    ),
    "a be number into a host field": (
        "ports.count = «ports.source»",
        "be16 is in network order, and does not go into u16",
        "convert it: ntohs()",
    ),
    "a be number into a wider one": (
        "ports.address = «ports.source»",
        "be16 does not go into be32, which is in network order",
        "it has 16 bits, not 32",
    ),
    "a be number into an annotated name": (
        "x: u16 = «ports.source»",
        "be16 is in network order, and does not go into u16",
        "convert it: ntohs()",
    ),
    "a host number into a name of be numbers": (
        "x = ports.source\nx = «ports.count»",
        "u16 does not go into be16, which is in network order",
        "convert it: be16()",
    ),
    "a be number as an index": (
        "x = (1, 2)[«ports.source»]",
        "a number in network order (be16) is no integer here",
        "convert it to host order: ntohs(...)",
    ),
    "a be number is swapped twice": (
        "x = htons(«ports.source»)",
        "a number in network order (be16) is no integer here",
        "convert it to host order: ntohs(...)",
    ),
    "a be number is swapped with another width": (
        "x = ntohs(«ports.address»)",
        "ntohs() of a be32",
        "write ntohl()",
    ),
    "a converted number is converted again": (
        "ports.source = be16(«htons(80)»)",
        "htons(80) is in network order already",
        "leave the conversion out",
    ),
    "a be number is printed": (
        'printk(f"{«ports.source»}")',
        "an integer (be16) is in network order",
        "print ntohs(...) of it",
    ),
    "a choice between byte orders": (
        "x = «ports.source if ktime_ns() else ports.count»",
        "either: one side is in network order (be16), the other is not (u16)",
        "convert one of them: ntohs() or be16()",
    ),
    "a be key": (
        "hits[1] = «5»",
        "5 is in host order, be32 in network order",
        "write be32(5)",
    ),
    "a sum of be values of a map": (
        "«hits[1] += 5»",
        "'+' of a number in network order (be32)",
        "convert it to host order first: ntohl()",
    ),
    "a literal wider than a bit-field": (
        "ports.low = «8»",
        "8 does not fit u8:3",
        "u8:3 holds 0 .. 7",
    ),
    "flags of another enum": (
        "x = «ports.others in ports.flags»",
        "an integer (Other) is none of the flags (Flag)",
        "",
    ),
    "'in' an integer": (
        "x = 1 in «ports.count»",
        "'in' does not look into an integer (u16)",
        "it takes a tuple (1, 2), range(a, b), flags or a map",
    ),
    "two members of a union": (
        "x = «Address(v4=be32(1), words=(1, 2, 3, 4))»",
        "Address holds one of v4 and words, not both",
        "assign the one that is meant",
    ),
}
