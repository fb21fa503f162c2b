"""The implicit Loaded of a process: programs of several modules, attached one by one."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from beewire.bpf import collect
from beewire.bpf.kernel import cgroup2_mount
from beewire.errors import SpecError
from tests.cgroups import remove

HEAD = """
from beewire.bpf import Array, Global, HashMap, SockAddr, Struct, connect4, connect6, u32, u64
"""

ONE = """
calls = HashMap[u32, u64](max_entries=4)
first = Global(u32)
second = Global(u64)
third = Global(u32, 7)

@connect4
def counts(ctx: SockAddr) -> None:
    calls[1] += 1
    first.value = ctx.user_family

@connect4
def counts_more(ctx: SockAddr) -> None:
    calls[2] += 1
    first.value += 100
    second.value = 5
    third.value += 1
"""

OTHER = """
calls = HashMap[u32, u64](max_entries=4)
first = Global(u32)

@connect4
def counts(ctx: SockAddr) -> None:
    calls[3] += 1
    first.value = 3
"""

Import = Callable[[str], ModuleType]


@pytest.fixture
def module(tmp_path: Path) -> Iterator[Import]:
    """Make a module of source text."""
    made: list[str] = []

    def make(source: str) -> ModuleType:
        name = f"bw_module_{len(made)}"
        path = tmp_path / f"{name}.py"
        path.write_text(HEAD + source)
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = found = importlib.util.module_from_spec(spec)
        made.append(name)
        spec.loader.exec_module(found)
        return found

    yield make
    for name in made:
        del sys.modules[name]


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A cgroup of our own."""
    path = Path(cgroup2_mount()) / f"bw-implicit-{os.getpid()}"
    path.mkdir()
    yield path
    remove(path)


def connect_in(cgroup: Path) -> None:
    """Let a process in `cgroup` connect somewhere."""
    code = (
        "import os, socket\n"
        f"open('{cgroup}/cgroup.procs', 'w').write(str(os.getpid()))\n"
        "socket.socket().connect_ex(('127.0.0.1', 9))\n"
    )
    subprocess.run([sys.executable, "-S", "-c", code], check=True)


@pytest.mark.kernel
def test_programs_attached_later_share_maps_and_globals(
    module: Import, cgroup: Path
) -> None:
    one = module(ONE)

    with one.counts.attach(cgroup), one.counts_more.attach(cgroup):
        connect_in(cgroup)

    assert dict(one.calls) == {1: 1, 2: 1}
    # Programs run in the order of attaching: AF_INET, then 100 more.
    assert (one.first.value, one.second.value, one.third.value) == (102, 5, 8)


@pytest.mark.kernel
def test_maps_outlive_the_links(module: Import, cgroup: Path) -> None:
    one = module(ONE)
    with one.counts.attach(cgroup):
        connect_in(cgroup)

    with one.counts.attach(cgroup):
        connect_in(cgroup)

    assert one.calls[1] == 2


@pytest.mark.kernel
def test_modules_with_equal_names_do_not_meet(module: Import, cgroup: Path) -> None:
    one, other = module(ONE), module(OTHER)

    with one.counts.attach(cgroup), other.counts.attach(cgroup):
        connect_in(cgroup)

    assert dict(one.calls) == {1: 1}
    assert dict(other.calls) == {3: 1}
    assert (one.first.value, other.first.value) == (2, 3)


@pytest.mark.kernel
def test_a_global_is_written_from_user_space(module: Import, cgroup: Path) -> None:
    one = module(ONE)

    with one.counts_more.attach(cgroup):
        one.third.value = 41
        connect_in(cgroup)

    assert one.third.value == 42


def test_modules_do_not_know_of_each_others_names(module: Import) -> None:
    one, other = module(ONE), module(OTHER)

    spec = collect([one.counts, other.counts])

    assert list(spec.programs) == ["counts", f"{other.__name__}_counts"]
    assert len(spec.maps) == 2
    assert len(spec.reached.globals) == 2
    assert list(collect(other.counts).programs) == ["counts"]


def test_a_module_without_programs_says_what_a_program_is(module: Import) -> None:
    with pytest.raises(
        SpecError, match="has no programs: mark a function with the hook"
    ):
        collect(module(""))


def test_no_programs_at_all_are_refused() -> None:
    with pytest.raises(SpecError, match="there is no program to collect"):
        collect([])


@pytest.mark.parametrize("given", ["bw", 5, [len]])
def test_what_is_no_program_is_refused(given: Any) -> None:
    with pytest.raises(SpecError, match="is no program: give a module, or functions"):
        collect(given)


@pytest.mark.parametrize(
    "source",
    [
        "class Kept:\n    table = table\n{hook}    Kept.table[1] = 2\n",
        (
            "class Kept:\n    @staticmethod\n    def put() -> None:\n"
            "        table[1] = 2\n{hook}    Kept.put()\n"
        ),
        (
            "def put(into: HashMap[u32, u64] = table) -> None:\n"
            "    into[1] = 2\n{hook}    put()\n"
        ),
        (
            "outer = ModuleType('outer')\nouter.inner = ModuleType('inner')\n"
            "outer.inner.table = table\n{hook}    outer.inner.table[1] = 2\n"
        ),
    ],
    ids=["class", "static method", "default", "module in a module"],
)
def test_a_map_is_found_wherever_it_is_kept(module: Import, source: str) -> None:
    hook = "@connect6\ndef through(ctx: SockAddr) -> None:\n"
    head = "from types import ModuleType\ntable = HashMap[u32, u64](8, name='table')\n"

    assert list(collect(module(head + source.format(hook=hook))).maps) == ["table"]


def test_a_map_imported_from_another_module_keeps_its_name(module: Import) -> None:
    one = module(ONE)
    user = module(
        f"import {one.__name__} as shared\n"
        "@connect6\n"
        "def through(ctx: SockAddr) -> None:\n"
        "    shared.calls[4] += 1\n"
    )

    assert list(collect(user).maps) == ["calls"]
