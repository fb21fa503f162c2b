import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from beewire.bpf.btf import Int
from beewire.bpf.kernel import (
    Link,
    Loaded,
    Map,
    attach_cgroup,
    attach_raw_tracepoint,
    ensure_bpffs,
    is_bpffs,
)
from beewire.bpf.object import MapKind, MapSpec, ObjectSpec, ProgramKind
from beewire.errors import KernelError, SpecError

if TYPE_CHECKING:
    from tests.bpf.kernel.conftest import Counter

pytestmark = pytest.mark.kernel

U32 = Int("unsigned int", 4)
S64 = Int("long", 8, signed=True)


@pytest.fixture
def spec(make_object: Callable[..., ObjectSpec]) -> ObjectSpec:
    hits = MapSpec(
        "hits",
        kind=MapKind.HASH,
        key_size=4,
        value_size=8,
        max_entries=16,
        key=U32,
        value=S64,
    )
    return make_object(hits)


def test_a_file_system_is_mounted_once(bpffs: str) -> None:
    assert is_bpffs(bpffs)
    assert is_bpffs(f"{bpffs}/below")

    assert ensure_bpffs(bpffs) == bpffs
    assert Path("/proc/self/mounts").read_text().count(bpffs) == 1


def test_an_ordinary_directory_is_no_bpffs(tmp_path: Path) -> None:
    assert not is_bpffs(str(tmp_path))


def test_a_mount_point_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="no such file"):
        ensure_bpffs(str(tmp_path / "none"))


def test_a_pinned_map_is_opened_with_its_types(
    bpffs: str, spec: ObjectSpec, load_now: Callable[..., Loaded]
) -> None:
    loaded = load_now(spec)
    loaded.maps["hits"].pin(f"{bpffs}/hits")
    loaded.maps["hits"][1] = -5
    loaded.close()

    with Map.from_pin(f"{bpffs}/hits") as again:
        assert dict(again) == {1: -5}
        assert again.spec.kind is MapKind.HASH
        assert again.name == "hits"
        assert again.spec.max_entries == 16


def test_pinning_outside_of_a_bpffs_says_what_to_do(
    tmp_path: Path, spec: ObjectSpec, load_now: Callable[..., Loaded]
) -> None:
    hits = load_now(spec).maps["hits"]

    with pytest.raises(KernelError, match=r"not on a BPF file system; mount one with"):
        hits.pin(str(tmp_path / "hits"))
    with pytest.raises(KernelError, match=r"none does not exist"):
        hits.pin(str(tmp_path / "none" / "hits"))


def test_a_pin_that_exists_is_not_replaced(
    bpffs: str, spec: ObjectSpec, load_now: Callable[..., Loaded]
) -> None:
    hits = load_now(spec).maps["hits"]
    hits.pin(f"{bpffs}/hits")

    with pytest.raises(KernelError, match="it exists already"):
        hits.pin(f"{bpffs}/hits")


def test_a_missing_pin_is_named(bpffs: str) -> None:
    with pytest.raises(KernelError, match="bpf/none does not exist"):
        Map.from_pin(f"{bpffs}/none")


def test_a_pin_directory_is_filled_and_then_used(
    pins: str, spec: ObjectSpec, load_now: Callable[..., Loaded]
) -> None:
    load_now(spec, pin_dir=pins).maps["hits"][1] = 7

    second = load_now(spec, pin_dir=pins)

    assert second.maps["hits"][1] == 7
    assert os.listdir(pins) == ["hits"]  # noqa: PTH208 - names only


def test_a_directory_for_pins_is_made_for_its_owner(
    pins: str, spec: ObjectSpec, load_now: Callable[..., Loaded]
) -> None:
    load_now(spec, pin_dir=f"{pins}/mine")

    assert Path(f"{pins}/mine").stat().st_mode & 0o777 == 0o700
    assert Path(f"{pins}/mine/hits").stat().st_mode & 0o777 == 0o600


def test_no_directory_for_pins_is_made_elsewhere(
    tmp_path: Path, spec: ObjectSpec, load_now: Callable[..., Loaded]
) -> None:
    with pytest.raises(KernelError, match="is not on a BPF file system; mount one"):
        load_now(spec, pin_dir=str(tmp_path / "mine"))
    with pytest.raises(KernelError, match=r"cannot make .*: no such file or directory"):
        load_now(spec, pin_dir=str(tmp_path / "no" / "mine"))

    assert list(tmp_path.iterdir()) == []


def test_a_pinned_map_of_another_shape_is_refused(
    bpffs: str,
    spec: ObjectSpec,
    load_now: Callable[..., Loaded],
    open_descriptors: Callable[[], int],
) -> None:
    load_now(spec, pin_dir=bpffs).close()
    spec.maps["hits"].max_entries = 5
    before = open_descriptors()

    with pytest.raises(SpecError, match="max_entries is 16, the program expects 5"):
        load_now(spec, pin_dir=bpffs)

    assert open_descriptors() == before


def test_a_failing_load_takes_its_pins_back(
    pins: str, spec: ObjectSpec, load_now: Callable[..., Loaded]
) -> None:
    spec.maps["bad"] = MapSpec("bad", kind=MapKind.HASH, max_entries=1)

    with pytest.raises(KernelError):
        load_now(spec, pin_dir=pins)

    assert os.listdir(pins) == []  # noqa: PTH208 - names only


def test_a_pinned_link_stays_attached(
    bpffs: str, cgroup: str, counter: "Callable[..., Counter]"
) -> None:
    count = counter(ProgramKind.SOCK_OPS)
    with attach_cgroup(count.program, cgroup) as link:
        link.pin(f"{bpffs}/link")
        number = link.info.id

    with Link.from_pin(f"{bpffs}/link") as again:
        assert again.kind == "cgroup"
        assert again.info.id == number
        again.detach()


def test_a_pinned_program_is_there(
    bpffs: str, counter: "Callable[..., Counter]"
) -> None:
    counter(ProgramKind.XDP).program.pin(f"{bpffs}/program")

    assert Path(f"{bpffs}/program").exists()


@pytest.fixture
def pinned(
    pins: str,
    spec: ObjectSpec,
    counter: Callable[..., "Counter"],
    load_now: Callable[..., Loaded],
) -> Iterator[str]:
    """A directory with the pins of a map, a program and a link, named by what they are."""
    load_now(spec).maps["hits"].pin(f"{pins}/map")
    program = counter(ProgramKind.RAW_TRACEPOINT, verdict=0).program
    program.pin(f"{pins}/program")
    with attach_raw_tracepoint(program, "sched_process_exec") as link:
        link.pin(f"{pins}/link")
    yield pins
    for name in ("map", "program", "link"):
        Path(pins, name).unlink()


@pytest.mark.parametrize("name", ["program", "link"])
def test_what_is_no_map_is_not_opened_as_one(
    pinned: str, name: str, open_descriptors: Callable[[], int]
) -> None:
    before = open_descriptors()

    with pytest.raises(KernelError, match=f"is the pin of a {name}, not of a map"):
        Map.from_pin(f"{pinned}/{name}")
    assert open_descriptors() == before


@pytest.mark.parametrize("name", ["program", "map"])
def test_what_is_no_link_is_not_opened_as_one(pinned: str, name: str) -> None:
    with pytest.raises(KernelError, match=f"is the pin of a {name}, not of a link"):
        Link.from_pin(f"{pinned}/{name}")


def test_a_name_that_the_file_system_does_not_take_is_told(
    pins: str, spec: ObjectSpec, load_now: Callable[..., Loaded]
) -> None:
    m = load_now(spec).maps["hits"]

    with pytest.raises(KernelError, match="a name on a BPF file system has no dot"):
        m.pin(f"{pins}/a.b")
    with pytest.raises(KernelError, match="is not the path of a pin"):
        m.pin(f"{pins}/a\0b")


def test_a_relative_path_outside_of_a_bpffs_is_told(
    tmp_path: Path,
    spec: ObjectSpec,
    load_now: Callable[..., Loaded],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(KernelError, match="is not on a BPF file system"):
        load_now(spec).maps["hits"].pin("hits")


def test_an_ordinary_file_is_no_pin(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(KernelError, match="is not on a BPF file system"):
        Map.from_pin(str(tmp_path / "file"))
