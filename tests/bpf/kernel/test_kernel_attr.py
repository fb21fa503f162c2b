import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beewire.bpf.btf import Composite, Struct, Type, Typedef, Union
from beewire.bpf.kernel import attr, kernel_index
from beewire.bpf.kernel.attr import Record
from beewire.errors import EncodingError

# How each table is called in the kernel; the arms of bpf_attr are one union.
TABLES = {
    "MAP_CREATE": "bpf_attr",
    "MAP_ELEM": "bpf_attr",
    "MAP_BATCH": "bpf_attr",
    "PROG_LOAD": "bpf_attr",
    "BTF_LOAD": "bpf_attr",
    "OBJ": "bpf_attr",
    "TOKEN_CREATE": "bpf_attr",
    "PROG_ATTACH": "bpf_attr",
    "PROG_QUERY": "bpf_attr",
    "TEST_RUN": "bpf_attr",
    "GET_ID": "bpf_attr",
    "INFO": "bpf_attr",
    "RAW_TRACEPOINT": "bpf_attr",
    "LINK_CREATE": "bpf_attr",
    "ORDERED_LINK": "bpf_attr",
    "LINK_UPDATE": "bpf_attr",
    "LINK_DETACH": "bpf_attr",
    "MAP_INFO": "bpf_map_info",
    "PROG_INFO": "bpf_prog_info",
    "BTF_INFO": "bpf_btf_info",
    "PERF_EVENT_ATTR": "perf_event_attr",
}


def places(found: Type | None, base: int = 0) -> dict[str, set[int]]:
    """Every offset at which a structure has a member of each name, however nested."""
    while isinstance(found, Typedef):
        found = found.to
    known: dict[str, set[int]] = {}
    if not isinstance(found, Composite):
        return known
    for member in found.members:
        offset = base + member.offset_bits // 8
        known.setdefault(member.name, set()).add(offset)
        for name, offsets in places(member.type, offset).items():
            known.setdefault(name, set()).update(offsets)
    return known


def arm(found: Type | None, offsets: dict[str, int]) -> Type | None:
    """Of a union of structures, such as bpf_attr, the one that is most like `offsets`."""

    def alike(each: Type | None) -> int:
        known = places(each)
        return sum(at in known.get(name, ()) for name, at in offsets.items())

    if not isinstance(found, Union):
        return found
    return max((member.type for member in found.members), key=alike)


@pytest.mark.kernel
@pytest.mark.parametrize("table", TABLES)
def test_every_field_lies_where_the_kernel_has_it(table: str) -> None:
    offsets = getattr(attr, table).offsets()
    index = kernel_index()
    found = index.lookup(TABLES[table], Struct) or index.lookup(TABLES[table], Union)
    expected = places(arm(found, offsets))

    # Older kernels do not have the last ones yet, and take none of them.
    known = {name: at for name, at in offsets.items() if name in expected}
    wrong = {name: at for name, at in known.items() if at not in expected[name]}
    if not known:
        pytest.skip("this kernel has none of these fields")
    assert wrong == {}


def test_a_field_that_does_not_exist_is_refused() -> None:
    with pytest.raises(TypeError, match="map_kind"):
        attr.MAP_CREATE.pack(map_kind=1)


def test_bytes_fields_are_cut_and_padded_as_in_c() -> None:
    record = Record("u32 a\nchar[4] name")

    assert record.pack(a=1, name=b"ab") == struct.pack("=I4s", 1, b"ab")


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))
def test_what_is_packed_is_unpacked(key_size: int, extra: int) -> None:
    packed = attr.MAP_CREATE.pack(key_size=key_size, map_extra=extra)

    fields = attr.MAP_CREATE.unpack(packed)

    assert fields["key_size"] == key_size
    assert fields["map_extra"] == extra
    assert len(packed) == attr.MAP_CREATE.size


def test_a_number_that_does_not_fit_is_named() -> None:
    with pytest.raises(
        EncodingError, match="max_entries is a number of 4 bytes, not -1"
    ):
        attr.MAP_CREATE.pack(key_size=4, max_entries=-1)
