"""Locals that the stack does not hold: a place for each level of nesting on a CPU."""

import os
import shutil
import struct
import subprocess
from pathlib import Path
from textwrap import dedent

import pytest

from beewire.bpf import Target, collect, load
from beewire.bpf.object import write
from beewire.errors import CompileError
from tests.bpf.lang.test_lang_control import needed
from tests.bpf.lang.test_lang_kernel import cell

HEAD = """
from beewire.bpf import *
from beewire.bpf.object.kinds import ProgramKind

class Big(Struct):
    words: list[int] = array(u64, 80)
    name: str = chars(64)

class Huge(Struct):
    words: list[int] = array(u64, 200)

results = Array[u64](8)
"""

SUMS = """
@xdp
def program(ctx: XdpContext) -> XdpAction:
    first = Big()
    second = Big()
    for i in range(80):
        first.words[i] = i * 3
        second.words[79 - i] = i
    total = 0
    for i in range(80):
        total += first.words[i] ^ second.words[i]
    results[0] = total
    results[1] = second.words[79] + len(first.name)
    return XdpAction.DROP if total & 1 else XdpAction.PASS
"""


@pytest.mark.kernel
@pytest.mark.parametrize("target", [Target(1), Target(3), Target(4, ["may_goto"])])
def test_big_locals_are_what_small_ones_are(target: Target) -> None:
    needed(target)
    names = cell(HEAD + SUMS)
    expected = sum(i * 3 ^ (79 - i) for i in range(80))

    with load(collect([names["program"]], target=target)) as loaded:
        program = loaded[names["program"]]
        for _ in range(9):  # each run frees its place
            assert program.live.test_run(data_in=bytes(64)).retval == 2
        assert loaded[names["results"]][0] == expected
        assert program.missed == 0


@pytest.mark.kernel
def test_they_begin_as_zero_whatever_the_last_run_left() -> None:
    names = cell(
        HEAD
        + dedent("""
        @xdp
        def program(ctx: XdpContext) -> XdpAction:
            at = ctx.at(0, Big)
            big = Huge()
            results[1] = big.words[7] + big.words[150]
            big.words[7] = 5
            big.words[150] = 6
            if at is not None:
                return XdpAction.DROP
            results[2] = 1
            return XdpAction.PASS
        """)
    )

    with load([names["program"]]) as loaded:
        live = loaded[names["program"]].live
        assert [live.test_run(data_in=bytes(n)).retval for n in (1000, 64, 64)] == [
            1,
            2,
            2,
        ]
        assert loaded[names["results"]][1] == 0
        assert loaded[names["results"]][2] == 1


NESTED = """
only = Global(u32)

@tracepoint("bpf_trace:bpf_trace_printk")
def inner(ctx: Tracepoint) -> None:
    if current_tgid() != only.value:
        return
    big = Huge()
    for i in range(200):
        big.words[i] = 0xDEAD
    total = 0
    for i in range(200):
        total += big.words[i]
    results[2] = total
    results[3] += 1

@xdp
def outer(ctx: XdpContext) -> XdpAction:
    big = Big()
    for i in range(80):
        big.words[i] = i
    printk("nested")
    total = 0
    for i in range(80):
        total += big.words[i]
    results[0] = total
    return XdpAction.PASS
"""


@pytest.mark.kernel
def test_a_program_within_a_program_has_a_place_of_its_own() -> None:
    names = cell(HEAD + NESTED)

    here = {"only": os.getpid()}
    with load([names["outer"], names["inner"]], globals=here) as loaded:
        results = loaded[names["results"]]
        with loaded[names["inner"]].attach():
            for _ in range(3):
                loaded[names["outer"]].live.test_run(data_in=bytes(64))

        assert results[3] >= 1, "the inner program did not run"
        assert results[0] == sum(range(80))
        assert results[2] == 200 * 0xDEAD
        assert loaded[names["outer"]].missed == 0


@pytest.mark.kernel
def test_a_run_without_a_place_is_counted_and_neutral() -> None:
    names = cell(HEAD + SUMS)

    with load([names["program"]]) as loaded:
        program = loaded[names["program"]]
        scratch = loaded._home.parts[0].maps["bw_scratch"]
        stride = (scratch.spec.value_size - 8) // 4
        taken = bytearray(scratch.spec.value_size)
        for level in range(4):
            struct.pack_into("=Q", taken, 8 + level * stride, 1)
        scratch[0] = [bytes(taken)] * len(scratch[0])

        assert program.live.test_run(data_in=bytes(64)).retval == 2
        assert loaded[names["results"]][0] == 0
        assert program.missed == 1

        struct.pack_into("=Q", taken, 8 + 3 * stride, 0)  # the last level is free
        scratch[0] = [bytes(taken)] * len(scratch[0])
        assert program.live.test_run(data_in=bytes(64)).retval == 2
        assert loaded[names["results"]][0] != 0


@pytest.mark.kernel
@pytest.mark.skipif(shutil.which("bpftool") is None, reason="bpftool is missing")
def test_libbpf_loads_it(tmp_path: Path) -> None:
    path = tmp_path / "big.o"
    path.write_bytes(write(collect([cell(HEAD + SUMS)["program"]])))
    pin = Path(f"/sys/fs/bpf/bw-scratch-{os.getpid()}")

    try:
        subprocess.run(["bpftool", "prog", "load", path, pin], check=True)
    finally:
        pin.unlink(missing_ok=True)


def test_small_programs_have_no_scratch_map() -> None:
    names = cell(
        HEAD + "@xdp\ndef program(ctx: XdpContext) -> XdpAction:\n    return 1\n"
    )

    assert list(collect([names["program"]]).maps) == []


def test_a_program_that_may_sleep_is_refused() -> None:
    names = cell(HEAD + SUMS)
    names["program"].flags |= 1 << 4

    with pytest.raises(CompileError, match="may sleep cannot keep the rest aside"):
        collect([names["program"]])


def test_what_no_place_holds_is_refused() -> None:
    body = SUMS.replace("Big()", "Monster()").replace("len(first.name)", "1")
    monster = "class Monster(Struct):\n    words: list[int] = array(u64, 2000)\n"
    names = cell(HEAD + monster + body)

    with pytest.raises(CompileError, match="a place aside at most 8176"):
        collect([names["program"]])
