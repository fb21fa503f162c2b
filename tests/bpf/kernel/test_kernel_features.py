import gc
from pathlib import Path

import pytest

from beewire.bpf.kernel import features, kernel_index
from beewire.bpf.object import AttachKind, MapKind, ProgramKind
from beewire.errors import NotSupported

pytestmark = pytest.mark.kernel

MAP_LOOKUP, XDP_ADJUST_HEAD, BIND, RINGBUF_RESERVE = 1, 44, 64, 131


@pytest.mark.parametrize(
    "kind",
    [
        ProgramKind.XDP,
        ProgramKind.TRACEPOINT,
        ProgramKind.CGROUP_SOCK_ADDR,
        ProgramKind.CGROUP_SOCKOPT,
        ProgramKind.SOCK_OPS,
    ],
)
def test_program_types_that_every_kernel_in_use_has(kind: ProgramKind) -> None:
    assert features.program_type(kind).available


@pytest.mark.parametrize("kind", [MapKind.HASH, MapKind.LPM_TRIE, MapKind.SK_STORAGE])
def test_map_types_that_every_kernel_in_use_has(kind: MapKind) -> None:
    assert features.map_type(kind).available


def test_an_attach_type_is_tried_with_the_program_it_belongs_to() -> None:
    assert features.attach_kind(AttachKind.CGROUP_INET4_CONNECT).available


def test_helpers_differ_by_kind_of_program() -> None:
    assert features.helper(MAP_LOOKUP, ProgramKind.XDP).available
    assert features.helper(XDP_ADJUST_HEAD, ProgramKind.XDP).available
    assert features.helper(BIND, ProgramKind.CGROUP_SOCK_ADDR).available
    refused = features.helper(XDP_ADJUST_HEAD, ProgramKind.SOCK_OPS)
    assert not refused.available
    assert "bpf_xdp_adjust_head" in refused.reason


def test_a_helper_that_does_not_exist_has_a_reason() -> None:
    answer = features.helper(99_999, ProgramKind.XDP)

    assert not answer.available
    assert "99999" in answer.reason


@pytest.mark.parametrize("level", [1, 2, 3])
def test_instruction_sets_that_every_kernel_in_use_has(level: int) -> None:
    assert features.isa_level(level).available


def test_every_answer_has_a_name_and_every_refusal_a_reason() -> None:
    answers = features.all_features()

    assert len({answer.name for answer in answers}) == len(answers)
    assert [
        each.name for each in answers if not each.available and not each.reason
    ] == []


def test_a_kernel_without_types_is_seen(tmp_path: Path) -> None:
    answer = features.kernel_btf(str(tmp_path / "none"))

    assert not answer.available
    assert "CONFIG_DEBUG_INFO_BTF" in answer.reason


def test_an_answer_is_kept() -> None:
    assert features.jit() is features.jit()


def test_probing_leaves_no_descriptor() -> None:
    kernel_index()  # stays mapped for the life of the process
    features.helper.cache_clear()
    features.map_type.cache_clear()
    features.program_type.cache_clear()
    gc.collect()  # what other tests left in cycles is not counted
    before = len(list(Path("/proc/self/fd").iterdir()))

    features.all_features()
    features.helper(MAP_LOOKUP, ProgramKind.XDP)

    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_requiring_what_is_missing_raises_with_the_reason() -> None:
    missing = features.Feature("time travel", "9.9", available=False, reason="not yet")

    with pytest.raises(NotSupported, match=r"time travel.*since 9\.9") as caught:
        missing.require()

    assert caught.value.__notes__ == ["not yet"]
