"""Structs of every make lie where clang puts them: compared through BTF."""

import random
import shutil
import subprocess
import types
from pathlib import Path
from typing import Any

import pytest

from beewire.bpf import (
    HashMap,
    Struct,
    Union,
    XdpContext,
    array,
    be16,
    be32,
    bits,
    chars,
    collect,
    field,
    overlay,
    u8,
    u32,
    u64,
    xdp,
)
from beewire.bpf.btf import Array, Composite, Typedef
from beewire.bpf.btf import Union as BtfUnion
from beewire.bpf.lang.btf_types import to_btf
from beewire.bpf.lang.types import (
    BE16,
    BE32,
    BE64,
    BOOL,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    IntType,
)
from beewire.bpf.object import read, write

CLANG = shutil.which("clang-19") or shutil.which("clang")

PRELUDE = """
typedef unsigned short __be16; typedef unsigned int __be32;
typedef unsigned long long __be64;
"""
NAMES = {
    U8: "unsigned char",
    U16: "unsigned short",
    U32: "unsigned int",
    U64: "unsigned long long",
    I8: "signed char",
    I16: "short",
    I32: "int",
    I64: "long long",
    BOOL: "_Bool",
    BE16: "__be16",
    BE32: "__be32",
    BE64: "__be64",
}
PLAIN = [U8, U16, U32, U64, I8, I16, I32, I64, BOOL]


class Declarations:
    """Random structs, each in Python and in C."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.made: list[type[Struct | Union]] = []
        self.c: list[str] = []

    def declare(self, *, union: bool) -> None:
        """One more struct or union; later ones may contain it."""
        name = f"s{len(self.made)}"
        body: dict[str, Any] = {}
        annotations: dict[str, object] = {}
        lines: list[str] = []
        for number in range(self.random.randint(1, 9)):
            self.member(f"f{number}", annotations, body, lines, union=union)
        packed = self.random.random() < 0.25
        align = self.random.choice([0, 0, 0, 1, 8, 16, 64])
        said = ["packed"] * packed + [f"aligned({align})"] * bool(align)
        attributes = f" __attribute__(({', '.join(said)}))" if said else ""
        body["__annotations__"] = annotations
        base: type[Struct | Union] = Union if union else Struct
        made: type[Struct | Union] = types.new_class(
            name,
            (base,),
            {"packed": packed, "align": align},
            lambda ns: ns.update(body),
        )
        self.made.append(made)
        kind = "union" if union else "struct"
        self.c.append(f"{kind} {name} {{\n{''.join(lines)}}}{attributes};\n")

    def member(
        self,
        name: str,
        annotations: dict[str, object],
        body: dict[str, Any],
        lines: list[str],
        *,
        union: bool,
    ) -> None:
        """One more member of any kind."""
        choice = self.random.random()
        if choice < 0.3:
            kind = self.random.choice(PLAIN)
            width = 1 if kind is BOOL else self.random.randint(1, min(kind.bits, 57))
            annotations[name], body[name] = kind, bits(width)
            lines.append(f"    {NAMES[kind]} {name} : {width};\n")
        elif choice < 0.4 and not union:
            self.shared(name, annotations, body, lines)
        elif choice < 0.5:
            annotations[name] = str
            count = self.random.randint(1, 9)
            body[name] = chars(count)
            lines.append(f"    char {name}[{count}];\n")
        else:
            self.ordinary(name, annotations, body, lines)

    def ordinary(
        self,
        name: str,
        annotations: dict[str, object],
        body: dict[str, Any],
        lines: list[str],
    ) -> None:
        """An integer or a struct, perhaps in an array of one or two dimensions."""
        kind: Any = self.random.choice(list(NAMES))
        written = NAMES[kind]
        if self.made and self.random.random() < 0.3:
            kind = self.random.choice(self.made)
            word = "union" if issubclass(kind, Union) else "struct"
            written = f"{word} {kind.__name__}"
        counts = [self.random.randint(1, 4) for _ in range(self.random.randint(0, 2))]
        align = self.random.choice([0, 0, 0, 0, 2, 8, 32])
        spec: Any = field(align=align)
        for count in reversed(counts):
            spec = array(kind, count, align=align)
            kind = spec
        annotations[name], body[name] = kind, spec
        attribute = f" __attribute__((aligned({align})))" if align else ""
        dimensions = "".join(f"[{count}]" for count in counts)
        lines.append(f"    {written} {name}{dimensions}{attribute};\n")

    def shared(
        self,
        name: str,
        annotations: dict[str, object],
        body: dict[str, Any],
        lines: list[str],
    ) -> None:
        """Three fields in one place."""
        lines.append("    union {\n")
        for i in range(3):
            kind = self.random.choice(list(NAMES))
            annotations[f"{name}_{i}"] = kind
            if i:
                body[f"{name}_{i}"] = overlay(f"{name}_0")
            lines.append(f"        {NAMES[kind]} {name}_{i};\n")
        lines.append("    };\n")


def places(struct: Composite, start: int = 0) -> dict[str, tuple[int, int]]:
    """(bit offset, width of a bit-field) of each member, anonymous ones opened."""
    found: dict[str, tuple[int, int]] = {}
    for member in struct.members:
        if member.name:
            found[member.name] = start + member.offset_bits, member.bitfield_bits
        else:
            assert isinstance(member.type, BtfUnion)
            found |= places(member.type, start + member.offset_bits)
    return found


def shape(struct: Composite) -> list[tuple[str, object]]:
    """Arrays by member: the counts of their dimensions."""
    found: list[tuple[str, object]] = []
    for member in struct.members:
        counts = []
        inner = member.type
        while isinstance(inner, Array):
            counts.append(inner.count)
            inner = inner.element
        name = inner.name if isinstance(inner, Composite | Typedef) else ""
        found.append((member.name, (counts, name)))
    return found


def compiled(source: str, path: Path) -> bytes:
    """What clang makes of C."""
    assert CLANG is not None
    path.write_text(source)
    flags = ["-target", "bpf", "-g", "-O2", "-Wno-everything", "-c"]
    output = path.with_suffix(".o")
    subprocess.run([CLANG, *flags, str(path), "-o", str(output)], check=True)
    return output.read_bytes()


@pytest.mark.skipif(CLANG is None, reason="clang is not installed")
@pytest.mark.parametrize("seed", range(6))
def test_random_structs_lie_where_clang_puts_them(seed: int, tmp_path: Path) -> None:
    declarations = Declarations(seed)
    for number in range(60):
        declarations.declare(union=number % 5 == 4)
    uses = "".join(
        f"{'union' if issubclass(made, Union) else 'struct'} {made.__name__} "
        f"v{made.__name__};\n"
        for made in declarations.made
    )
    source = PRELUDE + "".join(declarations.c) + uses

    spec = read(compiled(source, tmp_path / "structs.c"))

    theirs = {
        variable.type.name: variable.type
        for section in spec.sections.values()
        for variable in section.variables
        if isinstance(variable.type, Composite)
    }
    for made, text in zip(declarations.made, declarations.c, strict=True):
        ours = to_btf(made.__layout__)
        clangs = theirs[made.__name__]
        assert isinstance(ours, Composite)
        assert (ours.size, places(ours)) == (clangs.size, places(clangs)), text
        assert shape(ours) == shape(clangs), text
        assert made.from_bytes(bytes(ours.size)).to_bytes() == bytes(ours.size)


def random_value(kind: Any, rng: random.Random) -> Any:
    """A value of an integer type."""
    assert isinstance(kind, IntType)
    return rng.randint(kind.low, kind.high)


@pytest.mark.parametrize("seed", range(4))
def test_bit_fields_survive_a_round_trip(seed: int) -> None:
    rng = random.Random(seed)
    widths = [(rng.choice(PLAIN), rng.randint(1, 8)) for _ in range(12)]
    annotations = {f"f{i}": kind for i, (kind, _) in enumerate(widths)}
    specs = {
        f"f{i}": bits(1 if kind is BOOL else min(width, kind.bits))
        for i, (kind, width) in enumerate(widths)
    }
    body = {"__annotations__": annotations, **specs}
    made: type[Struct] = types.new_class(
        "Made", (Struct,), {"packed": seed % 2 == 1}, lambda ns: ns.update(body)
    )
    value = made()
    for name, each in made.__layout__.fields.items():
        setattr(value, name, random_value(each.type, rng))

    assert made.from_bytes(value.to_bytes()) == value


class Inner(Union):
    v4: be32
    words: list[be32] = array(be32, 4)


class Everything(Struct, align=16):
    low: u8 = bits(3)
    high: u8 = bits(5)
    port: be16
    inner: Inner
    number: u64
    halves: list[u32] = overlay("number", array(u32, 2))
    far: u32 = field(align=32)
    name: str = chars(4)


kept = HashMap[u32, Everything](max_entries=4)


@xdp
def program(ctx: XdpContext) -> None:
    if (at := kept.lookup(1)) is not None:
        at.low = ctx.rx_queue_index & 7


@pytest.mark.skipif(shutil.which("bpftool") is None, reason="bpftool is not installed")
def test_bpftool_reads_the_types_of_our_objects(tmp_path: Path) -> None:
    path = tmp_path / "layout.bpf.o"
    path.write_bytes(write(collect(program)))
    command = ["bpftool", "btf", "dump", "file", str(path), "format", "c"]

    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert "unsigned char low: 3;" in said
    assert "unsigned char high: 5;" in said
    assert "__be16 port;" in said
    assert "union Inner {" in said
    assert "unsigned int halves[2];" in said
