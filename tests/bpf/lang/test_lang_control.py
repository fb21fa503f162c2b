"""Control flow in the running kernel, by every way in which loops are bounded."""

import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from beewire.bpf import Target, collect, evaluate, load
from beewire.bpf.kernel import running
from beewire.bpf.object import FEATURES, write
from beewire.bpf.object.target import FETCH, ITERATORS, LOOP_HELPER, MAY_GOTO
from beewire.errors import CompileError
from tests.bpf.lang.control_flow import BODIES, USUAL, source
from tests.bpf.lang.test_lang_kernel import M64, cell

pytestmark = pytest.mark.kernel

TARGETS = [
    pytest.param(Target(3, [MAY_GOTO]), id="may_goto"),
    pytest.param(Target(3, [ITERATORS]), id="iterators"),
    pytest.param(Target(3, [LOOP_HELPER]), id="bpf_loop"),
    pytest.param(Target(1, [MAY_GOTO]), id="v1"),
    pytest.param(Target(4, [ITERATORS]), id="v4"),
    pytest.param(None, id="running"),
]


def needed(target: Target | None) -> None:
    """Skip where this kernel lacks what the target has."""
    here = running()
    if target is None:
        return
    lacks = [name for name in FEATURES if target.has(name) and not here.has(name)]
    if lacks or not all(here.at_least(n) for n in range(1, 5) if target.at_least(n)):
        pytest.skip(f"this kernel lacks what {target} has")


def run(names: dict[str, Any], cases: list[Any], target: Target | None) -> list[int]:
    """What target() gives in the kernel for each of `cases`."""
    needed(target)
    programs = [names["program"]]
    found = []
    with load(collect(programs, target=target) if target else programs) as loaded:
        for case in cases:
            packet = struct.pack("=QqI", *case).ljust(64, b"\0")
            loaded[names["program"]].live.test_run(data_in=packet)
            found.append(loaded[names["results"]][0])
    return found


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", BODIES)
def test_control_flow_is_pythons(name: str, target: Target | None) -> None:
    body, more = BODIES[name]
    names = cell(source(body))
    plain: dict[str, Any] = {}
    text = source(body).partition("@xdp")[0].replace("u64(", "(")
    exec(compile(text, "<plain>", "exec"), plain)
    cases = USUAL + more
    expected = [plain["target"](*case) & M64 for case in cases]

    assert run(names, cases, target) == expected
    assert [evaluate(names["target"], *case) & M64 for case in cases] == expected


def test_each_operand_of_a_chain_is_evaluated_once() -> None:
    names = cell(
        source("""
calls[0] = 0
n = 0
if 0 <= count(a) < 50 <= count(c):
    n = 1
k = calls.lookup(0)
if k is None:
    return 0
return n * 10 + k.value
""")
    )

    assert run(names, [(7, 0, 60), (70, 0, 0)], None) == [12, 1]


ENDLESS = """
from beewire.bpf import *

class Note(Struct):
    n: u64

notes = RingBuf[Note](size=4096)
done = Array[u64](1)

@xdp
def program(ctx: XdpContext) -> XdpAction:
    n = u64(ctx.ingress_ifindex) | 1
    with notes.reserve() as note:
        if note is not None:
            note.n = n
            while n != 0:
                n = n | 2
    done[0] = 1
    return XdpAction.DROP
"""


@pytest.mark.parametrize("feature", [MAY_GOTO, ITERATORS, LOOP_HELPER])
def test_an_endless_loop_ends_the_program_and_gives_back_what_it_holds(
    feature: str,
) -> None:
    names = cell(ENDLESS)
    target = Target(3, [feature, FETCH])
    needed(target)
    spec = collect([names["program"]], target=target)

    with load(spec) as loaded:
        result = loaded[names["program"]].live.test_run(data_in=bytes(64))

        assert result.retval == 2  # XDP_PASS, which is neutral
        assert loaded[names["done"]][0] == 0
        assert loaded[names["notes"]].poll() == []


WHILE = "n = a\nwhile n > c:\n    n -= 1\nreturn n"


@pytest.mark.skipif(shutil.which("bpftool") is None, reason="bpftool is missing")
@pytest.mark.parametrize("feature", [MAY_GOTO, ITERATORS, LOOP_HELPER])
def test_libbpf_loads_such_loops(feature: str, tmp_path: Path) -> None:
    target = Target(3, [feature])
    needed(target)
    spec = collect([cell(source(WHILE))["program"]], target=target)
    path = tmp_path / "loop.o"
    path.write_bytes(write(spec))
    pin = Path(f"/sys/fs/bpf/bw-loop-{feature}-{os.getpid()}")

    try:
        subprocess.run(["bpftool", "prog", "load", path, pin], check=True)
    finally:
        pin.unlink(missing_ok=True)


REFUSED = {
    "more rounds than any kernel counts": (
        "for i in range(1 << 24):\n    a += i\nreturn a",
        Target(),
        "BW183",
        "this loop runs 16777216 times; the kernel ends one after 8388608",
    ),
    "a while that an old kernel would follow": (
        WHILE,
        Target(3, [FETCH]),
        "BW183",
        (
            "this loop may run any number of times, and kernels like the target follow "
            "every round"
        ),
    ),
    "a for that an old kernel would follow": (
        "for i in range(a):\n    c += 1\nreturn c",
        Target(2, []),
        "BW183",
        (
            "this loop may run up to 18446744073709551615 times, and kernels like the "
            "target follow every round"
        ),
    ),
    "a step that varies": (
        "for i in range(0, 9, a):\n    c += 1\nreturn c",
        Target(),
        "BW180",
        "the step of range() is a constant, and not 0",
    ),
    "in a range with a step that varies": (
        "return 1 if c in range(0, 9, a) else 2",
        Target(),
        "BW180",
        "the step of range() is a constant, and not 0",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_loops_that_nothing_bounds_are_refused(name: str) -> None:
    body, target, code, message = REFUSED[name]

    with pytest.raises(CompileError) as caught:
        collect([cell(source(body))["program"]], target=target)

    found = caught.value.diagnostics[0]
    assert (found.code, found.message) == (code, message)


FOLLOWED = {
    "range(64)": True,
    "range(65)": False,
    "range(a & 63)": True,
    "range(a)": False,
    "range(a % 40, 50)": True,
    "range(min(a, 20))": True,
    "range(4, min(c, 1000))": False,
    "range(900, 3, -16)": True,
}


@pytest.mark.parametrize("bounds", FOLLOWED)
def test_small_loops_are_left_to_the_kernel_to_follow(bounds: str) -> None:
    body = f"n = 0\nfor i in {bounds}:\n    n += i\nreturn u64(n)"
    spec = collect([cell(source(body))["program"]], target=Target(3, [MAY_GOTO]))

    budgets = [insn for insn in spec.programs["program"].insns if insn.opcode == 0xE5]
    assert bool(budgets) is not FOLLOWED[bounds]


def test_loops_in_loops_are_counted_together() -> None:
    body = "for i in range(9):\n    for j in range(9):\n        a += j\nreturn a"
    spec = collect([cell(source(body))["program"]], target=Target(3, [MAY_GOTO]))

    budgets = [insn for insn in spec.programs["program"].insns if insn.opcode == 0xE5]
    assert len(budgets) == 1


ELEMENTS = """
from beewire.bpf import *

class Table(Struct):
    words: list[int] = array(u32, 100)

results = Array[u64](1)

@xdp
def program(ctx: XdpContext) -> XdpAction:
    table = ctx.at(0, Table)
    if table is None:
        return XdpAction.ABORTED
    copy = table.copy()
    total = 0
    for word in {}.words:
        if word == 50:
            continue
        total += word
    results[0] = total + copy.words[0]
    return XdpAction.PASS
"""


@pytest.mark.parametrize("place", ["table", "copy"])
@pytest.mark.parametrize("target", TARGETS)
def test_long_arrays_are_gone_over_as_well(target: Target | None, place: str) -> None:
    needed(target)
    names = cell(ELEMENTS.format(place))
    programs = [names["program"]]
    with load(collect(programs, target=target) if target else programs) as loaded:
        packet = struct.pack("=100I", *range(100))
        loaded[names["program"]].live.test_run(data_in=packet)

        assert loaded[names["results"]][0] == sum(range(100)) - 50


HELD = """
from beewire.bpf import *

class Note(Struct):
    n: u64

notes = RingBuf[Note](size=4096)

@subprogram(is_global=True)
def count(n: u64) -> u64:
    rounds = 0
    while n > 1:
        n >>= 1
        rounds += 1
    return rounds

@xdp
def program(ctx: XdpContext) -> XdpAction:
    with notes.reserve() as note:
        if note is not None:
            note.n = count(1 << 20)
    return XdpAction.DROP
"""


@pytest.mark.parametrize("target", TARGETS)
def test_a_loop_of_a_subprogram_leaves_its_callers_reservation_alone(
    target: Target | None,
) -> None:
    needed(target)
    names = cell(HELD)
    programs = [names["program"]]
    with load(collect(programs, target=target) if target else programs) as loaded:
        loaded[names["program"]].live.test_run(data_in=bytes(64))

        assert [note.n for note in loaded[names["notes"]].poll()] == [20]
