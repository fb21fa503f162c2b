"""BTF as C: a compiler takes it, and lays it out as BTF says."""

import shutil
import subprocess
from pathlib import Path

import pytest

from beewire.bpf.btf import (
    Array,
    Const,
    Enum,
    Enumerator,
    FuncProto,
    Int,
    Member,
    Param,
    Ptr,
    Struct,
    Type,
    Typedef,
    Union,
)
from beewire.bpf.btf.c import declarations, declare

VMLINUX = Path("/sys/kernel/btf/vmlinux")
INT = Int("int", 4, signed=True)
CHAR = Int("char", 1, signed=True, char=True)

CLANG = next(filter(shutil.which, ["clang-19", "clang"]), None)


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (INT, "int x"),
        (Ptr(INT), "int *x"),
        (Ptr(Const(CHAR)), "const char *x"),
        (Const(Ptr(CHAR)), "char *const x"),
        (Array(Ptr(INT), 3), "int *x[3]"),
        (Ptr(Array(INT, 3)), "int (*x)[3]"),
        (Ptr(FuncProto(None, (Param("a", INT),))), "void (*x)(int a)"),
        (FuncProto(INT, (Param("a", INT), Param("", None))), "int x(int a, ...)"),
        (Array(Array(INT, 2), 3), "int x[3][2]"),
        (Ptr(None), "void *x"),
    ],
)
def test_declarators_read_as_c_has_them(node: Type, text: str) -> None:
    assert declare(node, "x") == text


def test_a_recursive_type_is_declared_first() -> None:
    node = Struct("node", 16)
    node.members = (Member("next", Ptr(node), 0), Member("value", INT, 64))

    assert declarations([Typedef("node_t", node)]) == (
        "struct node;\n\n"
        "typedef struct node node_t;\n\n"
        "struct node {\n        struct node *next;\n        int value;\n};"
    )


def test_nested_bodies_padding_and_bit_fields() -> None:
    inner = Union("", 4, (Member("a", INT, 0), Member("b", CHAR, 0)))
    mode = Enum("mode", 4, (Enumerator("OFF", 0), Enumerator("ON", 1)))
    outer = Struct(
        "outer",
        32,
        (
            Member("", inner, 0),
            Member("low", INT, 32, 3),
            Member("high", INT, 37, 2),
            Member("state", mode, 128),
        ),
    )

    assert declarations([outer]) == (
        "enum mode {\n        OFF = 0,\n        ON = 1,\n};\n\n"
        "struct outer {\n"
        "        union {\n                int a;\n                char b;\n        };\n"
        "        int low : 3;\n        int : 2;\n        int high : 2;\n"
        "        char __padding_5[11];\n        enum mode state;\n"
        "        char __padding_20[12];\n};"
    )


@pytest.mark.skipif(not VMLINUX.exists(), reason="this kernel has no BTF")
@pytest.mark.skipif(CLANG is None, reason="clang is not installed")
def test_a_compiler_lays_the_kernels_structs_out_alike(tmp_path: Path) -> None:
    from beewire.bpf.btf import Index  # noqa: PLC0415

    types = Index.build(VMLINUX.read_bytes())
    names = ("task_struct", "sock", "sk_buff", "inode", "net_device", "bpf_prog")
    structs = [found for n in names if (found := types.lookup(n, Struct)) is not None]
    checks = [
        f'_Static_assert(sizeof(struct {each.name}) == {each.size}, "");'
        for each in structs
    ]
    source = tmp_path / "types.c"
    source.write_text(
        "\n".join(["typedef _Bool bool;", declarations(structs), *checks])
    )

    done = subprocess.run(
        [str(CLANG), "-target", "bpf", "-fsyntax-only", source],
        capture_output=True,
        text=True,
        check=False,
    )

    assert not done.stderr
