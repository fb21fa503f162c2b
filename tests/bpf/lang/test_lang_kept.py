"""What a process that compiles for ever keeps of what it compiled: not the functions."""

import gc
import linecache
import weakref
from types import FunctionType
from typing import Any

from beewire.bpf import XdpAction, XdpContext, inline, subprogram, u64, xdp
from beewire.bpf.author import collect
from beewire.bpf.lang import source

TEXT = """
@subprogram
def half(n: u64) -> u64:
    return n >> 1

@inline
def double(n: u64) -> u64:
    return n << 1

@xdp
def program(ctx: XdpContext) -> XdpAction:
    return XdpAction.DROP if half(double(2)) == 2 else XdpAction.PASS
"""


def compiled(number: int) -> list["weakref.ref[FunctionType]"]:
    """The functions of one more cell, whose program was compiled."""
    filename = f"<cell {number}>"
    linecache.cache[filename] = (
        len(TEXT),
        None,
        TEXT.splitlines(keepends=True),
        filename,
    )
    names: dict[str, Any] = {
        "__name__": "cell",
        "inline": inline,
        "subprogram": subprogram,
    }
    names |= {"u64": u64, "xdp": xdp, "XdpContext": XdpContext, "XdpAction": XdpAction}
    exec(compile(TEXT, filename, "exec"), names)
    assert collect([names["program"]]).programs["program"].insns
    del linecache.cache[filename]
    return [weakref.ref(names[name]) for name in ("half", "double")]


def test_functions_go_when_nobody_has_them() -> None:
    made = [ref for number in range(3) for ref in compiled(number)]
    gc.collect()
    assert [ref() for ref in made] == [None] * 6


def test_sources_that_are_kept_are_few() -> None:
    for number in range(source._KEPT + 20):
        compiled(number)
    assert len(source._sources) <= source._KEPT
