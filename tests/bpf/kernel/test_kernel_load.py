from collections.abc import Callable

import pytest

from beewire.bpf import isa
from beewire.bpf.btf import Func, FuncProto, Int, Linkage, Param
from beewire.bpf.isa import Insn, Size
from beewire.bpf.kernel import Loaded, Program
from beewire.bpf.object import (
    DataSection,
    MapKind,
    MapSpec,
    ObjectSpec,
    ProgramKind,
    ProgramSpec,
    Relocation,
    RelocationKind,
    Variable,
)
from beewire.errors import EncodingError, KernelError, MapError, NotSupported, SpecError

pytestmark = pytest.mark.kernel

U32 = Int("unsigned int", 4)
U64 = Int("unsigned long", 8)
S32 = Int("int", 4, signed=True)
PACKET = bytes(64)

Make = Callable[..., ProgramSpec]
MakeObject = Callable[..., ObjectSpec]
Load = Callable[..., Loaded]


def returns(value: int) -> tuple[Insn, ...]:
    return isa.mov_imm(0, value), isa.exit_insn()


def hash_spec(name: str = "hits", **fields: int) -> MapSpec:
    sizes = {"key_size": 4, "value_size": 8, "max_entries": 16, **fields}
    return MapSpec(name, kind=MapKind.HASH, key=U32, value=U64, **sizes)  # type: ignore[arg-type] # passed on as given


def test_a_program_runs(
    make_program: Make, make_object: MakeObject, load_now: Load
) -> None:
    loaded = load_now(make_object(make_program(*returns(2))))

    told = loaded.programs["program"].test_run(PACKET)

    assert (told.retval, told.data_out) == (2, PACKET)


def test_a_program_sees_the_map_it_names(
    make_program: Make, make_object: MakeObject, load_now: Load
) -> None:
    lookup = make_program(
        isa.store_imm(Size.W, 10, -4, 7),
        isa.ld_imm64(1, 0),
        isa.mov_reg(2, 10),
        isa.alu_imm(isa.AluOp.ADD, 2, -4),
        isa.call_helper(1),
        isa.jump_imm(isa.JumpOp.JEQ, 0, 0, 1),
        isa.load(Size.DW, 0, 0, 0),
        isa.exit_insn(),
        relocations=(Relocation(1, RelocationKind.MAP, "hits"),),
    )
    loaded = load_now(make_object(lookup, hash_spec()))
    loaded.maps["hits"][7] = 42

    assert loaded.programs["program"].test_run(PACKET).retval == 42


def variables(*sections: str) -> list[DataSection]:
    return [
        DataSection(
            name,
            bytearray(b"\1\0\0\0\2\0\0\0"),
            [Variable("low", 0, 4, U32), Variable("high", 4, 4, S32)],
        )
        for name in sections
    ]


@pytest.fixture
def reader(make_program: Make) -> ProgramSpec:
    """A program that returns the variable `high`."""
    return make_program(
        isa.ld_imm64(1, 0),
        isa.load(Size.W, 0, 1, 0),
        isa.exit_insn(),
        relocations=(Relocation(0, RelocationKind.GLOBAL, "high"),),
    )


@pytest.mark.parametrize("section", [".data", ".rodata"])
def test_a_variable_has_its_initial_value(
    reader: ProgramSpec, make_object: MakeObject, load_now: Load, section: str
) -> None:
    loaded = load_now(make_object(reader, *variables(section)))

    assert loaded.programs["program"].test_run(PACKET).retval == 2
    assert loaded.sections[section].read("low") == b"\1\0\0\0"


@pytest.mark.parametrize("section", [".data", ".rodata"])
def test_globals_set_variables_before_any_program_runs(
    reader: ProgramSpec, make_object: MakeObject, load_now: Load, section: str
) -> None:
    spec = make_object(reader, *variables(section))

    loaded = load_now(spec, globals={"high": 9, "low": b"\5\0\0\0"})

    assert loaded.programs["program"].test_run(PACKET).retval == 9
    assert spec.sections[section].content == b"\1\0\0\0\2\0\0\0"


def test_a_variable_is_written_while_programs_run(
    reader: ProgramSpec, make_object: MakeObject, load_now: Load
) -> None:
    loaded = load_now(make_object(reader, *variables(".data")))

    loaded.sections[".data"].write("high", -3)

    assert loaded.programs["program"].test_run(PACKET).retval == 2**32 - 3


def test_a_constant_is_not_written_once_loaded(
    reader: ProgramSpec, make_object: MakeObject, load_now: Load
) -> None:
    loaded = load_now(make_object(reader, *variables(".rodata")))

    with pytest.raises(MapError, match="constant once loaded"):
        loaded.sections[".rodata"].write("high", 1)
    with pytest.raises(MapError, match="frozen"):
        loaded.sections[".rodata"].map[0] = bytes(8)


def test_a_global_that_does_not_exist_is_named(
    reader: ProgramSpec, make_object: MakeObject, load_now: Load
) -> None:
    with pytest.raises(SpecError, match=r"'hihg'; there are: high, low"):
        load_now(make_object(reader, *variables(".data")), globals={"hihg": 1})


def test_a_global_out_of_range_is_refused(
    reader: ProgramSpec, make_object: MakeObject, load_now: Load
) -> None:
    spec = make_object(reader, *variables(".data"))

    with pytest.raises(EncodingError, match="does not fit variable 'low'"):
        load_now(spec, globals={"low": -1})
    with pytest.raises(EncodingError, match="4 bytes long, not 2"):
        load_now(spec, globals={"low": b"ab"})


def test_one_template_loads_many_times_side_by_side(
    reader: ProgramSpec, make_object: MakeObject, load_now: Load
) -> None:
    spec = make_object(reader, *variables(".data"), hash_spec())
    first, second = load_now(spec, globals={"high": 1}), load_now(spec)

    first.maps["hits"][1] = 1

    assert first.programs["program"].test_run(PACKET).retval == 1
    assert second.programs["program"].test_run(PACKET).retval == 2
    assert len(second.maps["hits"]) == 0


def test_a_given_map_is_shared_and_stays_open(
    make_object: MakeObject, load_now: Load
) -> None:
    first = load_now(make_object(hash_spec()))
    shared = first.maps["hits"]

    second = load_now(make_object(hash_spec()), maps={"hits": shared})
    second.maps["hits"][1] = 5
    second.close()

    assert shared[1] == 5


def test_a_given_section_is_shared(
    reader: ProgramSpec, make_object: MakeObject, load_now: Load
) -> None:
    spec = make_object(reader, *variables(".data"))
    first = load_now(spec)

    second = load_now(spec, maps={".data": first.sections[".data"].map})
    first.sections[".data"].write("high", 77)

    assert second.programs["program"].test_run(PACKET).retval == 77


@pytest.mark.parametrize(
    ("fields", "difference"),
    [
        ({"value_size": 16}, "value_size is 8, the program expects 16"),
        ({"key_size": 8}, "key_size is 4, the program expects 8"),
        ({"max_entries": 5}, "max_entries is 16, the program expects 5"),
    ],
)
def test_a_given_map_that_does_not_fit_is_refused(
    make_object: MakeObject,
    load_now: Load,
    fields: dict[str, int],
    difference: str,
) -> None:
    given = load_now(make_object(hash_spec())).maps["hits"]

    with pytest.raises(SpecError, match=difference):
        load_now(make_object(hash_spec("hits", **fields)), maps={"hits": given})


def test_a_given_map_that_nothing_uses_is_refused(
    make_object: MakeObject, load_now: Load
) -> None:
    given = load_now(make_object(hash_spec())).maps["hits"]

    with pytest.raises(SpecError, match="no map 'hist' to replace; there are: hits"):
        load_now(make_object(hash_spec()), maps={"hist": given})


def test_a_map_that_is_not_in_the_object_is_named(
    make_program: Make, make_object: MakeObject, load_now: Load
) -> None:
    program = make_program(
        isa.ld_imm64(1, 0),
        *returns(0),
        relocations=(Relocation(0, RelocationKind.MAP, "nowhere"),),
    )

    with pytest.raises(SpecError, match="map 'nowhere'"):
        load_now(make_object(program))


def function(
    name: str, *insns: Insn, calls: tuple[Relocation, ...] = ()
) -> ProgramSpec:
    proto = FuncProto(S32, (Param("a", U64),))
    return ProgramSpec(
        name,
        kind=ProgramKind.XDP,
        section=".text",
        insns=insns,
        relocations=calls,
        signature=Func(name, proto, Linkage.STATIC),
    )


def test_subprograms_are_joined_to_the_program_that_calls_them(
    make_program: Make, make_object: MakeObject, load_now: Load
) -> None:
    call = RelocationKind.SUBPROGRAM
    double = function(
        "double",
        isa.mov_reg(0, 1),
        isa.alu_reg(isa.AluOp.ADD, 0, 1),
        isa.exit_insn(),
    )
    quadruple = function(
        "quadruple",
        isa.call_subprogram(0),
        isa.mov_reg(1, 0),
        isa.call_subprogram(0),
        isa.exit_insn(),
        calls=(Relocation(0, call, "double"), Relocation(2, call, "double")),
    )
    main = make_program(
        isa.ld_imm64(1, 5),
        isa.call_subprogram(0),
        isa.exit_insn(),
        relocations=(Relocation(2, call, "quadruple"),),
    )

    loaded = load_now(make_object(main, quadruple, double))

    assert list(loaded.programs) == ["program"]
    assert loaded.programs["program"].test_run(PACKET).retval == 20


def test_a_call_of_a_function_that_is_missing_is_refused(
    make_program: Make, make_object: MakeObject, load_now: Load
) -> None:
    program = make_program(
        isa.call_subprogram(0),
        isa.exit_insn(),
        relocations=(Relocation(0, RelocationKind.SUBPROGRAM, "gone"),),
    )

    with pytest.raises(SpecError, match="calls 'gone'"):
        load_now(make_object(program))


def test_a_kernel_function_is_called_by_name(
    make_program: Make, make_object: MakeObject, load_now: Load
) -> None:
    program = make_program(
        isa.call_kfunc(0),
        isa.call_kfunc(0),
        *returns(3),
        kind=ProgramKind.SCHED_CLS,
        relocations=(
            Relocation(0, RelocationKind.KFUNC, "bpf_rcu_read_lock"),
            Relocation(1, RelocationKind.KFUNC, "bpf_rcu_read_unlock"),
        ),
    )

    loaded = load_now(make_object(program))

    assert loaded.programs["program"].test_run(PACKET).retval == 3


def test_a_kernel_function_that_is_missing_is_named(
    make_program: Make, make_object: MakeObject, load_now: Load
) -> None:
    program = make_program(
        isa.call_kfunc(0),
        *returns(0),
        relocations=(Relocation(0, RelocationKind.KFUNC, "bpf_no_such_thing"),),
    )

    with pytest.raises(NotSupported, match="kernel function 'bpf_no_such_thing'"):
        load_now(make_object(program))


def test_the_kernel_knows_names_types_and_lines(
    make_program: Make, make_object: MakeObject, load_now: Load
) -> None:
    loaded = load_now(make_object(make_program(*returns(0)), hash_spec()))

    info = loaded.programs["program"].info()

    assert info.name == "program"
    assert info.verified_insns in (2, 0)  # before Linux 5.16 the kernel does not tell
    assert info.id > 0
    assert len(info.tag) == 16


def test_a_name_that_the_kernel_does_not_take_is_adapted(
    make_program: Make, make_object: MakeObject, load_now: Load
) -> None:
    program = make_program(*returns(0), name="a_very_long_name_for_a_program")
    names = hash_spec("höhe-über-alles")

    loaded = load_now(make_object(program, names))

    info = loaded.programs["a_very_long_name_for_a_program"].info()
    assert info.name == "a_very_long_nam"


def test_a_failing_program_leaves_no_descriptor(
    make_program: Make,
    make_object: MakeObject,
    load_now: Load,
    open_descriptors: Callable[[], int],
) -> None:
    good = make_program(*returns(0), name="good")
    bad = make_program(isa.exit_insn(), name="bad")
    spec = make_object(good, bad, hash_spec(), *variables(".data", ".rodata"))
    with pytest.raises(KernelError):
        load_now(spec)
    before = open_descriptors()

    for _ in range(5):
        with pytest.raises(KernelError):
            load_now(spec)

    assert open_descriptors() == before


def test_a_failing_map_leaves_no_descriptor(
    make_object: MakeObject, load_now: Load, open_descriptors: Callable[[], int]
) -> None:
    spec = make_object(hash_spec("a"), hash_spec("b", value_size=0))
    before = open_descriptors()

    with pytest.raises(KernelError):
        load_now(spec)

    assert open_descriptors() == before


def test_closing_gives_every_descriptor_back(
    reader: ProgramSpec,
    make_object: MakeObject,
    load_now: Load,
    open_descriptors: Callable[[], int],
) -> None:
    before = open_descriptors()

    with load_now(make_object(reader, hash_spec(), *variables(".data"))) as loaded:
        loaded.sections[".data"].read("low")
        assert open_descriptors() > before

    assert open_descriptors() == before


def test_test_run_of_a_kind_that_cannot_is_not_supported(
    make_program: Make, make_object: MakeObject, load_now: Load
) -> None:
    program = make_program(*returns(0), kind=ProgramKind.TRACEPOINT)
    loaded = load_now(make_object(program))

    with pytest.raises(NotSupported, match="run 'program' by itself"):
        loaded.programs["program"].test_run()


def test_a_packet_that_is_too_short_is_refused_with_a_note(
    make_program: Make, make_object: MakeObject, load_now: Load
) -> None:
    loaded = load_now(make_object(make_program(*returns(0))))

    program = loaded.programs["program"]
    if takes_any_length(program):
        pytest.skip("this kernel takes packets of any length")

    with pytest.raises(KernelError) as caught:
        program.test_run(b"short")

    assert "at least 14 bytes" in caught.value.__notes__[0]


def takes_any_length(program: Program) -> bool:
    try:
        program.test_run(bytes(13))
    except KernelError:
        return False
    return True
