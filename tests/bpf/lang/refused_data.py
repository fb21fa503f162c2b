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
class Tight(Struct, packed=True):
    first: u8
    count: u32
    wide: u32 = bits(20)
hits = HashMap[u32, be32](16)
tight = HashMap[u32, Tight](16)
"""

DATA = {
    "a case in host order": (
        "match ports.source:\n    case «443»:\n        pass",
        "443 is in host order, be16 in network order",
        "match what ntohs() or ntohl() gives; or a class's constant: IP = be16(2048)",
    ),
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
        "one side is in network order (be16), the other is not (u16)",
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
    "a literal too large for network order": (
        "ports.source = be16(«70000»)",
        "70000 does not fit be16",
        "be16 holds 0 .. 65535",
    ),
    "a negative literal in network order": (
        "ports.address = be32(«-2»)",
        "-2 does not fit be32",
        "be32 holds 0 .. 4294967295; write 0xfffffffe for the same bits",
    ),
    "a literal too large for flags": (
        "ports.flags = Flag(«1 << 40»)",
        "1099511627776 does not fit Flag",
        "Flag holds 0 .. 4294967295",
    ),
    "a literal wider than a bit-field": (
        "ports.low = «8»",
        "8 does not fit u8:3",
        "u8:3 holds 0 .. 7",
    ),
    "flags of another enum": (
        "x = «ports.others in ports.flags»",
        "an integer (Other) is none of the flags (Flag)",
        "look into what holds such values: a tuple, a range, flags, a map",
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
    "None, and then an integer": (
        "x = None\nx = «5»",
        "'x' is None before: only references can be",
        "use a number that means none, such as 0",
    ),
    "an integer, and then None": (
        "x = 5\nx = «None»",
        "'x' cannot be None: only references can",
        "use a number that means none, such as 0",
    ),
    "a reference into a map, and then into the packet": (
        (
            "x = records.lookup(1)\nif x is None: return XdpAction.PASS\n"
            "p = x.inner\ny = ctx.at(0, Inner)\n"
            "if y is None: return XdpAction.PASS\np = «y»"
        ),
        "'p' holds a reference to a struct (Inner) in a map; this is one in the packet",
        "use another name: what refers to each is checked in its own way",
    ),
    "a struct is replaced that a name refers into": (
        "r = Record()\np = r.inner\nr = «Record()»",
        "'p' refers to a part of 'r', which would be replaced",
        "assign its fields one by one, or use another name",
    ),
    "a second name for a whole struct": (
        "r = Record()\np = «r»",
        "'p' would be a second name for a struct on the stack",
        "use the first name, or take a copy: .copy()",
    ),
    "a choice between a reference and a number": (
        "x = records.lookup(1) if ktime_ns() else «5»",
        "'the choice' holds a struct (Record); this is the number 5",
        "use another name",
    ),
    "a slice past the end": (
        "r = Record()\nx = «r.words[2:5]»",
        "the slice 2:5 is empty, or past the end",
        "there are 4 elements",
    ),
    "a slice of unknown length": (
        "r = Record()\nx = «r.words[ktime_ns():]»",
        "the length of this slice varies",
        "write constant bounds, or a length that is constant: a[i : i + 4]",
    ),
    "a slice that ends anywhere": (
        "r = Record()\nx = «r.words[: random_u32()]»",
        "the end of this slice varies",
        "write constant bounds, or a length that is constant: a[i : i + 4]",
    ),
    "a slice with a step": (
        "r = Record()\nx = «r.words[::2]»",
        "a slice has no step here",
        "go through it",
    ),
    "a text that is too long to be equal": (
        "r = Record()\nif «r.comm == 'longer than sixteen'»:\n    pass",
        "'longer than sixteen' is never equal to chars(16)",
        "it is too long, or contains a NUL",
    ),
    "bytes of another length": (
        "raw = array(u8, 4)\nif «raw == b'HTTP/1'»:\n    pass",
        "b'HTTP/1' is never equal to array(u8, 4): it has 6 bytes",
        "compare a slice: [:6]",
    ),
    "a text and a number": (
        "r = Record()\nif «r.comm == 5»:\n    pass",
        "the number 5 cannot be compared",
        "compare numbers; texts and arrays by == and != only",
    ),
    "arrays of different kinds": (
        "a = array(u32, 4)\nb = array(u16, 4)\nif «a == b»:\n    pass",
        "an array (array(u32, 4)) and an array (array(u16, 4)) cannot be compared",
        "compare slices of one length",
    ),
    "a prefix that varies": (
        "r = Record()\nx = r.comm.startswith(«r.pid»)",
        "startswith() takes a constant",
        "write a number, or a constant of the module",
    ),
    "an array of unknown length": (
        "a = array(u32, «ktime_ns()»)",
        "the length is a constant, 1 or more",
        "write a number, or a constant of the module",
    ),
    "an array gets another kind of content": (
        "a = array(u32, 4)\na[0:2] = «'ab'»",
        "the text 'ab' does not go into array(u32, 2)",
        "give an integer for u8 .. u64, a text for chars(n), a struct for one",
    ),
    "a loop over many constants": (
        f"for i in «{tuple(range(40))}»:\n    pass",
        "'for' over 40 constants",
        "put more than 32 into an Array map",
    ),
    "an atomic sum in a bit-field": (
        ("x = tight.lookup(1)\nif x is None: return XdpAction.PASS\n«x.wide += 1»"),
        "the bit-field u32:20 cannot be changed atomically",
        "write x = x + 1 if that is meant: others may write its word meanwhile",
    ),
    "an atomic sum that is not aligned": (
        ("x = tight.lookup(1)\nif x is None: return XdpAction.PASS\n«x.count += 1»"),
        "a u32 at byte 1 is not aligned: it cannot be changed atomically",
        "leave packed=True out, or move the field",
    ),
}
