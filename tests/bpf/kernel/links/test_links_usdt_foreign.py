"""Programs of libbpf's usdt.bpf.h, compiled by clang: they find their arguments."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from beewire.bpf import kernel
from beewire.bpf.object import read
from tests.static_probe import DATA, TEXT, make, note

SOURCE = r"""
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/usdt.bpf.h>

int count;
long cookie, number;
void *address;
short pointed;

SEC("usdt")
int BPF_USDT(program, int first, void *second, short third)
{
    count = bpf_usdt_arg_cnt(ctx);
    cookie = bpf_usdt_cookie(ctx);
    number = first;
    address = second;
    pointed = third;
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""
WORDS = {
    "x86_64": ("x86", "-4@%edi 8@%rsi -2@4(%rsi)"),
    "aarch64": ("arm64", "-4@x0 8@x1 -2@[x1, 4]"),
}

pytestmark = pytest.mark.kernel


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    """The object that clang makes of SOURCE."""
    machine = os.uname().machine
    if not shutil.which("clang") or not Path("/usr/include/bpf/usdt.bpf.h").exists():
        pytest.skip("needs clang and libbpf-dev")
    source, target = tmp_path / "program.c", tmp_path / "program.o"
    source.write_text(SOURCE)
    flags = ["-O2", "-g", "-target", "bpf", f"-D__TARGET_ARCH_{WORDS[machine][0]}"]
    include = f"-I/usr/include/{machine}-linux-gnu"
    command = ["clang", *flags, include, "-c", str(source), "-o", str(target)]
    subprocess.run(command, check=True)
    return target


def test_a_program_of_libbpf_reads_its_arguments(
    compiled: Path, tmp_path: Path
) -> None:
    path = tmp_path / "bw-probed"
    operands = WORDS[os.uname().machine][1]
    probed = make(
        path, os.uname().machine, note("bw", "done", TEXT, DATA + 2, operands)
    )
    memory = (ctypes.c_int16 * 4)(0, 0, -3, 0)
    address = ctypes.addressof(memory)

    with kernel.load(read(compiled.read_bytes())) as loaded:
        told = loaded.sections[".bss"]
        program = loaded.programs["program"]
        with kernel.attach(program, f"{path}:bw:done", pid=os.getpid(), cookie=99):
            raised = probed.semaphore(1)
            probed.call(0, -5 & 0xFFFF_FFFF, address)
        found = {
            name: int.from_bytes(told.read(name), "little", signed=True)
            for name in ("count", "cookie", "number", "address", "pointed")
        }

    assert (raised, probed.semaphore(1)) == (1, 0)
    assert found == {
        "count": 3,
        "cookie": 99,
        "number": -5,
        "address": address,
        "pointed": -3,
    }
