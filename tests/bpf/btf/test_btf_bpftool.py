"""What we read from BTF, and write to it, is what bpftool sees."""

import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from beewire.bpf.btf import (
    Array,
    Builder,
    Composite,
    Const,
    DataSec,
    DeclTag,
    Enum,
    Enum64,
    Enumerator,
    Float,
    Func,
    FuncProto,
    Fwd,
    Index,
    Int,
    Kind,
    Member,
    Param,
    Ptr,
    Reference,
    Restrict,
    SectionEntry,
    Struct,
    Type,
    Typedef,
    TypeTag,
    Union,
    Var,
    Volatile,
    decode,
)

VMLINUX = Path("/sys/kernel/btf/vmlinux")
# Of each kind, at most so many types are compared.
SAMPLE = 400

pytestmark = pytest.mark.skipif(
    shutil.which("bpftool") is None, reason="bpftool is not installed"
)


def dump(path: Path) -> list[dict[str, Any]]:
    """The types of a BTF file in bpftool's words."""
    command = ["bpftool", "--json", "btf", "dump", "file", str(path), "format", "raw"]
    done = subprocess.run(command, capture_output=True, check=True)
    types = json.loads(done.stdout)["types"]
    assert isinstance(types, list)
    return types


class Describe:
    """Types in bpftool's words; `id_of` knows the id of an object of the index."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self.ids = {index.type(i): i for i in range(len(index))}

    def __call__(self, node: Type) -> dict[str, Any]:
        name = node.name or "(anon)"
        return {
            "id": self.ids[node],
            "kind": node.kind.name,
            "name": name,
        } | self.body(node)

    def body(self, node: Type) -> dict[str, Any]:  # noqa: PLR0911, C901, PLR0912 - one case a kind
        ids = self.ids
        match node:
            case Int():
                encodings = {
                    "SIGNED": node.signed,
                    "CHAR": node.char,
                    "BOOL": node.bool,
                }
                return {
                    "size": node.size,
                    "encoding": next(
                        (k for k, on in encodings.items() if on), "(none)"
                    ),
                    "bits_offset": node.offset_bits,
                    "nr_bits": node.bits,
                }
            case Float():
                return {"size": node.size}
            case Array():
                return {
                    "type_id": ids[node.element],
                    "index_type_id": ids[node.index],
                    "nr_elems": node.count,
                }
            case Composite():
                members = [self.member(each) for each in node.members]
                return {"size": node.size, "vlen": len(members), "members": members}
            case Enum():
                values = [
                    {"name": n, "val": shown_value(node, v)} for n, v in node.values
                ]
                return {
                    "size": node.size,
                    "encoding": "SIGNED" if node.signed else "UNSIGNED",
                    "vlen": len(values),
                    "values": values,
                }
            case Fwd():
                return {"fwd_kind": "union" if node.union else "struct"}
            case FuncProto():
                params = [
                    {"name": p.name or "(anon)", "type_id": ids[p.type]}
                    for p in node.params
                ]
                return {
                    "ret_type_id": ids[node.returns],
                    "vlen": len(params),
                    "params": params,
                }
            case Func():
                linkage = node.linkage.name.lower()
                return {"type_id": ids[node.proto], "linkage": linkage}
            case Var():
                linkage = "static" if node.linkage == 0 else "global"
                return {"type_id": ids[node.type], "linkage": linkage}
            case DataSec():
                entries = [
                    {"type_id": ids[e.type], "offset": e.offset, "size": e.size}
                    for e in node.entries
                ]
                return {"size": node.size, "vlen": len(entries), "vars": entries}
            case DeclTag():
                return {"type_id": ids[node.to], "component_idx": node.component}
            case Reference():
                return {"type_id": ids[node.to]}
            case _:
                raise AssertionError(node)

    def member(self, member: Member) -> dict[str, Any]:
        described: dict[str, Any] = {
            "name": member.name or "(anon)",
            "type_id": self.ids[member.type],
            "bits_offset": member.offset_bits,
        }
        if member.bitfield_bits:
            described["bitfield_size"] = member.bitfield_bits
        return described


def shown_value(node: Enum, value: int) -> int:
    # bpftool 7.1 extends the sign of unsigned 32-bit constants too.
    if node.kind is Kind.ENUM and not node.signed and value >> 31:
        return value | 0xFFFFFFFF << 32
    return value


@pytest.fixture(scope="module")
def kernel() -> tuple[Describe, list[dict[str, Any]]]:
    if not VMLINUX.exists():
        pytest.skip("this kernel has no BTF")
    index = Index.build(VMLINUX.read_bytes())
    return Describe(index), dump(VMLINUX)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.VOID])
def test_the_kernels_types_are_those_that_bpftool_shows(
    kernel: tuple[Describe, list[dict[str, Any]]], kind: Kind
) -> None:
    describe, shown = kernel
    expected = [each for each in shown if each["kind"] == kind.name]
    if not expected:
        pytest.skip(f"this kernel's BTF has no {kind.name}")
    expected = random.Random(0).sample(expected, min(SAMPLE, len(expected)))

    found = [describe.index.type(each["id"]) for each in expected]

    assert [describe(node) for node in found if node is not None] == expected


def test_bpftool_reads_what_we_write(tmp_path: Path) -> None:
    u32 = Int("u32", 4)
    task = Struct("task_struct", 16)
    task.members = (
        Member("real_parent", Ptr(task), 0),
        Member("tgid", u32, 64),
        Member("flag", u32, 96, 1),
    )
    builder = Builder()
    for node in (
        Enum("e", 4, (Enumerator("minus", -1),), signed=True),
        Enum64("big", 8, (Enumerator("huge", 1 << 40),)),
        Fwd("nowhere", union=True),
        Func("f", FuncProto(u32, (Param("task", Ptr(task)),))),
        DataSec(".data", 4, (SectionEntry(Var("limit", u32), 0, 4),)),
        DeclTag("tag", task, 1),
        Const(Volatile(Restrict(Ptr(TypeTag("user", Typedef("u", Union("u", 0))))))),
        Array(Float("double", 8), 7),
    ):
        builder.add(node)
    blob = builder.encode()
    file = tmp_path / "types.btf"
    file.write_bytes(blob)

    shown = dump(file)

    index = decode(blob)
    describe = Describe(index)
    types = [index.type(each["id"]) for each in shown]
    assert [describe(node) for node in types if node is not None] == shown
    assert {each["kind"] for each in shown} == {kind.name for kind in Kind if kind}
