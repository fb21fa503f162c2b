"""Programs under a directory of pins: found again by another process, not compiled."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from beewire.bpf import (
    Global,
    HashMap,
    Loaded,
    SockAddr,
    connect4,
    load,
    open_maps,
    open_pinned,
    u32,
)
from beewire.bpf.kernel import pins, syscall
from beewire.bpf.kernel.places import cgroup2_mount
from beewire.bpf.lang import ProgramDecl
from beewire.errors import KernelError, SpecError
from tests.cgroups import remove

pytestmark = pytest.mark.kernel

seen = HashMap[u32, u32](max_entries=8)
other = HashMap[u32, u32](max_entries=9, name="seen")
knob = Global(u32)


@connect4
def outbound(ctx: SockAddr) -> int:
    seen[ctx.user_port] = 1
    return 1


def larger() -> ProgramDecl:
    @connect4
    def outbound(ctx: SockAddr) -> int:
        other[ctx.user_port] = 1
        return 1

    return outbound


@connect4
def with_global(ctx: SockAddr) -> int:
    return 1 if knob.value == ctx.user_port else 0


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[str]:
    path = tmp_path / "bpf"
    path.mkdir()
    yield f"{pins.ensure_bpffs(str(path))}/bw-set"
    assert syscall.unmount(str(path)) == 0


@pytest.fixture
def cgroup() -> Iterator[str]:
    path = Path(cgroup2_mount(), f"bw-pinned-{os.getpid()}")
    path.mkdir()
    yield str(path)
    remove(path)


def found(directory: str) -> list[str]:
    return sorted(
        str(path.relative_to(directory)) for path in Path(directory).rglob("*")
    )


def test_what_is_pinned_is_found_with_its_types(directory: str) -> None:
    with load([outbound]) as loaded:
        loaded.pin(directory)
        loaded[seen][7] = 70
        number = loaded[outbound].live.info().id

    with open_pinned([outbound], directory) as again:
        assert isinstance(again, Loaded)
        assert again[seen][7] == 70
        assert again[outbound].live.info().id == number
    assert found(directory) == ["maps", "maps/seen", "programs", "programs/outbound"]
    assert Path(directory).stat().st_mode & 0o777 == 0o700


def test_a_found_program_can_be_attached(directory: str, cgroup: str) -> None:
    with load([outbound]) as loaded:
        loaded.pin(directory)

    with open_pinned([outbound], directory) as again:
        link = again[outbound].attach(cgroup)

    with link:
        assert link.info.program_id > 0


def test_a_map_of_another_size_is_refused(directory: str) -> None:
    with load([outbound]) as loaded:
        loaded.pin(directory)

    with pytest.raises(SpecError, match="max_entries is 8, the program expects 9"):
        open_pinned([larger()], directory)


def test_what_is_not_pinned_is_told(directory: str) -> None:
    with pytest.raises(KernelError, match="does not exist"):
        open_pinned([outbound], directory)


def test_a_pin_that_fails_leaves_none(directory: str) -> None:
    with load([outbound]) as loaded:
        loaded.pin(directory)
        Path(directory, "programs", "outbound").unlink()

        with pytest.raises(KernelError):
            loaded.pin(directory)

    assert found(directory) == ["maps", "maps/seen", "programs"]


def test_globals_are_found_again(directory: str) -> None:
    with load([with_global], globals={"knob": 5}) as loaded:
        loaded.pin(directory)

        with open_pinned([with_global], directory) as again:
            assert again.globals["knob"] == 5
            again.globals["knob"] = 6
            assert loaded.globals["knob"] == 6


def test_maps_that_fit_are_told_from_others(directory: str) -> None:
    with load([outbound]) as loaded:
        loaded.pin(directory)
        loaded[seen][7] = 70

    fitting, others = open_maps([outbound], directory)
    with fitting["seen"] as live:
        assert (live[7], others) == (70, {})
    fitting, others = open_maps([larger()], directory)
    with others["seen"] as live:
        assert (live.spec.max_entries, fitting) == (8, {})
