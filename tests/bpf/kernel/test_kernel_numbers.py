"""Numbers and records that are typed in are the kernel's."""

import pytest

from beewire.bpf.btf import Enum, Struct, Union
from beewire.bpf.kernel import attr, kernel_index
from beewire.bpf.kernel.attr import Record
from beewire.bpf.kernel.links import records
from beewire.bpf.kernel.links.kinds import LinkKind
from beewire.bpf.kernel.syscall import Cmd
from beewire.bpf.kernel.versions import LINK_TYPES
from beewire.enums import WireEnum
from tests.bpf.kernel.test_kernel_attr import places

pytestmark = pytest.mark.kernel

LINK_INFO = {
    name: record for name, record in vars(records).items() if isinstance(record, Record)
}
ATTRIBUTES = {
    "task_fd_query": attr.TASK_FD_QUERY,
    "kprobe_multi": attr.KPROBE_MULTI_LINK,
    "uprobe_multi": attr.UPROBE_MULTI_LINK,
}
# Fields that the kernel calls otherwise, or that are members of a nested union.
# Cookies are told by some kinds of links since Linux 6.16 only; they are 0 before.
OURS = {"cookie", "event", "perf_type", "link_flags"}


def numbers(enum: str, prefix: str) -> dict[str, int]:
    node = kernel_index().lookup(enum, Enum)
    values = node.values if node else ()
    return {
        value.name.removeprefix(prefix): value.value
        for value in values
        if value.name.startswith(prefix)
    }


@pytest.mark.parametrize(
    ("ours", "enum", "prefix"),
    [(Cmd, "bpf_cmd", "BPF_"), (LinkKind, "bpf_link_type", "BPF_LINK_TYPE_")],
)
def test_every_number_that_the_kernel_knows_is_ours(
    ours: type[WireEnum], enum: str, prefix: str
) -> None:
    known = numbers(enum, prefix)

    wrong = {
        each.name: (int(each), known[each.name])
        for each in ours
        if each.name in known and known[each.name] != each
    }
    assert known
    assert wrong == {}


def test_types_of_links_have_the_names_that_the_kernel_gives_them() -> None:
    known = numbers("bpf_link_type", "BPF_LINK_TYPE_")

    assert {
        name: number
        for number, (name, _) in LINK_TYPES.items()
        if name in known and known[name] != number
    } == {}


def need(name: str) -> None:
    """Skip where the kernel has no such kind of link: others have fields of that name."""
    links, attached = "BPF_LINK_TYPE_", "BPF_TRACE_"
    known = {
        **numbers("bpf_link_type", links),
        **numbers("bpf_attach_type", attached),
        # What perf events tell came with Linux 6.6.
        **numbers("bpf_perf_event_type", "BPF_"),
    }
    wanted = {"INTERFACE": "TCX", "HEAD": "TRACING"}.get(name.upper(), name.upper())
    if wanted not in known and wanted not in {"QUERY", "TASK_FD_QUERY"}:
        pytest.skip("the kernel has no such links")


@pytest.mark.parametrize("name", LINK_INFO)
def test_what_links_tell_lies_where_the_kernel_puts_it(name: str) -> None:
    need("PERF_EVENT_TRACEPOINT" if name.startswith("PERF_") else name)
    expected = places(kernel_index().lookup("bpf_link_info", Struct))

    offsets = LINK_INFO[name].offsets()

    known = {
        field: at
        for field, at in offsets.items()
        if field in expected and field not in OURS
    }
    wrong = {f: at for f, at in known.items() if at not in expected[f]}
    assert wrong == {}
    assert {"type", "id", "prog_id"} <= known.keys()


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_what_is_asked_lies_where_the_kernel_reads_it(name: str) -> None:
    need(name)
    expected = places(kernel_index().lookup("bpf_attr", Union))

    offsets = ATTRIBUTES[name].offsets()

    asked = {field: at for field, at in offsets.items() if field not in OURS}
    # Older kernels know fewer fields.
    wrong = {f: at for f, at in asked.items() if at not in expected.get(f, {at})}
    assert wrong == {}
