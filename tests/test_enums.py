"""WireEnum behaves as IntEnum does, as far as the toolkit uses it."""

import copy
import pickle
from collections.abc import Callable
from enum import IntEnum

import pytest

from beewire.bpf.object import AttachKind, MapKind, ProgramKind
from beewire.enums import WireEnum

Show = Callable[[object], str]


class Colour(WireEnum):
    """As the toolkit declares them."""

    RED = 1
    GREEN = 5


class Plain(IntEnum):
    """The same, by Python's own means."""

    RED = 1
    GREEN = 5


def test_a_member_is_its_number() -> None:
    assert {5: "green"}[Colour.GREEN] == "green"
    assert Colour.GREEN + 1 == 6


def test_a_member_knows_its_name_and_value() -> None:
    assert (Colour.GREEN.name, Colour.GREEN.value) == ("GREEN", 5)


@pytest.mark.parametrize("show", [str, "{}".format, "%d".__mod__])
def test_a_member_prints_as_an_intenum_prints(show: Show) -> None:
    assert show(Colour.GREEN) == show(Plain.GREEN)


def test_repr_names_class_member_and_number() -> None:
    assert repr(Colour.GREEN) == "<Colour.GREEN: 5>"


def test_a_number_leads_to_its_member() -> None:
    assert Colour(5) is Colour.GREEN


def test_a_number_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="7 is no Colour"):
        Colour(7)


def test_a_name_leads_to_its_member() -> None:
    assert Colour["GREEN"] is Colour.GREEN


@pytest.mark.parametrize("word", ["BLUE", "__doc__"])
def test_a_name_that_is_no_member_is_refused(word: str) -> None:
    with pytest.raises(KeyError, match=word):
        Colour[word]


def test_members_come_in_the_order_of_their_declaration() -> None:
    assert list(Colour) == [Colour.RED, Colour.GREEN]


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_is_the_member_itself(copied: Callable[[MapKind], MapKind]) -> None:
    assert copied(MapKind.HASH) is MapKind.HASH


def test_a_pickled_member_comes_back_as_itself() -> None:
    assert pickle.loads(pickle.dumps(MapKind.HASH)) is MapKind.HASH


@pytest.mark.parametrize("kinds", [MapKind, ProgramKind, AttachKind])
def test_no_number_has_two_names(kinds: type[WireEnum]) -> None:
    words = [word for word in vars(kinds) if word.isupper()]

    assert len(words) == len(list(kinds))
