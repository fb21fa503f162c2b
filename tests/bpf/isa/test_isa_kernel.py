"""What the running kernel and bpftool print for a program is what we print.

The verifier's log shows the program as it was given, by the kernel's own disassembler;
bpftool shows what the verifier made of it, by the same code as of bpftool's version.
"""

import ctypes
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from beewire.bpf import isa
from beewire.bpf.isa import Insn

pytestmark = pytest.mark.kernel

BPF_SYSCALL = {"x86_64": 321, "aarch64": 280}
MAP_CREATE = 0
PROG_LOAD = 5
ARRAY = 2
SOCKET_FILTER = 1
VERBOSE = 2


class MapAttr(ctypes.Structure):
    """The first fields of the `union bpf_attr` arm of BPF_MAP_CREATE."""

    _fields_ = (
        ("map_type", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
    )


class ProgAttr(ctypes.Structure):
    """The first fields of the `union bpf_attr` arm of BPF_PROG_LOAD."""

    _fields_ = (
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_uint64),
    )


@contextmanager
def bpf(command: int, attr: ctypes.Structure) -> Iterator[int]:
    call = ctypes.CDLL(None, use_errno=True).syscall
    size = ctypes.sizeof(attr)
    fd = call(BPF_SYSCALL[platform.machine()], command, ctypes.byref(attr), size)
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    try:
        yield fd
    finally:
        os.close(fd)


class Loaded:
    """A program in the kernel: its descriptor and the verifier's log."""

    def __init__(self, fd: int, log: str) -> None:
        self.fd = fd
        self.log = log

    @property
    def program_id(self) -> str:
        info = Path(f"/proc/self/fdinfo/{self.fd}").read_text(encoding="ascii")
        found = re.search(r"prog_id:\s*(\d+)", info)
        assert found
        return found[1]


class Kernel:
    """Loads socket filters until the test is over."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack

    def load(self, program: tuple[Insn, ...]) -> Loaded:
        data = ctypes.create_string_buffer(isa.encode(program))
        license_name = ctypes.create_string_buffer(b"GPL")
        log = ctypes.create_string_buffer(1 << 20)
        attr = ProgAttr(
            prog_type=SOCKET_FILTER,
            insn_cnt=sum(insn.slots for insn in program),
            insns=ctypes.addressof(data),
            license=ctypes.addressof(license_name),
            log_level=VERBOSE,
            log_size=len(log),
            log_buf=ctypes.addressof(log),
        )
        try:
            fd = self.stack.enter_context(bpf(PROG_LOAD, attr))
        except OSError as error:
            pytest.fail(f"{error}\n{log.value.decode()}")
        return Loaded(fd, log.value.decode())

    def array(self) -> int:
        attr = MapAttr(map_type=ARRAY, key_size=4, value_size=64, max_entries=1)
        return self.stack.enter_context(bpf(MAP_CREATE, attr))


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    if platform.machine() not in BPF_SYSCALL:
        pytest.skip(f"the number of bpf(2) on {platform.machine()} is not known here")
    if os.geteuid() != 0:
        pytest.skip("loading programs needs root")
    with ExitStack() as stack:
        yield Kernel(stack)


@pytest.fixture
def bpftool() -> str:
    found = shutil.which("bpftool")
    if not found:
        pytest.skip("bpftool is not installed")
    return found


def logged(log: str) -> dict[int, str]:
    """The instructions in a verifier's log by slot, without the registers' state."""
    lines = re.findall(r"^(\d+): (\([0-9a-f]{2}\) .*?)\s*(?:;.*)?$", log, re.MULTILINE)
    return {int(slot): text for slot, text in lines}


def listing(program: tuple[Insn, ...]) -> dict[int, str]:
    lines = isa.format_program(program).splitlines()
    return {
        int(slot): text.strip() for slot, _, text in (x.partition(":") for x in lines)
    }


def check(kernel: Kernel, program: tuple[Insn, ...]) -> None:
    loaded = kernel.load(program)

    assert listing(program) == logged(loaded.log)


def test_the_verifier_prints_the_classic_instructions_alike(
    kernel: Kernel, classic: tuple[Insn, ...]
) -> None:
    check(kernel, classic)


def test_the_verifier_prints_version_4_alike(
    kernel: Kernel, newer: tuple[Insn, ...]
) -> None:
    check(kernel, newer)


def test_the_verifier_prints_barriers_alike(
    kernel: Kernel, barriers: tuple[Insn, ...]
) -> None:
    check(kernel, barriers)


def test_the_verifier_prints_a_subprogram_call_alike(kernel: Kernel) -> None:
    leave = (isa.mov_imm(0, 0), isa.exit_insn())
    check(kernel, (isa.call_subprogram(1), isa.exit_insn(), *leave))


def dump(bpftool: str, program: Loaded, *options: str) -> str:
    command = [bpftool, "prog", "dump", "xlated", "id", program.program_id, *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def translated(image: Path) -> tuple[Insn, ...]:
    # The verifier marks a zero extension that it adds by imm 1 of `w3 = w3`, which
    # programs may not (BPF_ZEXT_REG of linux/filter.h).
    mark = re.compile(rb"(\xbc.\0\0)\x01\0\0\0", re.DOTALL)
    data = image.read_bytes()
    slots = (data[at : at + 8] for at in range(0, len(data), 8))
    return isa.decode(b"".join(mark.sub(rb"\g<1>\0\0\0\0", slot) for slot in slots))


def printed(text: str) -> list[str]:
    # A call is printed with the kernel's name of what the verifier put in its place.
    named = re.sub(r"call \S+#", "call unknown#", text)
    return re.findall(r"^ *\d+: (\(.*)$", named, re.MULTILINE)


def test_bpftool_prints_the_translated_program_alike(
    kernel: Kernel, bpftool: str, classic: tuple[Insn, ...], tmp_path: Path
) -> None:
    program = kernel.load(classic)
    image = tmp_path / "xlated"
    dump(bpftool, program, "file", str(image))
    ours = isa.format_program(translated(image))

    assert printed(ours) == printed(dump(bpftool, program))


def test_bpftool_shows_map_references_where_we_do(
    kernel: Kernel, bpftool: str, tmp_path: Path
) -> None:
    fd = kernel.array()
    references = (isa.ld_map_fd(1, fd), isa.ld_map_value(2, fd, 8))
    program = kernel.load((*references, isa.mov_imm(0, 0), isa.exit_insn()))
    image = tmp_path / "xlated"
    dump(bpftool, program, "file", str(image))
    # The kernel puts the map's id where the descriptor was.
    ours = isa.format_program(translated(image)).replace("fd:", "id:")

    assert printed(ours) == printed(dump(bpftool, program))
    assert "[0]+8" in ours
