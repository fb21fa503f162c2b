import pytest

from beewire.bpf.object import FEATURES, Target, parse_target
from beewire.errors import SpecError


def test_a_target_has_its_level_and_those_below() -> None:
    target = Target(3)

    assert [target.at_least(level) for level in (1, 2, 3, 4)] == [True] * 3 + [False]


def test_a_target_has_the_features_that_it_is_given() -> None:
    target = Target(4, ["may_goto"])

    assert [name for name in FEATURES if target.has(name)] == ["may_goto", "fetch"]


def test_the_portable_target_is_linux_5_17() -> None:
    assert [name for name in FEATURES if Target().has(name)] == ["bpf_loop", "fetch"]


def test_a_command_line_names_a_target() -> None:
    assert repr(parse_target("v2")) == "Target(2, ['bpf_loop', 'fetch'])"
    assert repr(parse_target("v4, may_goto")) == "Target(4, ['fetch', 'may_goto'])"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v5", "there is no instruction set v5, only v1 to v4"),
        ("fast", "a target begins with v1, v2, v3 or v4, not 'fast'"),
        ("v3,goto", "no kernel has 'goto': features are may_goto, iterators"),
    ],
)
def test_what_names_no_target_is_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse_target(text)
