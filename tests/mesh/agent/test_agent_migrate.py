"""Entries carried over into a map of another layout, field by field."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beewire.bpf import Array, HashMap, PerCpuHash, Struct, array, u8, u16, u32, u64
from beewire.bpf.btf import types as btf
from beewire.errors import MeshError
from beewire.mesh.agent.migrate import carry_over, converter

U16, U32, U64 = (btf.Int(f"u{8 * size}", size) for size in (2, 4, 8))


class Old(Struct):
    first: u32
    dropped: u64 = 9
    list_: list[u32] = array(u32, 4, default=0)
    small: u8 = 0


class New(Struct):
    small: u16
    added: u64 = 7
    list_: list[u32] = array(u32, 6, default=0)
    first: u64 = 0


old_map = HashMap[u32, Old](max_entries=8, name="carried")
new_map = HashMap[u64, New](max_entries=8, name="carried")
tiny_map = HashMap[u64, New](max_entries=1, name="carried")
old_counts = PerCpuHash[u64, Old](max_entries=8, name="counted")
new_counts = PerCpuHash[u64, New](max_entries=8, name="counted")
indexed = Array[Old](max_entries=2, name="carried")


@pytest.mark.kernel
def test_fields_are_found_by_their_names() -> None:
    with old_map.load() as old, new_map.load() as new:
        old[3] = Old(first=1, list_=[1, 2, 3, 4], small=200)

        assert carry_over(old.live, new.live) == 1

        assert dict(new) == {
            3: New(small=200, added=0, list_=[1, 2, 3, 4, 0, 0], first=1)
        }


@pytest.mark.kernel
def test_each_cpu_keeps_its_value() -> None:
    with old_counts.load() as old, new_counts.load() as new:
        old[5] = Old(first=6)

        carry_over(old.live, new.live)

        assert {each.first for each in new[5]} == {6}


@pytest.mark.kernel
def test_a_map_that_is_too_small_is_told() -> None:
    with old_map.load() as old, tiny_map.load() as tiny:
        old.update({1: Old(first=1), 2: Old(first=2)})

        with pytest.raises(MeshError, match="no room"):
            carry_over(old.live, tiny.live)


@pytest.mark.kernel
def test_another_kind_of_map_is_told() -> None:
    with (
        old_map.load() as old,
        indexed.load() as new,
        pytest.raises(MeshError, match="was a HASH, and is a ARRAY"),
    ):
        carry_over(old.live, new.live)


@given(st.integers(0, 2**32 - 1))
def test_an_integer_keeps_its_value_where_it_fits(value: int) -> None:
    wider = converter(U32, U64, 8)
    narrower = converter(U32, U16, 2)
    data = value.to_bytes(4, "little")

    assert int.from_bytes(wider(data), "little") == value
    assert int.from_bytes(narrower(data), "little") == value & 0xFFFF


@given(st.binary(min_size=1, max_size=16), st.integers(1, 16))
def test_without_types_bytes_are_cut_or_filled(data: bytes, size: int) -> None:
    made = converter(None, None, size)(data)

    assert len(made) == size
    assert made.rstrip(b"\0") == data[:size].rstrip(b"\0")


def test_a_bit_field_is_refused() -> None:
    struct = btf.Struct("flags", 4, (btf.Member("bit", U32, 0, 1),))

    with pytest.raises(MeshError, match="bit-field"):
        converter(struct, struct, 4)
