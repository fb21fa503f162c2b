"""An object with one of everything, made by hand, and what to compare objects by."""

import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from beewire.bpf import isa
from beewire.bpf.btf import (
    Builder,
    Func,
    FuncProto,
    Int,
    Linkage,
    Member,
    Param,
    Ptr,
    Struct,
    Type,
)
from beewire.bpf.object import (
    AttachKind,
    CoreRelo,
    DataSection,
    LineInfo,
    MapKind,
    MapSpec,
    ObjectSpec,
    ProgramKind,
    ProgramSpec,
    Relocation,
    RelocationKind,
    Variable,
)

INT = Int("int", 4, signed=True)
U32 = Int("unsigned int", 4)
U64 = Int("unsigned long", 8)
HANDLER = FuncProto(INT, (Param("ctx", Ptr(None)),))

# Helpers: enum bpf_func_id
LOOKUP, GET_CURRENT_TASK, PROBE_READ_KERNEL, RINGBUF_OUTPUT = 1, 35, 113, 130

Code = Iterable[isa.Insn | tuple[isa.Insn, str, str] | tuple[isa.Insn, str, str, int]]


def assemble(code: Code) -> tuple[tuple[isa.Insn, ...], tuple[Relocation, ...]]:
    """Instructions, some with the kind and the symbol of what they refer to."""
    insns, relocations, slot = [], [], 0
    for item in code:
        insn, reference = (
            (item, ()) if isinstance(item, isa.Insn) else (item[0], item[1:])
        )
        insns.append(insn)
        if reference:
            relocations.append(Relocation(slot, *reference))
        slot += insn.slots
    return tuple(insns), tuple(relocations)


def task_struct() -> Struct:
    task = Struct("task_struct", 16)
    task.members = (Member("real_parent", Ptr(task), 0), Member("tgid", INT, 64))
    return task


def on_exec() -> ProgramSpec:
    """Counts executions in a map and in a global, and reports the parent's tgid."""
    insns, relocations = assemble(
        [
            isa.store_imm(isa.Size.W, 10, -4, 0),
            isa.mov_reg(2, 10),
            isa.alu_imm(isa.AluOp.ADD, 2, -4),
            (isa.ld_map_fd(1, 0), RelocationKind.MAP, "counts"),
            isa.call_helper(LOOKUP),
            isa.jump_imm(isa.JumpOp.JEQ, 0, 0, 2),
            isa.mov_imm(1, 1),
            isa.atomic(isa.AtomicOp.ADD, isa.Size.DW, 0, 0, 1),
            (isa.ld_map_value(1, 0, 0), RelocationKind.GLOBAL, "total"),
            isa.mov_imm(2, 1),
            isa.atomic(isa.AtomicOp.ADD, isa.Size.DW, 1, 0, 2),
            isa.call_helper(GET_CURRENT_TASK),
            isa.mov_reg(3, 0),
            isa.alu_imm(isa.AluOp.ADD, 3, 8),
            isa.mov_reg(1, 10),
            isa.alu_imm(isa.AluOp.ADD, 1, -8),
            isa.mov_imm(2, 4),
            isa.call_helper(PROBE_READ_KERNEL),
            (isa.ld_map_fd(1, 0), RelocationKind.MAP, "events"),
            isa.mov_reg(2, 10),
            isa.alu_imm(isa.AluOp.ADD, 2, -8),
            isa.mov_imm(3, 4),
            isa.mov_imm(4, 0),
            isa.call_helper(RINGBUF_OUTPUT),
            isa.mov_imm(0, 0),
            isa.exit_insn(),
        ]
    )
    return ProgramSpec(
        "on_exec",
        kind=ProgramKind.TRACEPOINT,
        section="tracepoint/sched/sched_process_exec",
        attach_to="sched/sched_process_exec",
        insns=insns,
        relocations=relocations,
        lines=(
            LineInfo(0, "exec.py", 12, 5, "counts[0] += 1"),
            LineInfo(15, "exec.py", 14, 5, "parent = current(task_struct)"),
        ),
        # Slot 15: r3 += 8 becomes the offset of tgid in this kernel's task_struct.
        core_relos=(CoreRelo(15, task_struct(), "0:1", 0),),
        signature=Func("on_exec", HANDLER),
    )


def connect(name: str, verdict: int, limit_from: str) -> ProgramSpec:
    """Returns `verdict` through a subprogram, after a look at a constant."""
    insns, relocations = assemble(
        [
            (isa.ld_map_value(1, 0, 0), RelocationKind.GLOBAL, limit_from, 4),
            isa.load(isa.Size.W, 1, 1, 0),
            isa.mov_imm(1, verdict),
            (isa.call_subprogram(-1), RelocationKind.SUBPROGRAM, "identity"),
            isa.exit_insn(),
        ]
    )
    return ProgramSpec(
        name,
        kind=ProgramKind.CGROUP_SOCK_ADDR,
        attach_kind=AttachKind.CGROUP_INET4_CONNECT,
        section="cgroup/connect4",
        insns=insns,
        relocations=relocations,
        lines=(LineInfo(0, "connect.py", 3, 5, f"return {verdict}"),),
        signature=Func(name, HANDLER),
    )


def subprogram(name: str, insns: tuple[isa.Insn, ...]) -> ProgramSpec:
    proto = FuncProto(U64, (Param("x", U64),))
    return ProgramSpec(
        name,
        kind=ProgramKind.UNSPEC,
        section=".text",
        insns=insns,
        lines=(LineInfo(0, "connect.py", 1, 1, f"def {name}(x):"),),
        signature=Func(name, proto, Linkage.STATIC),
    )


@pytest.fixture
def spec() -> ObjectSpec:
    spec = ObjectSpec("sample")
    counts = MapSpec(
        "counts",
        kind=MapKind.HASH,
        key_size=4,
        value_size=8,
        max_entries=64,
        key=U32,
        value=U64,
    )
    events = MapSpec("events", kind=MapKind.RINGBUF, max_entries=4096)
    raw = MapSpec(
        "raw", kind=MapKind.ARRAY, key_size=4, value_size=12, max_entries=2, flags=0x400
    )
    spec.maps = {each.name: each for each in (counts, events, raw)}
    total = Variable("total", 8, 8, U64)
    limits = [Variable("low", 0, 4, U32), Variable("high", 4, 4, U32)]
    spec.sections = {
        ".bss": DataSection(".bss", bytearray(16), [total]),
        ".rodata": DataSection(".rodata", bytearray(b"\1\0\0\0\2\0\0\0"), limits),
    }
    programs = (
        on_exec(),
        connect("accept", 1, ".rodata"),
        connect("also", 1, "low"),
        subprogram("other", (isa.mov_imm(0, 7), isa.exit_insn())),
        subprogram("identity", (isa.mov_reg(0, 1), isa.exit_insn())),
    )
    spec.programs = {each.name: each for each in programs}
    return spec


def types(node: Type | None) -> bytes:
    """A type in a form that is equal for equal types."""
    builder = Builder()
    builder.add(node)
    return builder.encode()


def described(spec: ObjectSpec) -> dict[str, object]:
    """All that a spec says, in values that compare by `==`."""
    return {
        "name": spec.name,
        "license": spec.license,
        "weak": spec.weak,
        "tags": sorted([types(tag) for tag in spec.tags]),
        "programs": {name: program(each) for name, each in spec.programs.items()},
        "maps": {name: described_map(each) for name, each in spec.maps.items()},
        "externs": {name: types(each) for name, each in spec.externs.items()},
        "sections": {
            name: (
                each.name,
                bytes(each.content),
                [
                    (*found._replace(type=INT), types(found.type))
                    for found in each.variables
                ],
            )
            for name, each in spec.sections.items()
        },
    }


def program(spec: ProgramSpec) -> dict[str, object]:
    fields: dict[str, object] = {
        name: getattr(spec, name) for name in ProgramSpec.__slots__
    }
    return fields | {
        "signature": types(spec.signature),
        "core_relos": [
            (relo.slot, types(relo.type), relo.access, relo.kind)
            for relo in spec.core_relos
        ],
    }


def described_map(spec: MapSpec | None) -> dict[str, object] | None:
    if spec is None:
        return None
    fields: dict[str, object] = {
        name: getattr(spec, name) for name in MapSpec.__slots__
    }
    return fields | {
        "key": types(spec.key),
        "value": types(spec.value),
        "inner": described_map(spec.inner),
    }


@pytest.fixture
def describe() -> Callable[[ObjectSpec], dict[str, object]]:
    return described


@pytest.fixture
def bpffs(tmp_path: Path) -> Iterator[Path]:
    """A BPF file system of the test's own."""
    if os.geteuid() != 0:
        pytest.skip("mounting a BPF file system needs root")
    directory = tmp_path / "bpffs"
    directory.mkdir()
    subprocess.run(["mount", "-t", "bpf", "bw-test", str(directory)], check=True)
    yield directory
    subprocess.run(["umount", str(directory)], check=True)
