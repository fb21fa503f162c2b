"""Random programs that acquire and release sockets and records on tangled ways."""

import random

HEAD = """
from beewire.bpf import *

class Tuple4(Struct):
    saddr: u32
    daddr: u32
    sport: u16
    dport: u16

class Event(Struct):
    first: u64
    second: u64

events = RingBuf[Event](4096)

def find(ctx: XdpContext, port: u16) -> BpfSock | None:
    return sk_lookup_tcp(ctx, Tuple4(dport=port))

def drop(sk: BpfSock) -> None:
    sk_release(sk)

@xdp
def program(ctx: XdpContext) -> XdpAction:
"""


class _Writer:
    """Writes one program; most ways give back what they acquire, some forget it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.lines: list[str] = []
        self.names = 0

    def line(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)

    def chance(self, percent: int) -> bool:
        return self.random.randrange(100) < percent

    def fresh(self) -> str:
        self.names += 1
        return f"sk{self.names}"

    def block(self, depth: int, held: list[str], *, in_loop: bool) -> None:
        start = len(self.lines)
        for _ in range(self.random.randrange(1, 4)):
            self.statement(depth, held, in_loop=in_loop)
        if len(self.lines) == start:
            self.line(depth, "pass")

    def statement(self, depth: int, held: list[str], *, in_loop: bool) -> None:
        choices = [self.use, self.leave]
        if depth < 5:
            choices += [self.acquire, self.with_socket, self.with_record]
            choices += [self.choose, self.loop]
        self.random.choice(choices)(depth, held, in_loop)

    def acquire(self, depth: int, held: list[str], in_loop: bool) -> None:
        name = self.fresh()
        call = "find(ctx, 80)" if self.chance(50) else "sk_lookup_udp(ctx, Tuple4())"
        if self.chance(30):
            self.line(depth, "if random_u32() & 1:")
            self.line(depth + 1, f"{name} = {call}")
            self.line(depth, "else:")
            self.line(depth + 1, f"{name} = find(ctx, 81)")
        else:
            self.line(depth, f"{name} = {call}")
        if self.chance(50):
            self.line(depth, f"if {name} is None:")
            self.line(depth + 1, "return XdpAction.DROP" if not held else "pass")
            if held:
                self.line(depth, f"if {name} is not None:")
                self.block(depth + 1, [*held, name], in_loop=in_loop)
                self.release(depth + 1, name)
                return
            self.block(depth, [*held, name], in_loop=False)
            self.release(depth, name)
        else:
            self.line(depth, f"if {name} is not None:")
            self.block(depth + 1, [*held, name], in_loop=False)
            self.release(depth + 1, name)

    def release(self, depth: int, name: str) -> None:
        by = "drop" if self.chance(30) else "sk_release"
        if self.chance(2):
            self.line(depth, "if random_u32() == 3:")
            self.line(depth + 1, f"{by}({name})")
        elif self.chance(97):
            self.line(depth, f"{by}({name})")
        if self.chance(2):
            self.line(depth, f"mark = {name}.mark")

    def with_socket(self, depth: int, held: list[str], in_loop: bool) -> None:
        name = self.fresh()
        self.line(depth, f"with find(ctx, 443) as {name}:")
        self.line(depth + 1, f"if {name} is not None:")
        self.line(depth + 2, f"cpu = {name}.mark")
        self.block(depth + 1, held, in_loop=in_loop)
        if self.chance(15):
            self.line(depth + 1, f"if {name} is not None:")
            self.line(depth + 2, f"sk_release({name})")

    def with_record(self, depth: int, held: list[str], in_loop: bool) -> None:
        name = self.fresh()
        self.line(depth, f"with events.reserve() as {name}:")
        self.line(depth + 1, f"if {name} is not None:")
        self.line(depth + 2, f"{name}.first = {name}.second = 0")
        if self.chance(50):
            call = self.random.choice(["submit", "discard"])
            self.line(depth + 2, f"events.{call}({name})")
        self.block(depth + 1, held, in_loop=in_loop)

    def use(self, depth: int, held: list[str], in_loop: bool) -> None:
        del in_loop
        if held:
            self.line(depth, f"mark = {self.random.choice(held)}.mark")
        else:
            self.line(depth, "mark = random_u32()")

    def choose(self, depth: int, held: list[str], in_loop: bool) -> None:
        self.line(depth, f"if random_u32() & {1 << self.random.randrange(8)}:")
        self.block(depth + 1, held, in_loop=in_loop)
        if self.chance(50):
            self.line(depth, "else:")
            self.block(depth + 1, held, in_loop=in_loop)

    def loop(self, depth: int, held: list[str], in_loop: bool) -> None:
        del in_loop
        self.line(depth, f"for i{depth} in range({self.random.randrange(2, 4)}):")
        self.block(depth + 1, held, in_loop=True)

    def leave(self, depth: int, held: list[str], in_loop: bool) -> None:
        self.line(depth, "if random_u32() == 7:")
        if in_loop and self.chance(60):
            self.line(depth + 1, self.random.choice(["break", "continue"]))
            return
        for name in held:
            self.release(depth + 1, name)
        self.line(depth + 1, "return XdpAction.TX")


def source(seed: int) -> str:
    """A program; most are right, some leak or use what is gone."""
    writer = _Writer(seed)
    writer.block(1, [], in_loop=False)
    writer.line(1, "return XdpAction.PASS")
    return HEAD + "\n".join(writer.lines) + "\n"
