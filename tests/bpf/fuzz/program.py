"""A whole program from a seed, and the inputs that it is run on."""

import random
import struct
from collections import Counter
from typing import NamedTuple

from tests.bpf.fuzz.functions import Functions
from tests.bpf.fuzz.maps import Table
from tests.bpf.fuzz.shapes import LITERALS, record, shape

HEAD = """\
from enum import IntEnum, IntFlag
from typing import Annotated
from beewire.bpf import *
class Color(IntEnum):
    RED = 0
    BLUE = 3
class Flag(IntFlag):
    FIN = 1
    SYN = 2
    ACK = 16
class Arguments(Struct):
    a: u64
    b: i64
    c: u32
    d: i32
    e: u16
    f: i16
    g: u8
    h: i8
class task_struct(Kernel):
    real_parent: "task_struct"
    group_leader: "task_struct"
    tgid: i32
results = Array[u64](2)
SIZE = 300
PORTS = (3, 80, 443)
counter = Global(u32)
mark = Global(u64)
level = Global(i32)
delta = Global(i16, -5)
limit = Const(u32, 1500)
low = Const(i64, -9)
table_of = Global(array(u32, 4))
mine = PerCpuGlobal(u64)
"""
# Programs that a program may go to: they see what it left.
NEXT = {
    "xdp": """\
@xdp
def other(ctx: XdpContext) -> u32:
    mark.value += 3
    if (at := ctx.at(2, u16)) is not None:
        at.value ^= u16(mark.value)
    return u32(counter.value)
""",
    "raw_tracepoint": """\
@raw_tracepoint("sched_switch")
def other(ctx: RawTracepoint) -> u32:
    mark.value += ctx.args[1]
    return u32(counter.value)
""",
}
XDP = """\
@xdp
def program(ctx: XdpContext) -> u32:
    at = ctx.at(0, Arguments)
    if at is None:
        return 77
"""
RAW = """\
@raw_tracepoint("sched_switch")
def program(ctx: RawTracepoint) -> u32:
"""
PARAMETERS = {
    "a": "u64",
    "b": "i64",
    "c": "u32",
    "d": "i32",
    "e": "u16",
    "f": "i16",
    "g": "u8",
    "h": "i8",
}
ARGUMENTS = struct.Struct("=QqIiHhBb")
TARGETS = ("portable", "portable", "running", "running", "v4", "v2", "v1")
HOOKS = ("xdp", "xdp", "xdp", "raw_tracepoint")


class Source(NamedTuple):
    """A program: its text, the constructs in it, and the hook that runs it."""

    seed: int
    text: str
    used: Counter[str]
    hook: str
    target: str  # a word of trial.TARGETS


class _Program(Functions):
    """Makes the module."""

    def make(self) -> str:
        self.hook = self.rng.choice(HOOKS)
        self.use(f"hook: {self.hook}")
        self._types()
        self.callback()
        self.lines += NEXT[self.hook].splitlines()
        for _ in range(self.rng.randrange(4)):
            self.function()
        body, self.lines = self.lines, []
        self._program()
        shapes = [*self.shapes.values(), self.record]
        fields = [field.kind for field in self.shapes["Outer"].fields]
        shapes[:0] = [k for k in fields if not isinstance(k, str) and k.base == "Union"]
        declared = [s.text for s in shapes]
        declared += [table.text for table in self.tables]
        kind, value = self.queue
        declared.append(f"jobs = {kind}[{value}](4)")
        declared.append("plain = HashMap[u32, u64](8)")
        declared.append("seen = BloomFilter[u32](16)")
        declared.append("events = RingBuf[Record](1 << 16)")
        return "\n".join([HEAD, *declared, *body, *self.lines, ""])

    def _types(self) -> None:
        inner = shape(self.rng, "Inner")
        self.shapes = {"Inner": inner, "Outer": shape(self.rng, "Outer", inner)}
        options = "".join(each.options for each in self.shapes.values())
        for word, construct in (
            ("packed", "packed struct"),
            ("align", "aligned struct"),
        ):
            if word in options:
                self.use(construct)
        self.record = record(self.rng)
        value = self.rng.choice(("u32", "u64", "i32", "i16"))
        self.queue = (self.rng.choice(("Queue", "Stack")), value)
        plain = self.rng.choice(("HashMap", "LruHash"))
        counted = self.rng.choice(
            ("HashMap", "PerCpuHash", "PerCpuHash", "LruPerCpuHash")
        )
        kinds = self.rng.sample(("u64", "i64", "u32", "i32"), 2)
        self.tables = (
            Table("table", plain, "u32", kinds[0]),
            Table("counts", counted, "u64", kinds[1], shared=counted == "HashMap"),
            Table("kept", "Array", "u32", self.shapes["Outer"]),
            Table("small", "PerCpuArray", "u32", self.rng.choice(("u16", "i8")), False),
            Table("keyed", "HashMap", inner, self.shapes["Outer"]),
        )

    def _program(self) -> None:
        self.names, self.returns = dict(PARAMETERS), "u32"
        if self.hook == "xdp":
            self.line(0, XDP.rstrip())
            for name, kind in PARAMETERS.items():
                self.line(1, f"{name}: {kind} = at.{name}")
        else:
            self.line(0, RAW.rstrip())
            for index, (name, kind) in enumerate(PARAMETERS.items()):
                self.line(1, f"{name}: {kind} = {kind}(ctx.args[{index}])")
        for _ in range(self.rng.randrange(1, 3)):
            self.struct(1, 0)
        self.block(1, 2, self.rng.choice((3, 4, 4, 5, 5, 6, 8, 10)))
        total = " ^ ".join(f"u64({name})" for name in self.names)
        self.line(1, f"results[0] = {total}")
        for struct_ in self.structs:
            if struct_.own and struct_.shape.name == "Outer":
                self.line(1, f"kept[{self.rng.randrange(2)}] = {struct_.text}")
        self.leave(1)


def source(seed: int) -> Source:
    """The program of a seed."""
    maker = _Program(random.Random(seed))
    text = maker.make()
    target = maker.rng.choice(TARGETS)
    maker.use(f"target: {target}")
    return Source(seed, text, maker.used, maker.hook, target)


class Input(NamedTuple):
    """What one run of a program is given."""

    packet: bytes
    arguments: tuple[int, ...]  # as unsigned words


def inputs(seed: int, count: int) -> list[Input]:
    """What the program of a seed is run on: numbers that are often special ones."""
    rng = random.Random(~seed)
    found = []
    for _ in range(count):
        numbers = [_number(rng, kind) for kind in PARAMETERS.values()]
        packet = ARGUMENTS.pack(*numbers) + rng.randbytes(rng.randrange(34, 98))
        words = tuple(number % (1 << 64) for number in numbers)
        found.append(Input(packet, words))
    return found


def _number(rng: random.Random, kind: str) -> int:
    width = int(kind[1:])
    low = -(1 << width - 1) if kind[0] == "i" else 0
    high = low + (1 << width) - 1
    special = [n for n in LITERALS if n <= high] + [low, high, high - 1]
    special += [-n for n in LITERALS if -n >= low]
    chance = rng.random()
    if chance < 0.5:
        return rng.choice(special)
    return rng.randint(low, high) if chance < 0.8 else rng.randint(max(low, -9), 9)
