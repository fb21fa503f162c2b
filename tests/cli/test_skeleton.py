"""`beewire build --skeleton`: a module that loads what was compiled."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from beewire.bpf.author import collect, load
from beewire.cli import main
from beewire.errors import SpecError
from tests.typing.test_typing import mypy, pyright

LIBRARY = """
from beewire.bpf import HashMap, Struct, u32, u64

class Key(Struct):
    address: u32
    port: u32

SIZE = 16
seen = HashMap[Key, u64](max_entries=SIZE * 2)
unused = HashMap[Key, u64](max_entries=1)
"""
PROGRAM = """
from enum import IntEnum

import beewire.bpf as bpf
from beewire.bpf import Global, RingBuf, Struct, XdpAction, XdpContext, chars, subprogram, u16, u32, xdp
from library import Key, seen


class Kind(IntEnum):
    NONE = 0
    FRAME = 1


class Event(Struct):
    kind: Kind
    comm: str = chars(16)


first = Global(u16, 3)
second = Global(u32)
key = Global(Key)
events = RingBuf[Event](size=4096)
table = bpf.HashMap[u32, u32](max_entries=4)


@subprogram
def twice(amount: u32) -> u32:
    return amount * 2


@xdp
def counts(ctx: XdpContext) -> XdpAction:
    seen[Key(address=first.value, port=key.port)] += 1
    second.value += twice(1)
    table[1] = 1
    return XdpAction.PASS


@xdp
def sends(ctx: XdpContext) -> XdpAction:
    events.emit(Event(kind=Kind.FRAME, comm="x"))
    second.value += 1
    return XdpAction.DROP
"""

Files = tuple[Path, Path]


def imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A skeleton, away from the sources that it was made from."""
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "library.py").write_text(LIBRARY)
    (sources / "prog.py").write_text(PROGRAM)
    skeleton = tmp_path / "bw_skeleton.py"
    command = [sys.executable, "-m", "beewire", "build", str(sources / "prog.py")]
    command += ["-o", str(tmp_path / "prog.bpf.o"), "--skeleton", str(skeleton)]
    subprocess.run(command, check=True, capture_output=True)
    return skeleton


@pytest.mark.kernel
def test_the_programs_run_as_in_their_module(built: Path) -> None:
    module = imported(built)

    with load(module, globals={"first": 7}) as loaded:
        assert loaded[module.counts].live.test_run(bytes(64)).retval == 2
        assert loaded[module.sends].live.test_run(bytes(64)).retval == 1
        assert dict(loaded[module.seen].items()) == {module.Key(address=7, port=0): 1}
        assert loaded.globals["second"] == 3
        [event] = loaded[module.events].reader.poll()

    assert (event.kind, event.comm) == (module.Kind.FRAME, "x")


@pytest.mark.kernel
def test_what_finds_a_ring_full_is_counted(built: Path) -> None:
    module = imported(built)

    with load(module) as loaded:
        loaded[module.sends].live.test_run(bytes(64), repeat=50_000)
        kept = len(loaded[module.events].poll())

        assert loaded[module.events].dropped == 50_000 - kept > 0


@pytest.mark.kernel
def test_each_program_can_be_loaded_alone(built: Path) -> None:
    module = imported(built)

    with load(module.sends) as loaded:
        loaded[module.sends].live.test_run(bytes(64))
        assert "first" not in loaded.globals
        assert loaded.globals["second"] == 1


@pytest.mark.kernel
def test_programs_share_what_they_name(built: Path) -> None:
    module = imported(built)

    module.counts.live.test_run(bytes(64))
    module.sends.live.test_run(bytes(64))

    assert module.second.value == 3


def test_nothing_is_compiled(built: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(built.parent)!r}); import bw_skeleton\n"
        "from beewire.bpf import collect\n"
        "collect(bw_skeleton)\n"
        "print([m for m in sys.modules if m.startswith('beewire.bpf.codegen.')"
        " or m == 'beewire.bpf.lang.builder'])"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )

    assert done.stdout.strip() == "[]", done.stderr


def test_only_what_is_needed_is_copied(built: Path) -> None:
    text = built.read_text()

    assert "class Key(Struct)" in text
    assert "unused" not in text
    assert "emit(" not in text


def test_the_object_is_the_same(built: Path) -> None:
    spec = collect(imported(built))

    assert list(spec.programs) == ["counts", "twice", "sends"]
    assert all(program.lines for program in spec.programs.values())


@pytest.mark.timeout(300)
@pytest.mark.parametrize("checker", [mypy, pyright])
def test_checkers_see_the_types_of_the_module(
    checker: object, built: Path, tmp_path: Path
) -> None:
    place = tmp_path / "typed"
    place.mkdir()
    (place / "bw_skeleton.py").write_text(built.read_text())
    (place / "use.py").write_text(
        "import bw_skeleton as s\n"
        "for event in s.events:\n"
        "    print(event.comm.upper())\n"
        "s.second.value = 'x'\n"
        "s.counts.attach(cgroup='x')\n"
    )

    found = checker(place)  # type: ignore[operator]  # one of the two above

    assert list(found) == ["use.py"]
    assert list(found["use.py"]) == [4, 5]


def test_a_program_inside_a_function_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "prog.py"
    path.write_text(
        "from beewire.bpf import XdpAction, XdpContext, xdp\n"
        "def make():\n"
        "    @xdp\n"
        "    def inner(ctx: XdpContext) -> XdpAction:\n"
        "        return XdpAction.PASS\n"
        "    return inner\n"
        "program = make()\n"
    )
    output = ["-o", str(tmp_path / "prog.o"), "--skeleton", str(tmp_path / "s.py")]

    assert main(["build", str(path), *output]) == 1

    assert "not defined at the top level" in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["prog.py"]


def test_a_damaged_object_is_refused() -> None:
    from beewire.bpf.author import prebuilt  # noqa: PLC0415

    with pytest.raises(SpecError, match="is damaged"):
        prebuilt(__name__, "not an object")
