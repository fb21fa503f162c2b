"""Programs from text, run in the kernel and by `evaluate`: `results` is what they leave."""

import itertools
import linecache
import struct
from typing import Any

from beewire.bpf import collect, evaluate, load
from beewire.bpf.lang.reference import World

_numbers = itertools.count()

PRELUDE = """
from enum import IntEnum
from beewire.bpf import *

class Input(Struct):
    a: u64
    b: u64
    c: u32
    d: u16

class Pair(Struct):
    x: u64
    y: u64

class Color(IntEnum):
    RED = 1
    BLUE = 2

results = Array[u64](8)
table = HashMap[u32, Pair](16)
counts = HashMap[u32, u64](16)
"""


def cell(text: str) -> dict[str, Any]:
    """Run source text; the names that it defines."""
    text = PRELUDE + text
    filename = f"<functions {next(_numbers)}>"
    lines = text.splitlines(keepends=True)
    linecache.cache[filename] = (len(text), None, lines, filename)
    names: dict[str, Any] = {"__name__": "cell"}
    exec(compile(text, filename, "exec"), names)
    return names


def program(functions: str, body: str) -> dict[str, Any]:
    """The names of a cell whose XDP program runs `body`, with its packet as `at`."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return cell(f"""{functions}
@xdp
def program(ctx: XdpContext) -> XdpAction:
    at = ctx.at(0, Input)
    if at is None:
        return XdpAction.ABORTED
{lines}    return XdpAction.PASS
""")


def results(
    names: dict[str, Any], a: int = 5, b: int = 6, c: int = 0x20003
) -> list[int]:
    """What the program leaves in `results`."""
    with load([names["program"]]) as loaded:
        packet = struct.pack("=QQIH", a, b, c, 7).ljust(64, b"\0")
        assert loaded[names["program"]].live.test_run(data_in=packet).retval == 2
        return [loaded[names["results"]][i] for i in range(8)]


def evaluated(names: dict[str, Any]) -> list[int]:
    """What `evaluate` leaves in `results`."""
    world = World()
    packet = struct.pack("=QQIH", 5, 6, 0x20003, 7).ljust(64, b"\0")
    assert evaluate(names["program"], packet, world=world) == 2
    return list(world.entries(names["results"]).values())


def subprograms(names: dict[str, Any]) -> list[str]:
    """The subprograms of the object."""
    spec = collect([names["program"]])
    return [p.name for p in spec.programs.values() if p.section == ".text"]
