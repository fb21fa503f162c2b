"""printk: what an f-string becomes in the kernel's trace."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from beewire.bpf import (
    Array,
    Global,
    RawTracepoint,
    Struct,
    chars,
    current_comm,
    current_tgid,
    i32,
    load,
    printk,
    raw_tracepoint,
    u8,
    u32,
    u64,
)
from beewire.bpf.kernel.syscall import open_file_system
from beewire.bpf.lang.printk import Spec, integer, parse

NAME = "wire"
LIMIT = 300


class Values(Struct):
    small: u8
    signed: i32
    number: u32
    big: u64
    text: str = chars(8)


table = Array[Values](max_entries=1)
asks = Global(u32)


@raw_tracepoint("sys_enter")
def prints(ctx: RawTracepoint) -> None:
    v = table.lookup(0)
    if v is None or current_tgid() != asks.value:
        return
    asks.value = 0
    printk("bw-print: 100% plain")
    printk(f"bw-print: {v.small} {v.signed} {v.big}")
    printk(f"bw-print: [{v.number:8}] [{v.number:<8}] [{v.number:08}]")
    printk(f"bw-print: {v.number:x} {v.number:#x} {v.number:#010x}")
    printk(f"bw-print: {v.number:08X} {v.signed:+} {v.small:c}")
    printk(f"bw-print: [{v.text}] [{v.text:6}] [{v.text:>6}]")
    printk(f"bw-print: {current_comm():s}{NAME:>6} {LIMIT:#06x} {{}}")
    printk(f"bw-print: {v.small},{v.signed},{v.number},{v.big:x},{v.text}")
    printk(f"bw-print: {ctx:p}")


@pytest.fixture
def trace() -> Iterator[int]:
    """The trace pipe, of a mount that no path leads to."""
    directory = open_file_system("tracefs")
    if directory < 0:
        pytest.skip("there is no tracefs")
    fd = os.open("trace_pipe", os.O_RDONLY | os.O_NONBLOCK, dir_fd=directory)
    yield fd
    os.close(fd)
    os.close(directory)


def lines(fd: int, count: int) -> list[str]:
    """The next lines of ours."""
    found: list[str] = []
    text = ""
    deadline = time.monotonic() + 60
    while len(found) < count and time.monotonic() < deadline:
        try:
            text += os.read(fd, 1 << 16).decode()
        except BlockingIOError:
            time.sleep(0.01)
        found = [
            line.partition("bw-print: ")[2]
            for line in text.splitlines()
            if "bw-print: " in line
        ]
    return found


@pytest.mark.kernel
def test_the_kernel_prints_what_python_would(trace: int) -> None:
    values = Values(small=65, signed=-5, number=48879, big=1 << 40, text="abc")
    with load([prints]) as loaded:
        loaded[table][0] = values
        loaded[asks].value = os.getpid()
        with loaded[prints].attach():
            os.getppid()
    v = values
    comm = Path("/proc/self/comm").read_text().rstrip("\n")

    *printed, address = lines(trace, 9)

    assert printed == [
        "100% plain",
        f"{v.small} {v.signed} {v.big}",
        f"[{v.number:8}] [{v.number:<8}] [{v.number:08}]",
        f"{v.number:x} {v.number:#x} {v.number:#010x}",
        f"{v.number:08X} {v.signed:+} {v.small:c}",
        f"[{v.text}] [{v.text:6}] [{v.text:>6}]",
        f"{comm}{NAME:>6} {LIMIT:#06x} {{}}",
        f"{v.small},{v.signed},{v.number},{v.big:x},{v.text}",
    ]
    assert int(address, 16)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("", "%llu"),
        ("d", "%llu"),
        ("5", "%5llu"),
        (">5", "%5llu"),
        ("<5", "%-5llu"),
        ("05d", "%05llu"),
        ("x", "%llx"),
        ("#x", "0x%llx"),
        ("#06x", "0x%04llx"),
        ("#6x", None),
        ("<05", None),
        ("+", None),
        ("s", None),
        ("c", "%c"),
        ("3c", None),
    ],
)
def test_formats_of_integers(written: str, shown: str | None) -> None:
    spec = parse(written)

    assert spec is not None
    assert integer(spec, signed=False) == shown


@pytest.mark.parametrize(
    "written", ["^5", "*<5", "_", ",", "b", "o", "e", ".3", "1234"]
)
def test_formats_that_the_kernel_has_not(written: str) -> None:
    assert parse(written) is None


def test_a_sign_is_for_signed_integers() -> None:
    assert integer(Spec(sign="+"), signed=True) == "%+lld"
