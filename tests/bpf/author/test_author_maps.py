"""Declared maps before anything is loaded: their types, and what they refuse."""

import copy

import pytest

from beewire.bpf import (
    Array,
    Global,
    HashMap,
    LpmTrie,
    PerCpuArray,
    RingBuf,
    SkStorage,
    SockHash,
    SockMap,
    Struct,
    array,
    chars,
    u8,
    u32,
    u64,
)
from beewire.bpf.author.collection import map_spec
from beewire.bpf.object import MapKind
from beewire.errors import MapError, SpecError


class Key(Struct):
    port: u32
    name: str = chars(12)


class Prefix(Struct):
    bits: u32
    address: bytes = array(u8, 4)


table = HashMap[Key, u64](max_entries=64, name="table")


def test_the_subscript_gives_key_and_value() -> None:
    spec = map_spec(table)

    assert (spec.name, spec.kind, spec.max_entries) == ("table", MapKind.HASH, 64)
    assert (spec.key_size, spec.value_size) == (16, 8)


def test_an_array_takes_its_value_only() -> None:
    spec = map_spec(Array[Key](max_entries=3))

    assert (spec.kind, spec.key_size, spec.value_size) == (MapKind.ARRAY, 4, 16)


def test_a_trie_asks_for_memory_when_it_needs_it() -> None:
    assert map_spec(LpmTrie[Prefix, u32](max_entries=8)).flags == 1


def test_storage_is_keyed_by_descriptors_and_has_no_size() -> None:
    spec = map_spec(SkStorage[Key]())

    assert (spec.key_size, spec.value_size, spec.max_entries) == (4, 16, 0)


def test_maps_of_sockets_hold_cookies() -> None:
    assert map_spec(SockMap[u32](max_entries=2)).value_size == 8
    assert map_spec(SockHash[Key](max_entries=2)).key_size == 16


def test_a_ring_has_neither_key_nor_value() -> None:
    spec = map_spec(RingBuf[Key](size=8192))

    assert (spec.key_size, spec.value_size, spec.max_entries) == (0, 0, 8192)


@pytest.mark.parametrize("size", [0, 1000, 4095, 12288])
def test_a_ring_of_an_impossible_size_is_refused(size: int) -> None:
    with pytest.raises(SpecError, match=f"a ring buffer of {size} bytes"):
        RingBuf[Key](size=size)


def test_a_map_without_types_is_refused() -> None:
    bare = HashMap(max_entries=3)  # type: ignore[var-annotated]  # that is the mistake

    with pytest.raises(
        SpecError, match=r"write HashMap\[key, value\]\(...\) with types"
    ):
        map_spec(bare)


def test_a_value_without_a_fixed_size_is_refused() -> None:
    with pytest.raises(SpecError, match="the value of HashMap: int has no fixed size"):
        map_spec(HashMap[u32, int](max_entries=3))


def test_a_map_used_before_anything_is_attached_says_what_to_do() -> None:
    with pytest.raises(MapError, match="HashMap table is not in the kernel: attach a"):
        table[Key(port=1, name="x")] = 5


def test_lookup_is_for_programs() -> None:
    with pytest.raises(MapError, match=r"write table.get\(3\)"):
        Array[u64](max_entries=4, name="table").lookup(3)


def test_a_per_cpu_lookup_is_for_programs() -> None:
    with pytest.raises(MapError, match=r"write counters.get\(3\)"):
        PerCpuArray[u64](max_entries=4, name="counters").lookup(3)


def test_reserve_is_for_programs() -> None:
    with pytest.raises(MapError, match=r"events.reserve\(\) works in programs only"):
        RingBuf[Key](name="events").reserve()


def test_a_global_used_before_anything_is_attached_says_what_to_do() -> None:
    limit = Global(u32, 7, name="limit")

    with pytest.raises(MapError, match="global limit is not in the kernel: attach a"):
        assert limit.value


def test_a_field_that_a_global_does_not_have_is_an_attribute_error() -> None:
    settings = Global(Prefix, name="settings")

    with pytest.raises(AttributeError, match="global settings has no field 'prot'"):
        assert settings.prot  # type: ignore[attr-defined]  # that is the mistake


def test_a_field_that_a_global_does_not_have_cannot_be_set() -> None:
    settings = Global(Prefix, name="settings")

    with pytest.raises(AttributeError, match="global settings has no field 'prot'"):
        settings.prot = 1  # type: ignore[attr-defined]  # that is the mistake


def test_a_declared_global_can_be_copied() -> None:
    assert copy.deepcopy(Global(u32, 7, name="limit")).name == "limit"  # type: ignore[attr-defined]  # of the declaration


def test_a_global_whose_field_hides_the_declaration_is_refused() -> None:
    class Named(Struct):
        name: str = chars(8)

    with pytest.raises(SpecError, match="cannot have a field 'name'"):
        Global(Named)


def test_maps_are_told_apart_by_identity() -> None:
    assert Array[u64](max_entries=4) != Array[u64](max_entries=4)
    assert table
