"""libbpf and bpftool load the objects that we write."""

import ctypes
import json
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import pytest

from beewire.bpf import isa
from beewire.bpf.btf import (
    Enum,
    Enumerator,
    Func,
    FuncProto,
    Index,
    Int,
    Kind,
    Linkage,
    Member,
    Param,
    Ptr,
    Struct,
    Type,
)
from beewire.bpf.object import (
    AttachKind,
    CoreRelo,
    DataSection,
    LineInfo,
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

VMLINUX = Path("/sys/kernel/btf/vmlinux")
LIBBPF = find_library("bpf")

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="loading programs needs root")
with_types = pytest.mark.skipif(not VMLINUX.exists(), reason="this kernel has no BTF")
with_libbpf = pytest.mark.skipif(LIBBPF is None, reason="libbpf is not installed")
with_bpftool = pytest.mark.skipif(
    shutil.which("bpftool") is None, reason="bpftool is not installed"
)


class Loaded:
    """An object in the kernel by libbpf's hand."""

    def __init__(self, blob: bytes, name: str = "sample") -> None:
        self.lib = ctypes.CDLL(LIBBPF, use_errno=True)
        for function in ("open_mem", "find_program_by_name", "find_map_by_name"):
            getattr(self.lib, f"bpf_object__{function}").restype = ctypes.c_void_p
        # struct bpf_object_open_opts: sz, object_name
        text = ctypes.create_string_buffer(name.encode())
        options = ctypes.create_string_buffer(
            struct.pack("<QQ", 16, ctypes.addressof(text))
        )
        self.object = ctypes.c_void_p(
            self.lib.bpf_object__open_mem(
                blob, ctypes.c_size_t(len(blob)), ctypes.byref(options)
            )
        )
        assert self.object.value, "libbpf cannot open the object"
        if error := self.lib.bpf_object__load(self.object):
            self.close()
            raise AssertionError(f"libbpf cannot load the object: {error}")

    def program(self, name: str) -> int:
        program = self.lib.bpf_object__find_program_by_name(self.object, name.encode())
        assert program, f"no program {name}"
        fd = self.lib.bpf_program__fd(ctypes.c_void_p(program))
        assert isinstance(fd, int)
        return fd

    def map(self, name: str) -> int:
        fd = self.lib.bpf_object__find_map_fd_by_name(self.object, name.encode())
        assert isinstance(fd, int)
        return fd

    def lookup(self, name: str, key: bytes, size: int) -> bytes:
        value = ctypes.create_string_buffer(size)
        error = self.lib.bpf_map_lookup_elem(self.map(name), key, value)
        assert not error, f"no such key in {name}"
        return value.raw

    def run(self, name: str, packet: bytes) -> int:
        # struct bpf_test_run_opts: sz, data_in, data_out, data_size_in, data_size_out,
        # ctx_in, ctx_out, ctx_size_in, ctx_size_out, retval, repeat
        data = ctypes.create_string_buffer(packet, len(packet))
        options = ctypes.create_string_buffer(
            struct.pack(
                "<QQQIIQQIIIi",
                64,
                ctypes.addressof(data),
                0,
                len(packet),
                0,
                0,
                0,
                0,
                0,
                0,
                1,
            ),
            64,
        )
        error = self.lib.bpf_prog_test_run_opts(self.program(name), options)
        assert not error, f"cannot run {name}: {error}"
        (verdict,) = struct.unpack_from("<I", options, 56)
        assert isinstance(verdict, int)
        return verdict

    def close(self) -> None:
        self.lib.bpf_object__close(self.object)


@pytest.fixture
def load() -> Iterator[Callable[[ObjectSpec], Loaded]]:
    objects: list[Loaded] = []

    def load(spec: ObjectSpec) -> Loaded:
        objects.append(Loaded(write(spec)))
        return objects[-1]

    yield load
    for each in objects:
        each.close()


Load = Callable[[ObjectSpec], Loaded]


def bpftool(*arguments: str) -> Any:
    command = ["bpftool", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None


def program_id(fd: int) -> str:
    """The kernel's id of a program, as text."""
    for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "prog_id":
            return value.strip()
    raise AssertionError(f"{fd} is no program")


@pytest.mark.kernel
@as_root
@with_types
@with_libbpf
class TestLibbpf:
    def test_loads_every_program(self, spec: ObjectSpec, load: Load) -> None:
        loaded = load(spec)

        fds = [loaded.program(name) for name in ("on_exec", "accept", "also")]

        assert min(fds) > 2

    def test_creates_the_maps_and_sections(self, spec: ObjectSpec, load: Load) -> None:
        loaded = load(spec)

        names = ("counts", "events", "raw", "sample.bss", "sample.rodata")
        assert min(loaded.map(name) for name in names) > 2

    def test_fills_the_sections(self, spec: ObjectSpec, load: Load) -> None:
        loaded = load(spec)

        value = loaded.lookup("sample.rodata", bytes(4), 8)

        assert value == b"\1\0\0\0\2\0\0\0"

    @with_bpftool
    def test_relocates_by_the_kernels_types(self, spec: ObjectSpec, load: Load) -> None:
        task = Index.build(VMLINUX.read_bytes()).lookup("task_struct", Struct)
        assert task is not None
        (offset,) = [m.offset_bits // 8 for m in task.members if m.name == "tgid"]
        fd = load(spec).program("on_exec")

        dump = bpftool("prog", "dump", "xlated", "id", program_id(fd))

        assert f"(07) r3 += {offset}" in [insn["disasm"] for insn in dump]

    @with_bpftool
    def test_keeps_the_source_lines(self, spec: ObjectSpec, load: Load) -> None:
        fd = load(spec).program("on_exec")

        dump = bpftool("prog", "dump", "xlated", "id", program_id(fd), "linum")

        lines = [insn for insn in dump if "src" in insn]
        assert [
            (each["src"], each["line_num"], each["line_col"]) for each in lines
        ] == [
            ("counts[0] += 1", 12, 5),
            ("parent = current(task_struct)", 14, 5),
        ]

    @with_bpftool
    def test_gives_the_maps_their_types(self, spec: ObjectSpec, load: Load) -> None:
        fd = load(spec).map("counts")
        lib = ctypes.CDLL(LIBBPF)
        key, value = struct.pack("<I", 3), struct.pack("<Q", 5)
        assert lib.bpf_map_update_elem(fd, key, value, ctypes.c_uint64(0)) == 0
        info = Path(f"/proc/self/fdinfo/{fd}").read_text()
        (map_id,) = [x.split()[1] for x in info.splitlines() if x.startswith("map_id")]

        (entry,) = bpftool("map", "dump", "id", map_id)

        assert entry["formatted"] == {"key": 3, "value": 5}

    def test_loads_a_callback(self, spec: ObjectSpec, load: Load) -> None:
        # bpf_loop(nr_loops, callback, ctx, flags)
        insns = (
            isa.mov_imm(1, 3),
            isa.ld_func(2, 0),
            isa.mov_imm(3, 0),
            isa.mov_imm(4, 0),
            isa.call_helper(181),
            isa.mov_imm(0, 1),
            isa.exit_insn(),
        )
        accept = spec.programs["accept"]
        accept.insns = insns
        accept.relocations = (Relocation(1, RelocationKind.SUBPROGRAM, "callback"),)
        spec.programs["callback"] = callback()

        assert load(spec).program("accept") > 2

    def test_binds_kernel_functions(self, load: Load) -> None:
        index = Index.build(VMLINUX.read_bytes())
        spec = counter()
        for name in ("bpf_rcu_read_lock", "bpf_rcu_read_unlock"):
            spec.externs[name] = extern(index, name)
        program = spec.programs["count"]
        program.kind, program.attach_kind = ProgramKind.TRACING, AttachKind.TRACE_RAW_TP
        program.section, program.attach_to = "tp_btf/sched_switch", "sched_switch"
        program.insns = (
            isa.call_kfunc(-1),
            isa.call_kfunc(-1),
            isa.mov_imm(0, 0),
            isa.exit_insn(),
        )
        program.relocations = (
            Relocation(0, RelocationKind.KFUNC, "bpf_rcu_read_lock"),
            Relocation(1, RelocationKind.KFUNC, "bpf_rcu_read_unlock"),
        )

        assert load(spec).program("count") > 2

    @pytest.mark.parametrize("kind", range(13))
    def test_applies_core_records_of_every_kind(self, load: Load, kind: int) -> None:
        root, access, local = core_record(kind)
        spec = counter()
        program = spec.programs["count"]
        program.insns = (isa.mov_imm(0, local), isa.exit_insn())
        program.relocations = ()
        program.core_relos = (CoreRelo(0, root, access, kind),)
        program.signature = Func("count", FuncProto(Int("int", 4, signed=True)))

        found = load(spec).run("count", bytes(64))

        assert found == core_answer(kind)

    def test_runs_what_it_loaded(self, load: Load) -> None:
        loaded = load(counter())

        verdicts = [loaded.run("count", bytes(64)) for _ in range(3)]

        assert verdicts == [1, 2, 3]
        assert loaded.lookup("sample.data", bytes(4), 8) == struct.pack("<II", 9, 3)

    @pytest.mark.parametrize(
        ("kind", "sizes"),
        [
            (MapKind.HASH, (4, 8, 8)),
            (MapKind.ARRAY, (4, 8, 8)),
            (MapKind.PERCPU_HASH, (4, 8, 8)),
            (MapKind.PERCPU_ARRAY, (4, 8, 8)),
            (MapKind.LRU_HASH, (4, 8, 8)),
            (MapKind.LRU_PERCPU_HASH, (4, 8, 8)),
            (MapKind.LPM_TRIE, (8, 8, 8)),
            (MapKind.SOCKMAP, (4, 8, 8)),
            (MapKind.SOCKHASH, (12, 8, 8)),
            (MapKind.SK_STORAGE, (4, 8, 0)),
            (MapKind.TASK_STORAGE, (4, 8, 0)),
            (MapKind.RINGBUF, (0, 0, 4096)),
            (MapKind.QUEUE, (0, 8, 8)),
            (MapKind.BLOOM_FILTER, (0, 8, 8)),
            (MapKind.PROG_ARRAY, (4, 4, 8)),
            (MapKind.PERF_EVENT_ARRAY, (4, 4, 2)),
        ],
    )
    def test_creates_a_map_of_each_kind(
        self, load: Load, kind: MapKind, sizes: tuple[int, int, int]
    ) -> None:
        spec = counter()
        key_size, value_size, max_entries = sizes
        spec.maps["table"] = MapSpec(
            "table",
            kind=kind,
            key_size=key_size,
            value_size=value_size,
            max_entries=max_entries,
        )

        assert load(spec).map("table") > 2

    def test_creates_a_map_of_maps(self, load: Load) -> None:
        spec = counter()
        inner = MapSpec("in", kind=MapKind.ARRAY, key_size=4, value_size=8)
        inner.max_entries = 1
        spec.maps["out"] = MapSpec(
            "out",
            kind=MapKind.ARRAY_OF_MAPS,
            key_size=4,
            value_size=4,
            max_entries=2,
            inner=inner,
        )

        assert load(spec).map("out") > 2


@pytest.fixture
def file(spec: ObjectSpec, tmp_path: Path) -> Path:
    path = tmp_path / "sample.o"
    path.write_bytes(write(spec))
    return path


@with_bpftool
class TestBpftool:
    @pytest.mark.kernel
    @as_root
    def test_loads_and_pins_every_program(self, file: Path, bpffs: Path) -> None:
        bpftool("prog", "loadall", str(file), str(bpffs / "bw-test"))

        pinned = [path.name for path in (bpffs / "bw-test").iterdir()]
        assert sorted(pinned) == ["accept", "also", "on_exec"]

    def test_reads_the_types(self, file: Path) -> None:
        shown = bpftool("btf", "dump", "file", str(file), "format", "raw")["types"]

        sections = [each["name"] for each in shown if each["kind"] == "DATASEC"]
        assert sorted(sections) == [".bss", ".maps", ".rodata"]

    def test_makes_a_skeleton(self, file: Path) -> None:
        command = ["bpftool", "gen", "skeleton", str(file)]
        header = subprocess.run(command, capture_output=True, text=True, check=True)

        for name in ("*counts;", "*on_exec;", "total;", "high;"):
            assert name in header.stdout

    def test_links_it_into_an_object_that_we_read(
        self, file: Path, tmp_path: Path, spec: ObjectSpec
    ) -> None:
        linked = tmp_path / "linked.o"

        bpftool("gen", "object", str(linked), str(file))

        found = read(linked.read_bytes())
        for name, program in spec.programs.items():
            assert found.programs[name].insns == program.insns
            assert found.programs[name].lines == program.lines


def callback() -> ProgramSpec:
    """A static subprogram of (index, ctx) that goes on."""
    number = Int("int", 4, signed=True)
    params = (Param("index", number), Param("ctx", Ptr(None)))
    return ProgramSpec(
        "callback",
        kind=ProgramKind.UNSPEC,
        section=".text",
        insns=(isa.mov_imm(0, 0), isa.exit_insn()),
        lines=(LineInfo(0, "connect.py", 9, 1, "def callback(index, ctx):"),),
        signature=Func("callback", FuncProto(number, params), Linkage.STATIC),
    )


def counter() -> ObjectSpec:
    """One XDP program that counts its runs in a variable, and returns the count."""
    u32 = Int("unsigned int", 4)
    variables = [Variable("other", 0, 4, u32), Variable("hits", 4, 4, u32)]
    spec = ObjectSpec("sample")
    spec.sections[".data"] = DataSection(
        ".data", bytearray(struct.pack("<II", 9, 0)), variables
    )
    spec.programs["count"] = ProgramSpec(
        "count",
        kind=ProgramKind.XDP,
        attach_kind=AttachKind.XDP,
        section="xdp",
        insns=(
            isa.ld_map_value(1, 0, 0),
            isa.mov_imm(0, 1),
            isa.atomic(isa.AtomicOp.ADD, isa.Size.W, 1, 0, 0, fetch=True),
            isa.alu_imm(isa.AluOp.ADD, 0, 1),
            isa.exit_insn(),
        ),
        relocations=(Relocation(0, RelocationKind.GLOBAL, "hits"),),
    )
    return spec


def core_record(kind: int) -> tuple[Type, str, int]:
    """Root, access and the value that is right for the local type.

    Kinds are those of `enum bpf_core_relo_kind`. libbpf insists on that value, but for
    the ids of types (6 and 7).
    """
    number = Int("int", 4, signed=True)
    field = Struct("task_struct", 8, (Member("tgid", number, 0),))
    whole = Struct("task_struct", 8)
    constant = Enum("bpf_func_id", 4, (Enumerator("BPF_FUNC_tail_call", 99),))
    return (
        (field, "0:0", 0),  # FIELD_BYTE_OFFSET
        (field, "0:0", 4),  # FIELD_BYTE_SIZE
        (field, "0:0", 1),  # FIELD_EXISTS
        (field, "0:0", 1),  # FIELD_SIGNED
        (field, "0:0", 32),  # FIELD_LSHIFT_U64
        (field, "0:0", 32),  # FIELD_RSHIFT_U64
        (whole, "0", 0),  # TYPE_ID_LOCAL
        (whole, "0", 0),  # TYPE_ID_TARGET
        (whole, "0", 1),  # TYPE_EXISTS
        (whole, "0", 8),  # TYPE_SIZE
        (constant, "0", 1),  # ENUMVAL_EXISTS
        (constant, "0", 99),  # ENUMVAL_VALUE
        (whole, "0", 1),  # TYPE_MATCHES
    )[kind]


def core_answer(kind: int) -> int:
    """What the running kernel's types say to the `core_record` of a kind."""
    index = Index.build(VMLINUX.read_bytes())
    task = index.lookup("task_struct", Struct)
    assert task is not None
    (tgid,) = [m.offset_bits // 8 for m in task.members if m.name == "tgid"]
    target = index.find("task_struct", Kind.STRUCT)
    # Two ints, two variables, their section, and the signature's two come first.
    local = 8
    answers = (tgid, 4, 1, 1, 32, 32, local, target, 1, task.size, 1, 12, 1)
    answer = answers[kind]
    assert answer is not None
    return answer


def extern(index: Index, name: str) -> Func:
    """A kernel function, as an object file declares it."""
    func = index.lookup(name, Func)
    assert func is not None, f"this kernel has no {name}"
    return Func(name, func.proto, Linkage.EXTERN)
