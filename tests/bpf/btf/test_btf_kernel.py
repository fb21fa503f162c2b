"""The kernel accepts the BTF that we write (BPF_BTF_LOAD)."""

import ctypes
import errno
import os
import platform
import struct
from pathlib import Path

import pytest

from beewire.bpf.btf import (
    Array,
    Builder,
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
    Linkage,
    Member,
    Param,
    Ptr,
    Restrict,
    SectionEntry,
    Struct,
    Type,
    Typedef,
    TypeTag,
    Union,
    Var,
    Volatile,
)

BTF_LOAD = 18
SYSCALL = {"x86_64": 321, "aarch64": 280}

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="BPF_BTF_LOAD needs root"),
    pytest.mark.skipif(
        platform.machine() not in SYSCALL, reason="no number for bpf(2) here"
    ),
]

INT = Int("int", 4, signed=True)
U64 = Int("unsigned long", 8)


def load(blob: bytes) -> str:
    """Load BTF and return what the kernel says to it."""
    libc = ctypes.CDLL(None, use_errno=True)
    data = ctypes.create_string_buffer(blob, len(blob))
    # btf, btf_log_buf, btf_size, btf_log_size, btf_log_level
    fields = struct.pack("<QQIII", ctypes.addressof(data), 0, len(blob), 0, 0)
    attr = ctypes.create_string_buffer(fields, 64)
    fd = libc.syscall(SYSCALL[platform.machine()], BTF_LOAD, ctypes.byref(attr), 64)
    if fd < 0:
        return errno.errorcode[ctypes.get_errno()]
    os.close(fd)
    return "accepted"


def recursive() -> Type:
    task = Struct("task_struct", 16)
    task.members = (Member("real_parent", Ptr(task), 0), Member("tgid", INT, 64))
    return task


def tagged() -> Type:
    node = Struct("tagged", 4, (Member("a", INT, 0),))
    return DeclTag("note", node, 0)


ACCEPTED = {
    "int": INT,
    "bool": Int("bool", 1, bool=True),
    "char": Int("char", 1, char=True),
    "pointer to void": Ptr(None),
    "array": Array(INT, 3),
    "recursive struct": recursive(),
    "bit-fields": Struct("bits", 4, (Member("a", INT, 0, 3), Member("b", INT, 3, 29))),
    "union": Union("either", 8, (Member("a", INT, 0), Member("b", U64, 0))),
    "anonymous member": Struct(
        "holder", 8, (Member("", Union("", 8, (Member("a", U64, 0),)), 0),)
    ),
    "signed enum": Enum("e", 4, (Enumerator("minus", -1),), signed=True),
    "enum64": Enum64("big", 8, (Enumerator("huge", 1 << 40),)),
    "unknown struct": Ptr(Fwd("nowhere")),
    "unknown union": Ptr(Fwd("nowhere", union=True)),
    "typedef": Typedef("number", Const(Volatile(INT))),
    "type tag": Ptr(TypeTag("user", INT)),
    "prototype": FuncProto(INT, (Param("p", Restrict(Ptr(None))),)),
    "variadic": Ptr(FuncProto(None, (Param("", INT), Param("", None)))),
    "function": Func("f", FuncProto(INT, (Param("ctx", Ptr(None)),))),
    "static function": Func("f", FuncProto(None), Linkage.STATIC),
    "section": DataSec(
        ".bss",
        12,
        (SectionEntry(Var("a", INT), 0, 4), SectionEntry(Var("b", U64), 4, 8)),
    ),
    "float": Float("double", 8),
    "declaration tag": tagged(),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_the_kernel_accepts(name: str) -> None:
    builder = Builder()
    builder.add(ACCEPTED[name])

    assert load(builder.encode()) == "accepted"


def test_the_kernel_accepts_its_own_task_struct() -> None:
    vmlinux = Path("/sys/kernel/btf/vmlinux")
    if not vmlinux.exists():
        pytest.skip("this kernel has no BTF")
    index = Index.build(vmlinux.read_bytes())
    builder = Builder()
    builder.add(index.lookup("task_struct", Struct))

    assert load(builder.encode()) == "accepted"


@pytest.mark.parametrize(
    "node",
    [
        Struct("overlap", 4, (Member("a", U64, 0),)),
        Func("kfunc", FuncProto(INT), Linkage.EXTERN),
    ],
)
def test_the_kernel_refuses(node: Type) -> None:
    builder = Builder()
    builder.add(node)

    assert load(builder.encode()) == "EINVAL"
