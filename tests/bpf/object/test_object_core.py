"""CO-RE by Beewire: the same as the kernel's and libbpf's, and for kernels elsewhere."""

from pathlib import Path

import pytest

from beewire.bpf import isa
from beewire.bpf.btf import (
    Array,
    Builder,
    Const,
    Enum,
    Enum64,
    Enumerator,
    FuncProto,
    Fwd,
    Index,
    Int,
    Member,
    Param,
    Ptr,
    Struct,
    Type,
    Typedef,
    Union,
)
from beewire.bpf.btf.compat import (
    essential_name,
    fields_compatible,
    types_compatible,
    types_match,
)
from beewire.bpf.btf.core import CoreKind, Resolver
from beewire.bpf.isa import Insn
from beewire.bpf.kernel import Target, kernel_index, load
from beewire.bpf.object import CoreRelo, ProgramSpec, read, write
from beewire.bpf.object.core import POISON, apply_core, relocate_for
from beewire.errors import SpecError
from tests.bpf.object import libbpf
from tests.bpf.object.compilers import COMPILERS, built

INT, LONG, CHAR = (
    Int("int", 4, signed=True),
    Int("long", 8, signed=True),
    Int("char", 1, signed=True),
)
U8, U16, U32, U64 = (
    Int("unsigned char", 1),
    Int("unsigned short", 2),
    Int("unsigned int", 4),
    Int("unsigned long", 8),
)


def members(
    *places: tuple[str, Type, int] | tuple[str, Type, int, int],
) -> tuple[Member, ...]:
    """Members at bytes; those with a fourth number are bit-fields, and at bits."""
    return tuple(
        Member(name, node, at if bits else at * 8, *bits)
        for name, node, at, *bits in places
    )


def elsewhere() -> bytes:
    """A kernel with the types of core.c, none of them as the object knows it."""
    inner = Struct(
        "bw_inner",
        24,
        members(("pad", Array(CHAR, 8), 0), ("b", LONG, 8), ("a", INT, 16)),
    )
    union = Union(
        "", 4, members(("deeper", INT, 0), ("deep", Int("short", 2, signed=True), 0))
    )
    outer = Struct(
        "bw_outer",
        136,
        members(
            ("first", INT, 0),
            ("", Struct("", 8, members(("", union, 0))), 8),
            ("inner", Array(inner, 4), 16),
            ("flag", U32, 112 * 8, 5),
            ("sign", INT, 112 * 8 + 5, 9),
            ("pointer", Ptr(Const(None)), 120),
            ("narrow", U16, 128),
            ("tail", Array(CHAR, 0), 130),
        ),
    )
    wanted = Struct(
        "bw_wanted",
        16,
        members(("more", INT, 12), ("count", INT, 8), ("p", Ptr(inner), 0)),
    )
    values = (
        Enumerator("BW_ZERO", 0),
        Enumerator("BW_ONE", 5),
        Enumerator("BW_BIG", 0x1FFFFFFFF),
    )
    builder = Builder()
    for node in (
        outer,
        wanted,
        Union("bw_union", 8, members(("a", LONG, 0), ("b", CHAR, 0))),
        Typedef("bw_typedef", Struct("", 8, members(("x", INT, 0), ("y", INT, 4)))),
        Enum64("bw_enum", 8, values),
    ):
        builder.add(node)
    return builder.encode()


# What core.c asks, answered by hand from `elsewhere`; the last ones need clang 15.
ANSWERS = [
    *(8, 72, 135, 96, 2, 1, 0, 0, 0, 0),
    *(1, 0, 50, 55, 112, 4, 59, 59, 1, 0),
    *(136, 8, 1, 8, 1, 0, 1, 0x1FFFFFFFF, 0, 1),
]
MATCHES = [1, 0, 0]


@pytest.fixture(params=COMPILERS)
def compiler(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def answers(data: bytes, target: Target) -> list[int]:
    with load(read(data), target=target) as loaded:
        loaded.programs["ask"].test_run()
        out = loaded.sections[".bss"].read("out")
    return [int.from_bytes(out[at : at + 8], "little") for at in range(0, len(out), 8)]


@pytest.mark.kernel
def test_every_question_is_answered_for_a_kernel_elsewhere(compiler: str) -> None:
    target = Target(core_types=Index.build(elsewhere()))

    found = answers(built(compiler)["core"], target)

    assert found[:30] == ANSWERS
    assert found[33] == 1
    assert compiler == "clang-14" or found[30:33] == MATCHES


@pytest.mark.kernel
def test_answers_are_those_of_the_kernel(compiler: str) -> None:
    data = built(compiler)["core_kernel"]

    ours = answers(data, Target(applies_core=False))

    assert ours == answers(data, Target(applies_core=True))
    assert ours[5:9] == [1, 0, 0, 1]


@pytest.mark.kernel
@pytest.mark.parametrize("name", ["core", "core_kernel"])
def test_instructions_are_those_of_libbpf(
    compiler: str, name: str, tmp_path: Path
) -> None:
    file, types = tmp_path / "core.o", tmp_path / "types"
    file.write_bytes(built(compiler)[name])
    types.write_bytes(elsewhere())
    index = Index.build(elsewhere()) if name == "core" else kernel_index()

    theirs = libbpf.relocated(file, "ask", types if name == "core" else None)

    program = read(file.read_bytes()).programs["ask"]
    compared = [
        relo for relo in program.core_relos if relo.kind != CoreKind.TYPE_ID_LOCAL
    ]
    ours = patched(program, compared, index)
    places = [relo.slot for relo in compared]
    assert len(places) > 20
    assert [ours[slot] for slot in places] == [
        theirs[slot * 8 :][: len(ours[slot])] for slot in places
    ]


def patched(
    program: ProgramSpec, relos: list[CoreRelo], index: Index
) -> dict[int, bytes]:
    slots: list[Insn | None] = []
    for insn in program.insns:
        slots += [insn, None][: insn.slots]
    apply_core(slots, relos, index, Builder().add)
    return {n: isa.encode([insn]) for n, insn in enumerate(slots) if insn is not None}


@pytest.mark.kernel
def test_an_object_can_be_made_for_one_kernel(compiler: str) -> None:
    spec = read(built(compiler)["core_kernel"])

    relocate_for(spec, kernel_index())

    assert not spec.programs["ask"].core_relos
    assert answers(write(spec), Target()) == answers(
        built(compiler)["core_kernel"], Target()
    )


def ask(root: Type, access: str, kind: CoreKind, *kernel: Type) -> int | None:
    builder = Builder()
    builder.add(INT)
    for node in kernel:
        builder.add(node)
    return (
        Resolver(Index.build(builder.encode()), builder.add)
        .answer(root, access, kind)
        .value
    )


def struct(name: str, *fields: tuple[str, Type, int]) -> Struct:
    return Struct(name, 64, members(*fields))


def test_a_flavour_of_the_kernel_is_a_candidate_too() -> None:
    local = struct("s", ("x", INT, 0))

    found = ask(
        local, "0:0", CoreKind.FIELD_BYTE_OFFSET, struct("s___new", ("x", INT, 12))
    )

    assert found == 12


def test_candidates_that_differ_are_refused() -> None:
    local = struct("s", ("x", INT, 0))
    two = struct("s", ("x", INT, 4)), struct("s___new", ("x", INT, 12))

    with pytest.raises(SpecError, match="several types 's' that differ"):
        ask(local, "0:0", CoreKind.FIELD_BYTE_OFFSET, *two)


def test_candidates_that_agree_are_one() -> None:
    local = struct("s", ("x", INT, 0))
    two = struct("s", ("x", INT, 4)), struct("s___new", ("x", INT, 4), ("y", INT, 8))

    assert ask(local, "0:0", CoreKind.FIELD_BYTE_OFFSET, *two) == 4


def test_what_the_kernel_lacks_is_looked_for_in_modules() -> None:
    local = struct("s", ("x", INT, 0))
    kernel, module = Builder(), Builder()
    kernel.add(struct("other", ("x", INT, 4)))
    module.add(struct("s___new", ("x", INT, 12)))
    asked: list[str] = []

    def modules(name: str) -> list[Index]:
        asked.append(name)
        return [Index.build(module.encode())]

    resolver = Resolver(Index.build(kernel.encode()), kernel.add, modules)

    assert resolver.answer(local, "0:0", CoreKind.FIELD_BYTE_OFFSET).value == 12
    assert resolver.answer(local, "0:0", CoreKind.FIELD_EXISTS).value == 1
    assert asked == ["s"]


def test_an_index_beyond_an_array_of_the_kernel_is_missing() -> None:
    local = struct("s", ("x", Array(INT, 8), 0))
    shorter = struct("s", ("x", Array(INT, 4), 4))

    assert ask(local, "0:0:3", CoreKind.FIELD_BYTE_OFFSET, shorter) == 16
    assert ask(local, "0:0:4", CoreKind.FIELD_BYTE_OFFSET, shorter) is None
    assert ask(local, "0:0:4", CoreKind.FIELD_EXISTS, shorter) == 0


def test_a_bit_field_that_crosses_a_word_is_loaded_wider() -> None:
    node = Struct("s", 16, (Member("x", U32, 28, 8),))

    assert ask(node, "0:0", CoreKind.FIELD_BYTE_SIZE, node) == 8
    assert ask(node, "0:0", CoreKind.FIELD_LSHIFT_U64, node) == 64 - 36


def test_a_missing_field_poisons_both_slots_of_a_wide_load() -> None:
    slots: list[Insn | None] = [isa.ld_imm64(1, 0), None]
    relo = CoreRelo(0, struct("s", ("x", INT, 0)), "0:0", CoreKind.FIELD_BYTE_OFFSET)

    apply_core(slots, [relo], Index.build(elsewhere()), Builder().add)

    assert slots == [isa.call_helper(POISON), isa.call_helper(POISON)]


def test_a_signed_load_does_not_follow_another_size() -> None:
    kernel = Builder()
    kernel.add(struct("s", ("x", LONG, 8)))
    slots: list[Insn | None] = [isa.load(isa.Size.W, 1, 2, 0)]
    relo = CoreRelo(0, struct("s", ("x", INT, 0)), "0:0", CoreKind.FIELD_BYTE_OFFSET)

    apply_core(slots, [relo], Index.build(kernel.encode()), kernel.add)

    assert slots == [isa.call_helper(POISON)]


@pytest.mark.parametrize(
    ("name", "essential"),
    [
        ("task_struct", "task_struct"),
        ("task_struct___old", "task_struct"),
        ("a___b___c", "a___b"),
        ("a____b", "a____b"),
        ("___x", "___x"),
        ("a___", "a___"),
    ],
)
def test_a_flavour_stands_behind_three_underscores(name: str, essential: str) -> None:
    assert essential_name(name) == essential


def proto(returns: Type | None, *params: Type) -> FuncProto:
    return FuncProto(returns, tuple(Param("", each) for each in params))


@pytest.mark.parametrize(
    ("local", "kernel", "fields", "types"),
    [
        (INT, LONG, True, True),
        (INT, Ptr(INT), False, False),
        (Ptr(INT), Ptr(LONG), True, True),
        (Ptr(INT), Ptr(struct("s")), True, False),
        (Array(INT, 2), Array(U8, 9), True, True),
        (struct("a"), Union("b", 4), True, False),
        (Enum("e"), Enum64("e___x"), True, True),
        (Enum("e"), Enum("f"), False, True),
        (Fwd("a"), Fwd("b"), False, True),
        (proto(INT, INT), proto(LONG, INT), False, True),
        (proto(INT, INT), proto(INT), False, False),
    ],
)
def test_compatible_types(local: Type, kernel: Type, fields: bool, types: bool) -> None:
    assert fields_compatible(local, kernel) is fields
    assert types_compatible(local, kernel) is types


def test_a_type_that_never_ends_is_incompatible() -> None:
    endless = Ptr(None)
    endless.to = endless

    assert not types_compatible(endless, endless)
    assert not types_match(endless, endless)


@pytest.mark.parametrize(
    ("local", "kernel", "matches"),
    [
        (INT, INT, True),
        (INT, U32, False),
        (Int("int", 8, signed=True), INT, False),
        (struct("s", ("x", INT, 0)), struct("s", ("y", INT, 0), ("x", INT, 4)), True),
        (struct("s", ("x", INT, 0)), struct("s", ("x", U32, 0)), False),
        (Ptr(struct("s", ("x", INT, 0))), Ptr(struct("s", ("x", U32, 0))), True),
        (Ptr(struct("s")), Ptr(Fwd("s")), True),
        (Ptr(struct("s")), Ptr(Fwd("s", union=True)), False),
        (Array(INT, 3), Array(INT, 3), True),
        (Array(INT, 3), Array(INT, 4), False),
        (
            Enum("e", values=(Enumerator("A", 1),)),
            Enum("e", values=(Enumerator("A", 2),)),
            True,
        ),
        (
            Enum("e", values=(Enumerator("A", 1),)),
            Enum("e", values=(Enumerator("B", 1),)),
            False,
        ),
        (proto(INT, INT), proto(INT, INT), True),
        (proto(INT, INT), proto(INT, U32), False),
    ],
)
def test_matching_types(local: Type, kernel: Type, matches: bool) -> None:
    assert types_match(local, kernel) is matches
