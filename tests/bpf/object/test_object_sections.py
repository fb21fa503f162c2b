import pytest

from beewire.bpf.object import (
    AttachKind,
    Hook,
    ProgramKind,
    parse_section,
    section_name,
)
from beewire.bpf.object.sections import _TABLE
from beewire.errors import SpecError

TARGET = {
    "tracepoint/sched/sched_process_exec": Hook(
        ProgramKind.TRACEPOINT, None, "sched/sched_process_exec"
    ),
    "kprobe/do_unlinkat": Hook(ProgramKind.KPROBE, None, "do_unlinkat"),
    "raw_tracepoint/sched_switch": Hook(
        ProgramKind.RAW_TRACEPOINT, None, "sched_switch"
    ),
    "tp_btf/sched_switch": Hook(
        ProgramKind.TRACING, AttachKind.TRACE_RAW_TP, "sched_switch"
    ),
    "lsm.s/file_open": Hook(ProgramKind.LSM, AttachKind.LSM_MAC, "file_open", 16),
    "iter/task": Hook(ProgramKind.TRACING, AttachKind.TRACE_ITER, "task"),
    "cgroup/connect4": Hook(
        ProgramKind.CGROUP_SOCK_ADDR, AttachKind.CGROUP_INET4_CONNECT
    ),
    "cgroup/getsockopt": Hook(ProgramKind.CGROUP_SOCKOPT, AttachKind.CGROUP_GETSOCKOPT),
    "sockops": Hook(ProgramKind.SOCK_OPS, AttachKind.CGROUP_SOCK_OPS),
    "sk_lookup": Hook(ProgramKind.SK_LOOKUP, AttachKind.SK_LOOKUP),
    "xdp.frags": Hook(ProgramKind.XDP, AttachKind.XDP, "", 32),
    "tc": Hook(ProgramKind.SCHED_CLS),
}


@pytest.mark.parametrize("name", TARGET)
def test_a_section_names_a_hook(name: str) -> None:
    assert parse_section(name) == TARGET[name]


@pytest.mark.parametrize("name", TARGET)
def test_a_hook_has_a_section(name: str) -> None:
    assert section_name(*TARGET[name]) == name


@pytest.mark.parametrize("pattern", [row[0] for row in _TABLE])
def test_every_section_is_parsed_and_named_again(pattern: str) -> None:
    hook = parse_section(pattern.replace("+", "/target"))

    assert parse_section(section_name(*hook)) == hook


@pytest.mark.parametrize(
    ("alias", "hook"),
    [
        ("tp/a/b", Hook(ProgramKind.TRACEPOINT, None, "a/b")),
        ("raw_tp/a", Hook(ProgramKind.RAW_TRACEPOINT, None, "a")),
        ("classifier", Hook(ProgramKind.SCHED_CLS)),
        ("kretprobe/f", Hook(ProgramKind.KPROBE, None, "f")),
        ("fentry", Hook(ProgramKind.TRACING, AttachKind.TRACE_FENTRY)),
    ],
)
def test_an_alias_names_the_same_hook(alias: str, hook: Hook) -> None:
    assert parse_section(alias) == hook


@pytest.mark.parametrize("name", ["", "nonsense", "xdp/eth0", "tracepointx/a", "tc/"])
def test_what_libbpf_does_not_know_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match="knows no section"):
        parse_section(name)


def test_a_hook_without_a_section_is_refused() -> None:
    with pytest.raises(SpecError, match="no section for XDP"):
        section_name(ProgramKind.XDP, AttachKind.XDP, "eth0")
