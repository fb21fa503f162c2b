"""Hand-assembled programs and the places to attach them."""

import gc
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beewire.bpf import isa
from beewire.bpf.btf import Func, FuncProto, Int, Param, Ptr
from beewire.bpf.isa import AtomicOp, Insn, Size
from beewire.bpf.kernel import (
    Loaded,
    Program,
    ensure_bpffs,
    load,
    syscall,
)
from beewire.bpf.object import (
    AttachKind,
    DataSection,
    LineInfo,
    MapSpec,
    ObjectSpec,
    ProgramKind,
    ProgramSpec,
    Relocation,
    RelocationKind,
    Variable,
)
from tests.netns import ip

U32 = Int("unsigned int", 4)
U64 = Int("unsigned long", 8)
S32 = Int("int", 4, signed=True)


@pytest.fixture
def make_program() -> Callable[..., ProgramSpec]:
    """A ProgramSpec with a BTF signature; XDP unless told otherwise."""

    def make(
        *insns: Insn,
        name: str = "program",
        kind: ProgramKind = ProgramKind.XDP,
        attach_kind: AttachKind | None = None,
        relocations: tuple[Relocation, ...] = (),
        lines: tuple[LineInfo, ...] = (),
        section: str = "xdp",
        attach_to: str = "",
    ) -> ProgramSpec:
        return ProgramSpec(
            name,
            kind=kind,
            section=section,
            insns=insns,
            attach_kind=attach_kind,
            attach_to=attach_to,
            relocations=relocations,
            lines=lines,
            signature=Func(name, FuncProto(S32, (Param("ctx", Ptr(None)),))),
        )

    return make


@pytest.fixture
def make_object() -> Callable[..., ObjectSpec]:
    """An ObjectSpec of these parts."""

    def make(
        *parts: ProgramSpec | MapSpec | DataSection, name: str = "test"
    ) -> ObjectSpec:
        spec = ObjectSpec(name)
        for part in parts:
            if isinstance(part, ProgramSpec):
                spec.programs[part.name] = part
            elif isinstance(part, MapSpec):
                spec.maps[part.name] = part
            else:
                spec.sections[part.name] = part
        return spec

    return make


@pytest.fixture
def load_now() -> Iterator[Callable[..., Loaded]]:
    """`load`, with everything closed at the end of the test."""
    opened: list[Loaded] = []

    def load_it(spec: ObjectSpec, **options: object) -> Loaded:
        loaded = load(spec, **options)  # type: ignore[arg-type] # passed on as given
        opened.append(loaded)
        return loaded

    yield load_it
    for loaded in opened:
        loaded.close()


class Counter:
    """A loaded program that counts how often it ran."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.program: Program = loaded.programs["count"]

    @property
    def hits(self) -> int:
        return int.from_bytes(self.loaded.sections[".bss"].read("hits"), "little")


@pytest.fixture
def counter(
    make_program: Callable[..., ProgramSpec],
    make_object: Callable[..., ObjectSpec],
    load_now: Callable[..., Loaded],
) -> Callable[..., Counter]:
    """A program of any kind that adds one to `hits` and returns `verdict`."""

    def make(
        kind: ProgramKind,
        attach_kind: AttachKind | None = None,
        verdict: int = 1,
        attach_to: str = "",
    ) -> Counter:
        program = make_program(
            isa.ld_imm64(1, 0),
            isa.mov_imm(2, 1),
            isa.atomic(AtomicOp.ADD, Size.DW, 1, 0, 2),
            isa.mov_imm(0, verdict),
            isa.exit_insn(),
            name="count",
            kind=kind,
            attach_kind=attach_kind,
            attach_to=attach_to,
            section=kind.name.lower(),
            relocations=(Relocation(0, RelocationKind.GLOBAL, "hits"),),
        )
        section = DataSection(".bss", bytearray(8), [Variable("hits", 0, 8, U64)])
        return Counter(load_now(make_object(program, section)))

    return make


@pytest.fixture
def veth(netns: str) -> str:
    """One end of a veth pair in `netns`; the other is `<name>-peer`; both are up."""
    peer = ("peer", "name", "bw-v-peer")
    ip("link", "add", "bw-v", "type", "veth", *peer, netns=netns)
    for end, address in (("bw-v", "10.99.0.1/24"), ("bw-v-peer", "10.99.1.1/24")):
        ip("addr", "add", address, "dev", end, netns=netns)
        ip("link", "set", end, "up", netns=netns)
    return "bw-v"


@pytest.fixture
def inside(netns: str) -> Callable[[Callable[[], object]], None]:
    """Run a function in a thread that has entered `netns`."""
    pyroute2_netns = pytest.importorskip("pyroute2.netns")

    def run(action: Callable[[], object]) -> None:
        errors: list[BaseException] = []

        def body() -> None:
            try:
                pyroute2_netns.setns(netns)
                action()
            except BaseException as error:  # noqa: BLE001 - raised again below
                errors.append(error)

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        for error in errors:
            raise error

    return run


@pytest.fixture
def run_in_cgroup(cgroup: str) -> Callable[[str], str]:
    """Run a Python snippet as a process of `cgroup`; gives what it printed."""

    def run(code: str) -> str:
        script = f'echo $$ > "{cgroup}/cgroup.procs" && exec "$1" -S -c "$0"'
        done = subprocess.run(
            ["sh", "-c", script, code, sys.executable],
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    return run


@pytest.fixture
def open_descriptors() -> Callable[[], int]:
    """How many descriptors this process has."""
    gc.collect()  # what earlier tests left to the collector
    return lambda: len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def bpffs(tmp_path: Path) -> Iterator[str]:
    path = tmp_path / "bpf"
    path.mkdir()
    yield ensure_bpffs(str(path))
    assert syscall.unmount(str(path)) == 0


@pytest.fixture
def pins(bpffs: str) -> str:
    """An empty directory on a bpffs; the root of one has entries of the kernel's."""
    Path(bpffs, "bw-pins").mkdir()
    return f"{bpffs}/bw-pins"
