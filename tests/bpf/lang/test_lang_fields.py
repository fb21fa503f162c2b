"""Random structs, read and written by random programs: the kernel agrees with evaluate."""

import random

import pytest

from beewire.bpf import World, evaluate, load
from tests.bpf.lang.test_lang_data import cell

pytestmark = pytest.mark.kernel

WIDTHS = {"u8": 8, "u16": 16, "u32": 32, "u64": 64, "i8": 8, "i16": 16, "i32": 32}
ORDERED = {"be16": "ntohs", "be32": "ntohl", "be64": "bswap64"}


class Source:
    """One struct and a program that computes with its fields."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.fields = [self.field(number) for number in range(8)]

    def field(self, number: int) -> tuple[str, str, int]:
        """(declaration, kind, width) of one field; width 0 where it is no bit-field."""
        name = f"f{number}"
        choice = self.random.random()
        if choice < 0.2:
            kind = self.random.choice(list(ORDERED))
            return f"{name}: {kind}", kind, 0
        kind = self.random.choice(list(WIDTHS))
        if choice < 0.55:
            width = self.random.randint(1, min(WIDTHS[kind], 57))
            return f"{name}: {kind} = bits({width})", kind, width
        if choice < 0.7:
            return f"{name}: list[{kind}] = array({kind}, 3)", kind, -1
        return f"{name}: {kind}", kind, 0

    def read(self, where: str, index: int) -> str:
        """A field as an unsigned integer."""
        _, kind, width = self.fields[index]
        text = f"{where}.f{index}"
        if width == -1:
            text += f"[{self.random.randint(0, 2)}]"
        return f"{ORDERED[kind]}({text})" if kind in ORDERED else f"u64({text})"

    def assignment(self, where: str) -> str:
        """A statement that changes a field."""
        index = self.random.randrange(len(self.fields))
        _, kind, width = self.fields[index]
        value = self.read(self.random.choice(["own", "at"]), self.random.randrange(8))
        value = f"{value} {self.random.choice('+-*^|&')} {self.random.randint(1, 99)}"
        target = f"{where}.f{index}"
        if width == -1:
            target += f"[{self.random.randint(0, 2)}]"
        if kind in ORDERED:
            return f"{target} = {kind}({value})"
        if kind.startswith("i"):
            return f"{target} = i64({value})"
        return f"{target} = {value}"

    def text(self) -> str:
        """The module."""
        packed = self.random.choice(["", ", packed=True"])
        body = "\n".join(f"    {declared}" for declared, _, _ in self.fields)
        lines = [self.assignment(self.random.choice(["own", "at"])) for _ in range(14)]
        lines.insert(7, "kept[1] = own")
        lines += [f"results[{i}] = {self.read('own', i)}" for i in range(8)]
        lines += [f"results[{i + 8}] = {self.read('at', i)}" for i in range(8)]
        program = "\n".join(f"    {line}" for line in lines)
        return f"""
class Mixed(Struct{packed}):
{body}
kept = Array[Mixed](2)
@xdp
def program(ctx: XdpContext) -> XdpAction:
    at = kept.lookup(0)
    if at is None:
        return XdpAction.ABORTED
    seen = ctx.at(0, Mixed)
    if seen is None:
        return XdpAction.ABORTED
    own = seen.copy()
    at.f0 = seen.f0
{program}
    return XdpAction.PASS
"""


@pytest.mark.parametrize("seed", range(30))
def test_fields_of_every_kind_agree_with_evaluate(seed: int) -> None:
    text = Source(seed).text()
    names = cell(text)
    packet = random.Random(seed).randbytes(256)
    world = World()
    evaluate(names["program"], packet, world=world)

    with load([names["program"]]) as loaded:
        loaded[names["program"]].live.test_run(data_in=packet)
        results = [loaded[names["results"]][i] for i in range(16)]
        kept = [loaded[names["kept"]][i] for i in range(2)]

    expected = world.entries(names["results"])
    assert results == [expected[i] for i in range(16)], text
    assert kept == [world.entries(names["kept"])[i] for i in range(2)], text
