"""Objects of every clang load, and their programs do what C says."""

import gzip
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beewire.bpf.kernel import Loaded, attach_struct_ops, load
from beewire.bpf.object import MapKind, ObjectSpec, ProgramKind, read, write
from beewire.errors import SpecError
from tests.bpf.object.compilers import COMPILERS, SOURCES, built

pytestmark = pytest.mark.kernel

Open = Callable[..., Loaded]


@pytest.fixture(params=COMPILERS)
def compiler(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def load_now(compiler: str) -> Iterator[Open]:
    """Loads a source by name, through our own file as well: what we read, we can write."""
    opened: list[Loaded] = []

    def load_now(name: str, *, rewritten: bool = False, **options: object) -> Loaded:
        objects = built(compiler)
        if name not in objects:
            pytest.skip(f"{compiler} does not know what {name}.c says")
        spec = read(objects[name])
        loaded = load(read(write(spec)) if rewritten else spec, **options)  # type: ignore[arg-type] # as load
        opened.append(loaded)
        return loaded

    yield load_now
    for each in opened:
        each.close()


def run(loaded: Loaded, program: str) -> int:
    packet = b"" if loaded.programs[program].spec.section == "syscall" else bytes(64)
    return loaded.programs[program].test_run(packet).retval


EXPECTED = {
    "legacy": {"count": 7},
    "data": {"sum": 176, "statics": 442, "nested": 91, "text": 0},
    "calls": {"first": 41, "second": 15, "third": 16},
    "maps": {"jump": 42, "look": 1, "look_by_hash": 2},
    "tags": {"nonnull": 8, "context": 5},
    "ksyms": {"functions": 1, "missing": 0, "typeless": 1},
    "arena": {"count": 7},
}


@pytest.mark.parametrize("rewritten", [False, True], ids=["as-is", "rewritten"])
@pytest.mark.parametrize("name", EXPECTED)
def test_programs_do_what_c_says(load_now: Open, name: str, rewritten: bool) -> None:
    loaded = load_now(name, rewritten=rewritten)

    found = {each: run(loaded, each) for each in EXPECTED[name]}

    assert found == EXPECTED[name]


@pytest.mark.parametrize("cpu", ["v1", "v2", "v3", "v4"])
@pytest.mark.parametrize("debug", ["-g", "-g0"])
def test_every_instruction_set_loads(compiler: str, cpu: str, debug: str) -> None:
    if cpu == "v4" and compiler in ("clang-14", "clang-15", "clang-16"):
        pytest.skip(f"{compiler} knows no v4")
    # The two that need no types.
    objects = built(compiler, cpu, debug, sources=("data", "legacy"))

    with load(read(objects["data"])) as data, load(read(objects["legacy"])) as legacy:
        assert (run(data, "sum"), run(legacy, "count")) == (176, 7)


@pytest.mark.parametrize(
    "name", ["calls", "core_kernel", "kconfig", "legacy", "maps", "tags"]
)
def test_what_we_rewrote_loads_with_libbpf(
    compiler: str, name: str, bpffs: Path, tmp_path: Path
) -> None:
    if shutil.which("bpftool") is None:
        pytest.skip("bpftool is not installed")
    file = tmp_path / "rewritten.o"
    file.write_bytes(write(read(built(compiler)[name])))

    command = ["bpftool", "prog", "loadall", str(file), str(bpffs / "bw-test")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_variables_are_set_before_the_load(load_now: Open) -> None:
    loaded = load_now("data", globals={"limit": 0, "start": 6})

    assert run(loaded, "sum") == 176 - 100 + 1


def test_variables_of_functions_are_read(load_now: Open) -> None:
    loaded = load_now("data")
    run(loaded, "statics")

    data = loaded.sections[".data"]
    counts = [data.read(f"{function}.count") for function in ("tick", "tock")]

    assert [int.from_bytes(each, "little") for each in counts] == [41, 401]


def test_maps_hold_what_the_object_says(load_now: Open) -> None:
    maps = load_now("maps").maps

    assert maps["outer"].lookup(1) is not None
    assert maps["outer"].lookup(1) != maps["outer"].lookup(3)
    assert maps["outer"].lookup(0) is None


def test_all_that_is_said_of_a_map_counts(compiler: str) -> None:
    maps = read(built(compiler)["maps"]).maps

    assert (maps["bloom"].extra, maps["plain"].flags) == (3, 5)
    assert maps["outer"].initial == {1: "two", 3: "one"}
    assert maps["jumps"].initial == {2: "target"}
    assert maps["ring"].max_entries == 5000


def options_of_the_kernel() -> dict[str, str]:
    path = Path("/proc/config.gz")
    if not path.exists():
        pytest.skip("this kernel does not tell its configuration")
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    pairs = [line.partition("=") for line in lines if line.startswith("CONFIG_")]
    return {name: value for name, _, value in pairs}


def test_the_kernels_configuration_is_there(load_now: Open) -> None:
    options = options_of_the_kernel()
    loaded = load_now("kconfig")

    assert run(loaded, "version") == int(os.uname().release.split(".")[0])
    assert run(loaded, "options") == 1110
    assert run(loaded, "hertz") == int(options["CONFIG_HZ"])
    assert run(loaded, "letter") == ord(options["CONFIG_DEFAULT_HOSTNAME"][2])
    assert run(loaded, "cookie") == 1


def test_an_option_may_be_given(load_now: Open) -> None:
    assert run(load_now("kconfig", globals={"CONFIG_HZ": 77}), "hertz") == 77


def test_a_variable_of_the_kernel_is_read(load_now: Open) -> None:
    symbols = Path("/proc/kallsyms").read_text().split("\n")
    if not any(line.endswith(" bpf_prog_active") for line in symbols):
        pytest.skip("the kernel is built without CONFIG_KALLSYMS_ALL")

    assert run(load_now("ksym_variables"), "variable") == 1


def test_functions_of_modules_are_called(load_now: Open) -> None:
    if not Path("/sys/kernel/btf/nf_conntrack").exists():
        pytest.skip("nf_conntrack is no module here, or is not loaded")

    assert run(load_now("module"), "look") == 42


def test_sections_that_nobody_knows_are_read(compiler: str) -> None:
    programs = read(built(compiler)["sections"]).programs

    assert (programs["optional"].section, programs["optional"].autoload) == (
        "xdp",
        False,
    )
    assert programs["custom"].kind is ProgramKind.UNSPEC
    assert programs["user_probe"].attach_to == "/bin/true:main"


def test_a_section_that_nobody_knows_is_not_loaded(compiler: str) -> None:
    spec = only(read(built(compiler)["sections"]), "custom")
    with pytest.raises(SpecError, match="'my/own', which is no hook: set its kind"):
        load(spec)

    spec.programs["custom"].kind = ProgramKind.SOCKET_FILTER
    with load(spec) as loaded:
        assert run(loaded, "custom") == 3


def only(spec: ObjectSpec, *names: str) -> ObjectSpec:
    for name, program in spec.programs.items():
        program.autoload = name in names
    return spec


def test_what_is_not_to_be_loaded_is_not(compiler: str) -> None:
    spec = read(built(compiler)["sections"])
    only(spec, "plain", "connecting")

    with load(spec) as loaded:
        assert list(loaded.programs) == ["plain", "connecting"]


def test_a_table_of_callbacks_is_registered(compiler: str) -> None:
    spec = read(write(read(built(compiler)["struct_ops"])))
    # The kernel has one table of a name: of tests that run at once, each needs its own.
    linked, plain = f"bwl{os.getpid() & 0xFFFFF:05x}", f"bwp{os.getpid() & 0xFFFFF:05x}"
    for table, old, new in (
        ("bw_linked", "bw_linked", linked),
        ("bw_plain", "bw_plain", plain),
    ):
        content = spec.maps[table].content
        name = new.encode().ljust(len(old), b"\0")
        spec.maps[table].content = content.replace(old.encode(), name)

    with load(spec) as loaded, attach_struct_ops(loaded.maps["bw_linked"]):
        assert linked in controls()
        with attach_struct_ops(loaded.maps["bw_plain"]):
            assert plain in controls()
        assert plain not in controls()
    assert linked not in controls()


def controls() -> list[str]:
    path = "/proc/sys/net/ipv4/tcp_available_congestion_control"
    return Path(path).read_text().split()


def test_a_member_that_the_kernel_lacks_is_refused_when_set(compiler: str) -> None:
    spec = read(built(compiler)["struct_ops"])
    table = spec.maps["bw_plain"]
    content = bytearray(table.content)
    content[28] = 1  # bw_is_not_in_any_kernel
    table.content = bytes(content)

    with pytest.raises(SpecError, match=r"bw_plain\.bw_is_not_in_any_kernel is set"):
        load(spec)


def test_a_pinned_map_is_shared(compiler: str, bpffs: Path) -> None:
    spec = read(built(compiler)["legacy"])
    spec.maps["first"].pinned = True

    with (
        load(spec, pin_dir=str(bpffs)) as first,
        load(spec, pin_dir=str(bpffs)) as other,
    ):
        assert [run(first, "count"), run(other, "count")] == [7, 14]


@pytest.mark.parametrize("name", [name for name in SOURCES if name != "arena"])
def test_big_endian_objects_are_read_alike(compiler: str, name: str) -> None:
    big = read(built(compiler, target="bpfeb")[name])
    little = read(built(compiler)[name])

    assert (big.big_endian, little.big_endian) == (True, False)
    assert {n: code(big, n) for n in big.programs} == {
        n: code(little, n) for n in little.programs
    }
    assert list(big.maps) == list(little.maps)


def code(spec: ObjectSpec, name: str) -> tuple[object, ...]:
    # Compilers do not make the same instructions for both orders, but nearly.
    program = spec.programs[name]
    referred = [(relo.kind, relo.symbol) for relo in program.relocations]
    return program.section, referred, [relo.kind for relo in program.core_relos]


def test_big_endian_objects_are_refused_for_load(compiler: str) -> None:
    spec = read(built(compiler, target="bpfeb")["data"])

    with pytest.raises(SpecError, match="is big-endian, this machine little-endian"):
        load(spec)


def test_big_endian_objects_are_not_written_as_little_endian(compiler: str) -> None:
    spec = read(built(compiler, target="bpfeb")["data"])

    with pytest.raises(SpecError, match="only little-endian objects are written"):
        write(spec)


@pytest.mark.parametrize("name", ["ksyms", "maps", "struct_ops", "tags"])
def test_the_same_object_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    file = tmp_path / "object.o"
    file.write_bytes(built("clang-19")[name])
    code = (
        "import hashlib, pathlib, sys; from beewire.bpf.object import read, write;"
        "data = write(read(pathlib.Path(sys.argv[1]).read_bytes()));"
        "print(hashlib.sha256(data).hexdigest())"
    )

    said = {
        subprocess.check_output(
            [sys.executable, "-c", code, str(file)],
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        for seed in ("1", "2", "3")
    }

    assert len(said) == 1


def test_kinds_of_maps_are_known(compiler: str) -> None:
    kinds = {each.kind for each in read(built(compiler)["struct_ops"]).maps.values()}

    assert kinds == {MapKind.STRUCT_OPS}
