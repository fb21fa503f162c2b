"""BTF for older kernels: what newer kinds of types become, and that ids stay."""

from collections.abc import Callable

import pytest

from beewire.bpf.btf import (
    Array,
    Builder,
    Const,
    DeclTag,
    Enum,
    Enum64,
    Enumerator,
    Float,
    Func,
    FuncProto,
    Index,
    Int,
    Kind,
    Member,
    Ptr,
    Struct,
    Type,
    TypeTag,
    Union,
)
from beewire.bpf.btf.older import without
from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.descriptor import Descriptor

INT = Int("int", 4, signed=True)
LARGE = Enum64("large", 8, (Enumerator("A", 1 << 40), Enumerator("B", -1)), signed=True)
NEWER = frozenset({Kind.FLOAT, Kind.DECL_TAG, Kind.TYPE_TAG, Kind.ENUM64})
OLD = (
    Struct("pair", 8, (Member("a", INT, 0), Member("b", Array(INT, 1), 32))),
    Func("f", FuncProto(INT, ())),
    Enum("small", 4, (Enumerator("C", 1),)),
)

Encode = Callable[..., bytes]


@pytest.fixture
def encode() -> Encode:
    def run(*nodes: Type) -> bytes:
        builder = Builder()
        for node in nodes:
            builder.add(node)
        return builder.encode()

    return run


def older(blob: bytes) -> Index:
    return Index.build(without(blob, NEWER, signed_enums=False))


def test_what_older_kernels_know_stays_as_it_is(encode: Encode) -> None:
    blob = encode(*OLD)

    assert without(blob, NEWER, signed_enums=False) == blob


def test_nothing_changes_for_a_kernel_that_knows_all(encode: Encode) -> None:
    blob = encode(*OLD, Float("double", 8), LARGE, Ptr(TypeTag("rcu", INT)))

    assert without(blob, frozenset(), signed_enums=True) == blob


def test_every_type_keeps_its_id(encode: Encode) -> None:
    blob = encode(Float("double", 8), LARGE, Ptr(TypeTag("rcu", INT)), *OLD)

    before, after = Index.build(blob), older(blob)

    assert len(after) >= len(before)
    assert after.find("pair", Kind.STRUCT) == before.find("pair", Kind.STRUCT)
    assert after.find("small", Kind.ENUM) == before.find("small", Kind.ENUM)


def test_a_float_becomes_a_struct_of_its_size(encode: Encode) -> None:
    node = older(encode(Float("double", 8))).type(1)

    assert isinstance(node, Struct)
    assert (node.size, node.members) == (8, ())


def test_a_tag_on_a_type_becomes_a_qualifier(encode: Encode) -> None:
    index = older(encode(TypeTag("rcu", INT)))

    tagged = next(node for node in map(index.type, (1, 2)) if isinstance(node, Const))

    assert isinstance(tagged.to, Int)


def test_a_tag_on_a_declaration_becomes_a_number(encode: Encode) -> None:
    pair = OLD[0]
    index = older(encode(pair, DeclTag("tag", pair)))

    assert isinstance(index.lookup("tag", Int), Int)


def test_an_enum_of_64_bits_becomes_a_union_of_its_values(encode: Encode) -> None:
    union = older(encode(LARGE)).lookup("large", Union)

    assert isinstance(union, Union)
    assert [member.name for member in union.members] == ["A", "B"]
    assert union.size == 8


def test_an_enum_loses_its_sign(encode: Encode) -> None:
    blob = encode(Enum("e", 4, (Enumerator("E", -1),), signed=True))

    enum = older(blob).lookup("e", Enum)

    assert isinstance(enum, Enum)
    assert not enum.signed


@pytest.mark.kernel
def test_the_kernel_takes_what_it_becomes(encode: Encode) -> None:
    pair = OLD[0]
    newer = encode(*OLD, LARGE, Float("double", 8), Ptr(TypeTag("rcu", INT)))
    tagged = encode(pair, DeclTag("tag", pair))
    for blob in (newer, tagged):
        content = bytearray(without(blob, NEWER, signed_enums=False))
        record = attr.BTF_LOAD.pack(btf=syscall.address(content), btf_size=len(content))

        with Descriptor(syscall.bpf(syscall.Cmd.BTF_LOAD, record, "load")) as loaded:
            assert loaded.fd >= 0
