"""The tables are complete: no opcode without its oracle, no helper without its name."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from beewire.bpf import isa
from beewire.bpf.isa import Insn
from beewire.bpf.isa.helper_names import HELPER_NAMES
from beewire.bpf.isa.opcodes import FIELDS

VMLINUX = Path("/sys/kernel/btf/vmlinux")


def test_the_oracles_corpus_holds_every_opcode_but_gotox(
    classic: tuple[Insn, ...], newer: tuple[Insn, ...], barriers: tuple[Insn, ...]
) -> None:
    seen = {insn.opcode for insn in (*classic, *newer, *barriers)}

    assert set(FIELDS) - seen == {isa.jump_table(0).opcode}


def test_helpers_are_named_as_in_the_running_kernel() -> None:
    bpftool = shutil.which("bpftool")
    if not bpftool or not VMLINUX.exists():
        pytest.skip("needs bpftool and the kernel's BTF")
    command = [bpftool, "btf", "dump", "file", str(VMLINUX)]
    dump = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    start = dump.index("ENUM 'bpf_func_id'")
    pairs = re.findall(r"'BPF_FUNC_(\w+)' val=(\d+)", dump[start : start + 20_000])
    kernel = {int(number): name for name, number in pairs}

    # An older kernel knows fewer.
    assert kernel == dict(enumerate(HELPER_NAMES[: len(kernel)]))
