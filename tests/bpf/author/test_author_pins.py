"""Pinned maps: opened, shared, and refused where they do not fit."""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from beewire.bpf import (
    Arena,
    HashMap,
    LruHash,
    SkStorage,
    Struct,
    array,
    features,
    u32,
    u64,
)
from beewire.bpf.kernel import Map
from beewire.errors import KernelError, MapError, SpecError

pytestmark = [pytest.mark.kernel, pytest.mark.thorough]


class Stats(Struct):
    packets: u64
    sizes: list[int] = array(u32, 2)


hits = HashMap[u32, Stats](16, name="hits")


def test_a_pinned_map_is_opened_by_its_declaration(pins: str) -> None:
    with hits.load() as table:
        table[1] = Stats(packets=5, sizes=[1, 2])
        table.pin(f"{pins}/hits")

    with hits.open(f"{pins}/hits") as again:
        assert again.to_dict() == {1: Stats(packets=5, sizes=[1, 2])}
    with HashMap[u32, Stats](0).open(f"{pins}/hits") as any_size:
        assert any_size.info.max_entries == 16
    assert Path(f"{pins}/hits").stat().st_mode & 0o777 == 0o600


def test_a_pinned_map_is_opened_read_only(pins: str) -> None:
    with hits.load() as table:
        table.pin(f"{pins}/hits")

    with hits.open(f"{pins}/hits", read_only=True) as again:
        assert len(again) == 0
        with pytest.raises(MapError, match="frozen or read-only"):
            again[1] = Stats(packets=1, sizes=[0, 0])


def test_storage_of_sockets_is_opened_with_sockets_for_keys(pins: str) -> None:
    seen = SkStorage[Stats](name="seen")
    with socket.socket() as sock, seen.load() as first:
        first[sock] = Stats(packets=5, sizes=[1, 2])
        first.pin(f"{pins}/seen")

        with seen.open(f"{pins}/seen") as again:
            assert again[sock] == Stats(packets=5, sizes=[1, 2])


def test_a_pinned_arena_is_mapped_again(pins: str) -> None:
    if not features.map_type(features.MapKind.ARENA):
        pytest.skip("this kernel has no ARENA maps")
    heap = Arena(pages=2, address=1 << 44)
    with heap.load() as first:
        first.put(64, Stats(packets=5, sizes=[1, 2]))
        first.pin(f"{pins}/heap")

    with heap.open(f"{pins}/heap") as again:
        assert again.at(64, Stats) == Stats(packets=5, sizes=[1, 2])


def test_an_arena_without_an_address_is_not_mapped_again(pins: str) -> None:
    if not features.map_type(features.MapKind.ARENA):
        pytest.skip("this kernel has no ARENA maps")
    heap = Arena(pages=2)
    with heap.load() as first:
        first.pin(f"{pins}/heap")

    with (
        heap.open(f"{pins}/heap") as again,
        pytest.raises(MapError, match=r"as Arena\(pages, address=1 << 44\)"),
    ):
        again.at(0, Stats)


def test_all_that_load_a_pinned_map_share_it(
    pins: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beewire.bpf.kernel.pins.BPFFS", pins)
    shared = HashMap[u32, u64](4, name="shared", pinned=True)
    with shared.load() as one, shared.load() as other:
        one[1] = 5

        assert other[1] == 5
        assert one.info.id == other.info.id
    with pytest.raises(SpecError, match=f"pinned at {pins}/shared does not fit"):
        HashMap[u32, u32](4, name="shared", pinned=True).load()


def test_what_is_pinned_outlives_a_process_that_is_killed(pins: str) -> None:
    source = (
        "import os, signal\n"
        "from beewire.bpf import HashMap, u32, u64\n"
        "hits = HashMap[u32, u64](4, name='hits')\n"
        "kept, lost = hits.load(), hits.load()\n"
        f"kept.pin('{pins}/kept')\n"
        "kept[1] = 5\n"
        "print(kept.info.id, lost.info.id, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=False
    )
    kept, lost = map(int, done.stdout.split())

    assert done.returncode == -signal.SIGKILL
    with HashMap[u32, u64](4).open(f"{pins}/kept") as table:
        assert (table.info.id, table.to_dict()) == (kept, {1: 5})
    with pytest.raises(KernelError):
        Map.from_id(lost)


class Longer(Struct):
    packets: u64
    errors: u64


class Moved(Struct):
    sizes: list[int] = array(u32, 2)
    packets: u64


class Other(Struct):
    packets: u64
    sizes: u64


@pytest.mark.parametrize(
    ("declared", "why"),
    [
        (LruHash[u32, Stats](16), "kind is HASH, the program expects LRU_HASH"),
        (HashMap[u64, Stats](16), "key_size is 4, the program expects 8"),
        (HashMap[u32, u64](16), "value_size is 16, the program expects 8"),
        (HashMap[u32, Stats](17), "max_entries is 16, the program expects 17"),
        (HashMap[u32, Stats](16, flags=1), "map_flags is 0x0, the program expects 0x1"),
        (
            HashMap[u32, Longer](16),
            "the value has no field 'errors'; it has packets, sizes",
        ),
        (
            HashMap[u32, Moved](16),
            "the place of field 'sizes' of the value is byte 8, the program expects by",
        ),
        (
            HashMap[u32, Other](16),
            "field 'sizes' of the value is an array of 2 elements, the program expects",
        ),
    ],
)
def test_a_pinned_map_that_does_not_fit_says_in_what(
    declared: HashMap[int, object],
    why: str,
    pins: str,
    open_descriptors: Callable[[], int],
) -> None:
    with hits.load() as table:
        table.pin(f"{pins}/hits")
    before = open_descriptors()

    with pytest.raises(
        SpecError, match=f"pinned at {pins}/hits does not fit .*: {why}"
    ):
        declared.open(f"{pins}/hits")
    assert open_descriptors() == before


def test_what_is_not_pinned_is_told(pins: str) -> None:
    with pytest.raises(KernelError, match="none does not exist"):
        hits.open(f"{pins}/none")
