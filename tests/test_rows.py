"""Row: what a NamedTuple promises, it keeps."""

import pickle

import pytest

from beewire.rows import Row


class Place(Row):
    """A row with a default."""

    file: str
    line: int = 1

    def text(self) -> str:
        return f"{self.file}:{self.line}"


def test_values_are_given_by_place_by_name_or_by_default() -> None:
    assert Place("a.py", 2) == Place(line=2, file="a.py") == ("a.py", 2)
    assert Place("a.py") == ("a.py", 1)


def test_fields_are_read_by_name_and_by_unpacking() -> None:
    file, line = Place("a.py", 7)

    assert (file, line) == (Place("a.py", 7).file, Place("a.py", 7).line)
    assert Place("a.py", 7).text() == "a.py:7"


def test_a_changed_copy_leaves_the_row_as_it_was() -> None:
    place = Place("a.py", 2)

    assert place._replace(line=3) == ("a.py", 3)
    assert place.line == 2


def test_a_row_is_matched_by_its_fields() -> None:
    match Place("a.py", 2):
        case Place(file, line=2):
            assert file == "a.py"
        case _:
            pytest.fail("no match")


def test_a_row_is_shown_and_travels_as_itself() -> None:
    place = Place("a.py", 2)

    assert repr(place) == "Place(file='a.py', line=2)"
    assert pickle.loads(pickle.dumps(place)) == place


@pytest.mark.parametrize("wrong", [(), ("a.py", 1, 2)])
def test_too_few_or_too_many_values_are_refused(wrong: tuple[object, ...]) -> None:
    with pytest.raises(TypeError, match="Place"):
        Place(*wrong)  # type: ignore[arg-type] # that is the point


def test_a_row_has_no_place_for_other_attributes() -> None:
    with pytest.raises(AttributeError):
        Place("a.py").colour = "red"  # type: ignore[attr-defined] # the point
