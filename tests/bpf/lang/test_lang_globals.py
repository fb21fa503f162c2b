"""Constants, globals, and names of several modules, in the running kernel."""

import importlib
import struct
import sys
from pathlib import Path

import pytest

from beewire.bpf import collect, load
from beewire.errors import MapError
from tests.bpf.lang.cells import evaluated, program, results

pytestmark = pytest.mark.kernel


def test_constants_are_set_before_they_are_loaded() -> None:
    names = program(
        """
class Settings(Struct):
    port: u16
    on: bool
limit = Const(u32, 7)
settings = Const(Settings)
def twice(settings: Settings) -> u32:
    return settings.port * 2
""",
        """
results[0] = limit.value
if settings.on:
    results[1] = twice(settings)
""",
    )

    assert results(names)[:2] == [7, 0]
    assert evaluated(names)[:2] == [7, 0]
    values = {"limit": 40, "settings": names["Settings"](port=4, on=True)}
    with load([names["program"]], globals=values) as loaded:
        loaded[names["program"]].live.test_run(data_in=bytes(64))
        assert [loaded[names["results"]][i] for i in range(2)] == [40, 8]
        assert loaded[names["limit"]].value == 40
        with pytest.raises(MapError, match="constant once loaded"):
            loaded[names["limit"]].value = 3


def test_every_cpu_has_its_own_per_cpu_global() -> None:
    names = program(
        """
seen = PerCpuGlobal(u64)
pairs = PerCpuGlobal(Pair)
@subprogram
def note(n: u64) -> u64:
    seen.value += n
    return seen.value
""",
        """
seen.value += 1
results[0] = note(at.a)
pairs.value.x += 2
pairs.value.y = seen.value
""",
    )

    with load([names["program"]]) as loaded:
        packet = struct.pack("=QQIH", 5, 6, 0, 7).ljust(64, b"\0")
        for _ in range(3):
            loaded[names["program"]].live.test_run(data_in=packet)
        assert sum(loaded[names["seen"]].values) == 18
        assert sum(pair.x for pair in loaded[names["pairs"]].values) == 6
    assert evaluated(names)[0] == 6


def test_an_index_past_the_end_of_a_global_array_ends_the_program() -> None:
    names = program(
        """
table = Global(array(u32, 4))
after = Global(u32, 9)
grid = Global(array(array(u16, 3), 2))
""",
        """
results[0] = after.value
for i in range(4):
    table[i] = i + 1
grid[at.c & 1][at.d & 1] = 5
results[1] = table[at.c & 3] + grid[1][1]
table[at.a] += 1
results[2] = 1
""",
    )

    assert results(names)[:3] == [9, 9, 0]
    assert results(names, a=2)[:3] == [9, 9, 1]
    with load([names["program"]]) as loaded:
        loaded[names["table"]].value = [1, 2, 3, 4]
        loaded[names["table"]][1] = 7
        assert loaded[names["table"]].value == [1, 7, 3, 4]


def test_evaluate_ends_at_an_index_past_the_end_of_a_global_array() -> None:
    names = program(
        "many = Global(array(u64, 4))\n",
        "results[0] = 1\nresults[1] = many[at.a]\nresults[2] = 1",
    )

    assert results(names)[:3] == [1, 0, 0]
    assert evaluated(names)[:3] == [1, 0, 0]


def test_evaluate_prints_and_compares_constant_texts() -> None:
    names = program(
        "NAME = 'nginx'\n",
        "printk(f'{at.a} {at.b:x}')\nresults[0] = NAME == 'nginx'\n"
        "results[1] = NAME != 'nginx'",
    )

    assert results(names)[:2] == [1, 0]
    assert evaluated(names)[:2] == [1, 0]


def test_modules_are_compiled_by_their_own_names(tmp_path: Path) -> None:
    head = "from beewire.bpf import HashMap, Global, Array, Struct, XdpAction\n"
    head += "from beewire.bpf import XdpContext, goto, subprogram, u32, u64, xdp\n"
    (tmp_path / "bw_other.py").write_text(
        head
        + """
SHIFT = 4
table = HashMap[u32, u64](8)
limit = Global(u32, 3)
@subprogram
def shift(x: u64) -> u64:
    table[1] += x
    return (x << SHIFT) + limit.value
@xdp
def program(ctx: XdpContext) -> XdpAction:
    table[2] += 1
    return XdpAction.TX
"""
    )
    (tmp_path / "bw_main.py").write_text(
        head
        + """
import bw_other
from bw_other import table as shared
SHIFT = 1
table = HashMap[u32, u64](8)
limit = Global(u32, 5)
results = Array[u64](8)
@subprogram
def shift(x: u64) -> u64:
    return (x << SHIFT) + limit.value
@xdp
def program(ctx: XdpContext) -> XdpAction:
    table[1] = 9
    shared[5] = 50
    bw_other.table[6] = 60
    results[0] = shift(4)
    results[1] = bw_other.shift(4)
    goto(bw_other.program)
    return XdpAction.PASS
"""
    )
    sys.path.insert(0, str(tmp_path))
    try:
        main = importlib.import_module("bw_main")
        spec = collect(main)
    finally:
        sys.path.remove(str(tmp_path))

    assert list(spec.programs) == ["program", "bw_other_program", "shift", "shift_2"]
    assert set(spec.maps) == {"table", "shared", "results", "programs"}
    with load(spec) as loaded:
        run = loaded[main.program].live.test_run(data_in=bytes(64))
        assert run.retval == 3
        assert [loaded[main.results][i] for i in range(2)] == [13, 67]
        assert dict(loaded[main.table]) == {1: 9}
        assert dict(loaded[main.shared]) == {1: 4, 2: 1, 5: 50, 6: 60}
