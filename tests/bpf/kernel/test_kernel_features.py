import gc
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from beewire.bpf.btf import Enum
from beewire.bpf.kernel import features, kernel_index
from beewire.bpf.kernel.features import ATTACH_KINDS, Answer, MapFlag
from beewire.bpf.object import AttachKind, MapKind, ProgramKind
from beewire.errors import NotPermitted, NotSupported, UsageError

Run = Callable[..., subprocess.CompletedProcess[str]]

# Ends all privileges of a process that has imported what it needs.
UNPRIVILEGED = """
import os
from beewire.bpf import features as f
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
"""

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


def test_probing_leaves_no_descriptor() -> None:
    kernel_index()  # stays mapped for the life of the process
    features.forget()
    gc.collect()  # what other tests left in cycles is not counted
    gc.collect()
    before = len(list(Path("/proc/self/fd").iterdir()))

    features.all_features()
    features.helper(MAP_LOOKUP, ProgramKind.XDP)

    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_requiring_what_is_missing_raises_with_the_reason() -> None:
    missing = features.Feature("time travel", "9.9", features.Answer.NO, "not yet")

    with pytest.raises(NotSupported, match=r"time travel.*since 9\.9") as caught:
        missing.require()

    assert caught.value.__notes__ == ["not yet"]


def test_nothing_is_said_to_be_there_that_the_kernel_itself_does_not_list() -> None:
    listed = {
        value.name
        for enum in ("bpf_prog_type", "bpf_map_type", "bpf_attach_type")
        if (node := kernel_index().lookup(enum, Enum)) is not None
        for value in node.values
    } | {f"BPF_MAP_TYPE_{word}CGROUP_STORAGE" for word in ("", "PERCPU_")}
    there = (
        *(
            f"BPF_PROG_TYPE_{k.name}"
            for k in ProgramKind
            if k and features.program_type(k)
        ),
        *(f"BPF_MAP_TYPE_{k.name}" for k in MapKind if k and features.map_type(k)),
        *(f"BPF_{k.name}" for k in AttachKind if features.attach_kind(k)),
    )

    assert [name for name in there if name not in listed] == []


def test_a_kind_is_there_only_where_its_type_of_program_is() -> None:
    wrong = [
        kind.name
        for kind, (program, _) in ATTACH_KINDS.items()
        if features.attach_kind(kind) and not features.program_type(program)
    ]

    assert wrong == []


def test_tables_of_operations_can_be_created_where_programs_for_them_load() -> None:
    program = features.program_type(ProgramKind.STRUCT_OPS)

    assert program.answer is features.map_type(MapKind.STRUCT_OPS).answer


def test_flags_belong_to_kinds_of_maps() -> None:
    assert features.map_flag(MapFlag.MMAPABLE)
    assert features.map_flag(MapFlag.MMAPABLE, MapKind.ARRAY)
    assert not features.map_flag(MapFlag.MMAPABLE, MapKind.HASH)
    assert MapFlag.NO_PREALLOC in features.map_flags(MapKind.HASH)
    assert MapFlag.NO_PREALLOC not in features.map_flags(MapKind.ARRAY)


def test_helpers_are_told_all_at_once_as_they_are_one_by_one() -> None:
    features.forget()
    single = {
        name: features.helper(name, ProgramKind.XDP).available
        for name in ("map_lookup_elem", "xdp_adjust_head", "bind", "ktime_get_ns")
    }

    names = features.helpers(ProgramKind.XDP)

    assert {name: name in names for name in single} == single
    assert features.helper("bpf_xdp_adjust_head", ProgramKind.XDP).since == "4.10"
    refused = features.helper("bind", ProgramKind.XDP)
    assert (refused.answer, "bpf_bind" in refused.reason) == (Answer.NO, True)


def test_a_helper_that_nobody_has_heard_of_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="there is no helper 'nonsense'"):
        features.helper("nonsense", ProgramKind.XDP)


def test_kernel_functions_differ_by_type_of_program() -> None:
    if not features.kfunc("bpf_iter_num_new"):
        pytest.skip("the kernel has no open-coded iterators")

    assert features.kfunc("bpf_iter_num_new", ProgramKind.XDP)
    refused = features.kfunc("tcp_reno_ssthresh", ProgramKind.XDP)
    assert refused.answer is Answer.NO
    assert refused.reason


def test_a_function_of_the_kernel_that_is_not_for_programs_is_none() -> None:
    assert features.kfunc("vfs_read").answer is Answer.NO
    assert features.kfunc("bw_no_such_function").answer is Answer.NO


@pytest.mark.host
def test_what_needs_a_capability_is_unknown_without_it(python: Run) -> None:
    told = python(
        "-c",
        UNPRIVILEGED
        + "for each in (f.map_type(f.MapKind.HASH), f.program_type(f.ProgramKind.XDP),"
        " f.attach_kind(f.AttachKind.CGROUP_INET4_CONNECT), f.btf('floats'), f.isa_level(2),"
        " f.helper('map_lookup_elem', f.ProgramKind.XDP)):"
        " print(each.answer.value, each.reason, sep=': ')\n"
        "print(f.helpers(f.ProgramKind.XDP))",
    )

    assert told.stdout.splitlines() == [
        "unknown: missing CAP_BPF",
        "unknown: missing CAP_BPF and CAP_NET_ADMIN",
        "unknown: missing CAP_BPF and CAP_NET_ADMIN",
        "unknown: missing CAP_BPF",
        "unknown: missing CAP_BPF",
        "unknown: missing CAP_BPF and CAP_NET_ADMIN",
        "()",
    ], told.stderr


def test_requiring_what_could_not_be_asked_says_what_is_missing() -> None:
    asked = features.Feature("ring buffers", "5.8", Answer.UNKNOWN, "missing CAP_BPF")

    with pytest.raises(NotPermitted, match="missing CAP_BPF"):
        asked.require()


def test_a_feature_is_true_where_the_answer_is_yes() -> None:
    assert features.Feature("one", "", Answer.YES)
    assert not features.Feature("one", "", Answer.NO)
    assert not features.Feature("one", "", Answer.UNKNOWN)
