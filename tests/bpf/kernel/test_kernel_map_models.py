"""Maps beside a dict: whatever is done to both, they hold the same."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from beewire.bpf import (
    Array,
    HashMap,
    IPv4Prefix,
    LpmTrie,
    PerCpuHash,
    Struct,
    array,
    chars,
    i16,
    u8,
    u32,
    u64,
)
from beewire.errors import MapError, NotSupported

if TYPE_CHECKING:
    from beewire.bpf.author.maps import Deletable

pytestmark = pytest.mark.kernel

ROOM = 24


class Key(Struct):
    port: i16
    name: str = chars(3)


class Value(Struct):
    hits: u64
    last: bytes = array(u8, 3)


NUMBERS = st.integers(0, 40)
KEYS = st.builds(Key, port=st.integers(-3, 3), name=st.sampled_from(["", "a", "bcd"]))
VALUES = st.builds(
    Value, hits=st.integers(0, 2**64 - 1), last=st.binary(min_size=3, max_size=3)
)
PREFIXES = st.sampled_from([IPv4Prefix.of(f"10.{n}.0.0/{16 + n}") for n in range(16)])


def takes(table: Any) -> bool:
    """Whether this kernel takes single entries out of a hash."""
    try:
        table.take(1000)
    except NotSupported:
        return False
    return True


class Model(RuleBasedStateMachine):
    """A map with room for ROOM entries; subclasses say which, and what goes in."""

    made: Callable[[], "Deletable[Any, Any]"]
    keys: st.SearchStrategy[Any]
    values: st.SearchStrategy[Any]

    def __init__(self) -> None:
        super().__init__()
        self.map = type(self).made()
        self.model: dict[Any, Any] = {}

    def teardown(self) -> None:
        self.map.close()

    @initialize(batched=st.booleans())
    def begin(self, *, batched: bool) -> None:
        self.map.live.batched = batched

    @rule(data=st.data())
    def put(self, data: st.DataObject) -> None:
        key, value = data.draw(self.keys), data.draw(self.values)
        if key not in self.model and len(self.model) == ROOM:
            with pytest.raises(MapError, match="is full"):
                self.map[key] = value
        else:
            self.map[key] = self.model[key] = value

    @rule(data=st.data())
    def insert(self, data: st.DataObject) -> None:
        key, value = data.draw(self.keys), data.draw(self.values)
        if key in self.model or len(self.model) < ROOM:
            assert self.map.insert(key, value) == (-17 if key in self.model else 0)
            self.model.setdefault(key, value)

    @rule(data=st.data())
    def replace(self, data: st.DataObject) -> None:
        key, value = data.draw(self.keys), data.draw(self.values)
        assert self.map.replace(key, value) == (0 if key in self.model else -2)
        if key in self.model:
            self.model[key] = value

    @rule(data=st.data())
    def update(self, data: st.DataObject) -> None:
        many = data.draw(st.dictionaries(self.keys, self.values, max_size=8))
        if len(self.model | many) <= ROOM:
            self.map.update(many)
            self.model.update(many)

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        key = data.draw(self.keys)
        assert self.map.delete(key) == (0 if key in self.model else -2)
        self.model.pop(key, None)

    @rule()
    def clear(self) -> None:
        self.map.clear()
        self.model.clear()

    @rule(data=st.data())
    def get(self, data: st.DataObject) -> None:
        key = data.draw(self.keys)
        if key in self.model:
            assert self.map[key] == self.model[key]

    @invariant()
    def holds_the_same(self) -> None:
        assert self.map.to_dict() == dict(self.map.items()) == self.model
        assert len(self.map) == len(self.model)
        assert set(self.map) == set(self.model)


class Numbers(Model):
    made = HashMap[u32, u64](ROOM).load
    keys, values = NUMBERS, st.integers(0, 2**64 - 1)

    @precondition(lambda self: takes(self.map))
    @rule(key=NUMBERS)
    def take(self, key: int) -> None:
        taken = self.map.take(key)  # type: ignore[attr-defined]  # a hash has it
        assert taken == self.model.pop(key, None)

    @precondition(lambda self: takes(self.map))
    @rule()
    def drain(self) -> None:
        taken = self.map.drain()  # type: ignore[attr-defined]  # as above
        assert taken == self.model
        self.model.clear()


class Structs(Model):
    made = HashMap[Key, Value](ROOM).load
    keys, values = KEYS, VALUES


class Prefixes(Model):
    made = LpmTrie[IPv4Prefix, Value](ROOM).load
    keys, values = PREFIXES, VALUES


class OfEachCpu(Model):
    made = PerCpuHash[u32, i16](ROOM).load
    keys = NUMBERS

    @property
    def values(self) -> st.SearchStrategy[Any]:  # type: ignore[override]  # as many as CPUs
        from beewire.bpf.kernel import possible_cpus  # noqa: PLC0415 - where there are any

        count, item = possible_cpus(), st.integers(-(2**15), 2**15 - 1)
        return st.lists(item, min_size=count, max_size=count)


@pytest.mark.parametrize(
    "model", [Numbers, Structs, Prefixes, OfEachCpu], ids=lambda each: each.__name__
)
def test_a_map_holds_what_a_dict_would(model: type[Model]) -> None:
    run_state_machine_as_test(
        model,
        settings=settings(max_examples=15, stateful_step_count=20, deadline=None),
    )


def test_an_array_holds_what_a_list_would() -> None:
    with Array[Value](5).load() as values:
        wanted = [Value(hits=0, last=bytes(3)) for _ in range(5)]
        for place in (4, 0, 4):
            wanted[place] = values[place] = Value(hits=place, last=b"abc")

        assert list(values.values()) == wanted
