from collections.abc import Callable

import pytest

from beewire.bpf import isa
from beewire.bpf.btf import Array, Func, FuncProto, Int, Linkage, Struct, Var
from beewire.bpf.object import (
    AttachKind,
    DataSection,
    MapKind,
    MapSpec,
    ObjectSpec,
    ProgramKind,
    ProgramSpec,
    Relocation,
    RelocationKind,
    Variable,
    read,
    write,
)

Describe = Callable[[ObjectSpec], dict[str, object]]
INT = Int("int", 4, signed=True)


def test_an_object_comes_back_equal(spec: ObjectSpec, describe: Describe) -> None:
    assert describe(read(write(spec))) == describe(spec)


def test_a_copy_is_written_to_the_same_bytes(spec: ObjectSpec) -> None:
    written = write(spec)

    assert write(read(written)) == written


def test_programs_come_back_in_the_order_of_their_sections(spec: ObjectSpec) -> None:
    programs = ["on_exec", "accept", "also", "other", "identity"]

    assert list(read(write(spec)).programs) == programs


def test_an_empty_object_comes_back(describe: Describe) -> None:
    spec = ObjectSpec("nothing", "GPL")

    assert describe(read(write(spec))) == describe(spec)


def minimal(**fields: object) -> ObjectSpec:
    """An object of one XDP program that returns 2."""
    spec = ObjectSpec("minimal")
    program = ProgramSpec(
        "drop",
        kind=ProgramKind.XDP,
        attach_kind=AttachKind.XDP,
        section="xdp",
        insns=(isa.mov_imm(0, 2), isa.exit_insn()),
    )
    for name, value in fields.items():
        setattr(program, name, value)
    spec.programs["drop"] = program
    return spec


def test_a_program_without_types_comes_back(describe: Describe) -> None:
    spec = minimal()

    assert describe(read(write(spec))) == describe(spec)


def test_an_attach_kind_left_out_is_filled_in_from_the_section() -> None:
    spec = minimal(attach_kind=None)

    assert read(write(spec)).programs["drop"].attach_kind is AttachKind.XDP


def test_the_address_of_a_function_comes_back(
    spec: ObjectSpec, describe: Describe
) -> None:
    accept = spec.programs["accept"]
    accept.insns = (isa.ld_func(2, 0), isa.mov_imm(0, 1), isa.exit_insn())
    accept.relocations = (Relocation(0, RelocationKind.SUBPROGRAM, "identity"),)

    assert describe(read(write(spec))) == describe(spec)


def test_kernel_functions_and_variables_come_back(describe: Describe) -> None:
    spec = minimal(
        insns=(
            isa.ld_btf_id(1, 0),
            isa.call_kfunc(-1),
            isa.mov_imm(0, 2),
            isa.exit_insn(),
        ),
        relocations=(
            Relocation(0, RelocationKind.KSYM, "runqueues"),
            Relocation(2, RelocationKind.KFUNC, "bpf_rcu_read_lock"),
        ),
    )
    spec.externs = {
        "runqueues": Var("runqueues", Struct("rq", 8), Linkage.EXTERN),
        "bpf_rcu_read_lock": Func("bpf_rcu_read_lock", FuncProto(None), Linkage.EXTERN),
    }

    assert describe(read(write(spec))) == describe(spec)


def test_a_map_of_maps_comes_back(describe: Describe) -> None:
    inner = MapSpec(
        "outer.inner", kind=MapKind.ARRAY, key_size=4, value_size=8, max_entries=1
    )
    spec = minimal()
    spec.maps["outer"] = MapSpec(
        "outer",
        kind=MapKind.HASH_OF_MAPS,
        key_size=4,
        value_size=4,
        max_entries=8,
        inner=inner,
        key=INT,
    )

    assert describe(read(write(spec))) == describe(spec)


@pytest.mark.parametrize("kind", [MapKind.SK_STORAGE, MapKind.LPM_TRIE])
def test_maps_that_grow_say_so_to_the_kernel(kind: MapKind) -> None:
    spec = minimal()
    spec.maps["grows"] = MapSpec("grows", kind=kind, key_size=4, value_size=8)

    assert read(write(spec)).maps["grows"].flags == 1  # BPF_F_NO_PREALLOC


def test_storage_without_types_gets_some() -> None:
    spec = minimal()
    storage = MapSpec("s", kind=MapKind.SK_STORAGE, key_size=4, value_size=8)
    spec.maps["s"] = storage

    value = read(write(spec)).maps["s"].value

    assert isinstance(value, Array)
    assert value.count == 8


def test_the_first_line_is_that_of_the_first_instruction(spec: ObjectSpec) -> None:
    program = spec.programs["on_exec"]
    program.lines = (program.lines[0]._replace(slot=1), program.lines[1])

    lines = read(write(spec)).programs["on_exec"].lines

    assert [line.slot for line in lines] == [0, 15]


def test_variables_are_sorted_by_their_place(spec: ObjectSpec) -> None:
    spec.sections[".rodata"].variables.reverse()

    variables = read(write(spec)).sections[".rodata"].variables

    assert [each.name for each in variables] == ["low", "high"]


def test_data_without_variables_comes_back(describe: Describe) -> None:
    spec = minimal()
    spec.sections[".data.text"] = DataSection(".data.text", bytearray(b"abc"), [])

    assert describe(read(write(spec))) == describe(spec)


@pytest.mark.parametrize("flags", [0, 32])
def test_the_flags_of_a_section_come_back(flags: int) -> None:
    spec = minimal(flags=flags, section="xdp.frags" if flags else "xdp")

    assert read(write(spec)).programs["drop"].flags == flags


def test_a_variable_keeps_its_type() -> None:
    spec = minimal()
    variable = Variable("comm", 0, 16, Array(Int("char", 1, char=True), 16))
    spec.sections[".data"] = DataSection(".data", bytearray(16), [variable])

    node = read(write(spec)).sections[".data"].variables[0].type

    assert isinstance(node, Array)
    assert node.count == 16
