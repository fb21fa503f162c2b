"""`beewire stubs STRUCT ...`."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from beewire.bpf.author import collect
from beewire.bpf.btf import (
    Array,
    Builder,
    Enum,
    Enumerator,
    FuncProto,
    Int,
    Member,
    Ptr,
    Struct,
    Type,
    Typedef,
    Union,
)
from beewire.cli import main
from tests.typing.test_typing import mypy, pyright

VMLINUX = Path("/sys/kernel/btf/vmlinux")
INT = Int("int", 4, signed=True)
U8 = Int("unsigned char", 1)
CHAR = Int("char", 1, signed=True, char=True)

TEXT = '''\
"""Structs of types.btf, written by `beewire stubs thing`."""

from beewire.bpf import (
    Kernel,
    array,
    bits,
    chars,
    embedded,
    i32,
    u32,
    u64,
    u8,
)


class thing(Kernel):
    """`struct thing`, 96 bytes."""

    next: "thing"
    owner: "task_struct"
    handler: u64
    kind: u32
    number: i32
    name: str = chars(16)
    bytes: list[u8] = array(u8, 4)
    low: u8 = bits(3)
    inner: "pair" = embedded()
    left: i32
    right: i32
    # from: not a name in Python
    # rest: an array of 0 elements


class pair(Kernel):
    """`struct pair`, 8 bytes."""

    first: i32
    second: "thing"


class task_struct(Kernel):
    """Only pointed to here: `beewire stubs task_struct` writes it out."""
'''


def thing() -> Type:
    """A struct with a field of each kind."""
    whole = Struct("thing", 96)
    pair = Struct(
        "pair", 8, (Member("first", INT, 0), Member("second", Ptr(whole), 64))
    )
    sides = Union("", 4, (Member("left", INT, 0), Member("right", INT, 0)))
    whole.members = (
        Member("next", Ptr(whole), 0),
        Member("owner", Ptr(Struct("task_struct", 4)), 64),
        Member("handler", Ptr(FuncProto(None)), 128),
        Member("kind", Enum("kind", 4, (Enumerator("A", 0),)), 192),
        Member("number", Typedef("number_t", INT), 224),
        Member("name", Array(CHAR, 16), 256),
        Member("bytes", Array(U8, 4), 384),
        Member("low", U8, 416, 3),
        Member("inner", Typedef("pair_t", pair), 448),
        Member("", sides, 512),
        Member("from", INT, 544),
        Member("rest", Array(INT, 0), 576),
    )
    return whole


def test_each_kind_of_field_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    builder = Builder()
    builder.add(thing())
    file = tmp_path / "types.btf"
    file.write_bytes(builder.encode())

    assert main(["stubs", "thing", "--btf", str(file)]) == 0

    assert capsys.readouterr().out == TEXT


@pytest.mark.skipif(not VMLINUX.exists(), reason="this kernel has no BTF")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("checker", [mypy, pyright])
def test_checkers_take_what_is_written(
    checker: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "kernel_types.py"
    assert main(["stubs", "task_struct", "sock", "-o", str(output)]) == 0
    assert "task_struct, sock" in capsys.readouterr().out
    (tmp_path / "use.py").write_text(
        "from kernel_types import task_struct\n"
        "def age(task: task_struct) -> int:\n"
        "    return task.real_parent.se.vruntime + task.mm.nothing\n"
    )

    found = checker(tmp_path)  # type: ignore[operator]  # one of the two above

    assert list(found) == ["use.py"]
    assert list(found["use.py"]) == [3]


@pytest.mark.skipif(not VMLINUX.exists(), reason="this kernel has no BTF")
def test_programs_compile_with_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["stubs", "task_struct", "-o", str(tmp_path / "bw_types.py")]) == 0
    path = tmp_path / "prog.py"
    path.write_text(
        "from beewire.bpf import HashMap, XdpAction, XdpContext, current, u32, u64, xdp\n"
        "from bw_types import task_struct\n"
        "seen = HashMap[u32, u64](max_entries=4)\n"
        "@xdp\n"
        "def look(ctx: XdpContext) -> XdpAction:\n"
        "    seen[1] = current(task_struct).real_parent.se.vruntime\n"
        "    return XdpAction.PASS\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    module = ModuleType("prog")
    exec(compile(path.read_text(), str(path), "exec"), vars(module))

    relos = collect(module.look).programs["look"].core_relos

    assert len(relos) == 2


@pytest.mark.skipif(not VMLINUX.exists(), reason="this kernel has no BTF")
def test_an_unknown_struct_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stubs", "no_such_struct"]) == 1

    assert "no struct or union 'no_such_struct'" in capsys.readouterr().err


def test_a_file_without_types_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stubs", "thing", "--btf", sys.executable]) == 2

    assert sys.executable in capsys.readouterr().err
