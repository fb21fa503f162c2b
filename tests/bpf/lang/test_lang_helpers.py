"""Helpers: the generated table, calls under the kernel's names, and who may call them."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from beewire.bpf import collect, helpers, load
from beewire.bpf.isa.helper_names import HELPER_NAMES
from beewire.bpf.lang import prototypes
from beewire.bpf.object.kinds import AttachKind, ProgramKind
from beewire.errors import BeewireError, Diagnostic
from tests.bpf.lang.test_lang_kernel import cell
from tests.bpf.lang.test_lang_refusals import check, xdp

CHECKOUT = Path(__file__).parent.parent.parent.parent
HEADER = Path("/usr/include/bpf/bpf_helper_defs.h")

Refuse = Callable[[str], tuple[Diagnostic, ...]]


def generator(*words: str) -> subprocess.CompletedProcess[str]:
    """Run scripts/gen_helpers.py."""
    script = CHECKOUT / "scripts" / "gen_helpers.py"
    return subprocess.run(
        [sys.executable, str(script), *words],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_table_and_the_stubs_are_what_the_facts_make() -> None:
    told = generator("--check")

    assert (told.returncode, told.stdout) == (0, "")


def test_the_facts_agree_with_libbpfs_header() -> None:
    if not HEADER.exists():
        pytest.skip(f"needs {HEADER} (libbpf-dev)")

    told = generator("--header", str(HEADER))

    assert (told.returncode, told.stdout) == (0, "the facts agree with the header\n")


def test_the_table_has_every_helper_by_name_and_by_number() -> None:
    found = [prototypes.by_number(number) for number in range(1, 212)]

    assert [row.name for row in found] == list(HELPER_NAMES[1:])
    assert [row.number for row in found] == list(range(1, 212))
    assert [prototypes.prototype(row.name) for row in found] == found


def test_dir_lists_every_helper() -> None:
    assert dir(helpers) == sorted(HELPER_NAMES[1:])


def test_a_helper_that_does_not_exist_is_said_so() -> None:
    name = "skb_stor_bytes"

    with pytest.raises(AttributeError, match="no BPF helper bpf_skb_stor_bytes"):
        getattr(helpers, name)


def test_helpers_work_in_programs_only() -> None:
    with pytest.raises(BeewireError, match="work"):
        helpers.ktime_get_ns()


def test_hooks_of_one_kind_differ_in_what_they_may_call() -> None:
    kind = ProgramKind.CGROUP_SOCK_ADDR
    bind = 1 << HELPER_NAMES.index("bind")

    connect = prototypes.callable_by(kind, AttachKind.CGROUP_INET4_CONNECT, 0)
    recvmsg = prototypes.callable_by(kind, AttachKind.CGROUP_UDP4_RECVMSG, 0)

    assert (bool(connect & bind), bool(recvmsg & bind)) == (True, False)


def test_nothing_is_refused_where_nothing_is_known() -> None:
    assert prototypes.callable_by(ProgramKind.EXT, None, 0) == prototypes.ANY


def test_a_helper_of_other_programs_is_refused_before_the_kernel_does(
    refused: Refuse,
) -> None:
    body = "«sock_ops_cb_flags_set(ctx, 1)»\nreturn XdpAction.PASS"

    check(
        refused,
        xdp(body),
        "bpf_sock_ops_cb_flags_set cannot be called in XDP programs",
        "allowed in sock_ops; since Linux 4.16",
    )


REFUSED = {
    "too few arguments": (
        "«helpers.xdp_adjust_head(ctx)»",
        "helpers.xdp_adjust_head() needs 'delta'",
        "give it the arguments that its definition names",
    ),
    "a number for a map": (
        "helpers.redirect_map(«1», 0, 0)",
        "a map is needed here, not the number 1",
        "give it an argument of that kind",
    ),
    "a size past the end of a struct": (
        "key = Key()\nhelpers.xdp_load_bytes(ctx, 0, key, «64»)",
        "len is 64, a struct (Key) has 32 bytes",
        "give it an argument of that kind",
    ),
    "what has a form of its own": (
        "«helpers.map_lookup_elem»(table, 1)",
        "helpers.map_lookup_elem() is no plain call",
        "write table.lookup(key)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_calls_are_refused(refused: Refuse, name: str) -> None:
    body, message, hint = REFUSED[name]

    check(refused, xdp(f"{body}\nreturn XdpAction.PASS"), message, hint)


HEAD = """
from beewire.bpf import *
results = Array[u64](4)
class Words(Struct):
    first: u64
    second: u64
"""


def answers(text: str, packet: bytes = bytes(range(64))) -> list[int]:
    """The results after one run of the program in `text`."""
    names: dict[str, Any] = cell(HEAD + text)
    with load([names["program"]]) as loaded:
        loaded[names["program"]].live.test_run(data_in=packet)
        return [loaded[names["results"]][i] for i in range(4)]


@pytest.mark.kernel
def test_a_packet_is_copied_by_helpers() -> None:
    text = """
@xdp
def program(ctx: XdpContext) -> None:
    words = Words()
    results[0] = u64(helpers.xdp_load_bytes(ctx, 8, words, sizeof(Words)))
    results[1] = words.first
    results[2] = helpers.xdp_get_buff_len(ctx)
"""

    assert answers(text)[:3] == [0, int.from_bytes(range(8, 16), "little"), 64]


@pytest.mark.kernel
def test_texts_and_structs_are_arguments() -> None:
    text = """
@xdp
def program(ctx: XdpContext) -> None:
    number = Words()
    results[0] = u64(helpers.strtoul("4711", 4, 0, number))
    results[1] = number.first
    results[2] = helpers.jiffies64() - jiffies()
"""

    assert answers(text)[:3] == [4, 4711, 0]


@pytest.mark.kernel
def test_constant_texts_lie_in_read_only_memory() -> None:
    text = """
class Text(Struct):
    value: str = chars(16)
class Numbers(Struct):
    first: u64
    second: u64
@xdp
def program(ctx: XdpContext) -> None:
    out = Text()
    helpers.snprintf(out, 16, "%d-%d", Numbers(first=47, second=11), 16)
    results[0] = out.value[3]
    results[1] = u64(helpers.strncmp(out, 5, "47-11") == 0)
    results[2] = u64(helpers.strncmp(out, 5, "47-12") == 0)
"""

    assert answers(text)[:3] == [ord("1"), 1, 0]


@pytest.mark.kernel
def test_a_map_is_an_argument_and_its_values_are_found() -> None:
    text = """
@xdp
def program(ctx: XdpContext) -> None:
    if (held := helpers.map_lookup_percpu_elem(counts, Index(number=1), 0)) is None:
        return
    held.value += 7
    results[0] = held.value
class Index(Struct):
    number: u32
counts = PerCpuArray[u64](4)
"""

    assert answers(text)[0] == 7


@pytest.mark.kernel
@pytest.mark.parametrize("kind", ["xdp", "cgroup_skb_egress"])
def test_every_helper_of_no_argument_loads_where_it_is_allowed(kind: str) -> None:
    mask = {
        "xdp": prototypes.callable_by(ProgramKind.XDP, AttachKind.XDP, 0),
        "cgroup_skb_egress": prototypes.callable_by(
            ProgramKind.CGROUP_SKB, AttachKind.CGROUP_INET_EGRESS, 0
        ),
    }[kind]
    rows = [prototypes.by_number(n) for n in range(1, 212) if mask >> n & 1]
    plain = [row.name for row in rows if not row.arguments and row.result[1:].isdigit()]
    calls = [f"    helpers.{name}()\n" for name in plain]
    context = {"xdp": "XdpContext", "cgroup_skb_egress": "SkBuff"}[kind]
    text = f"{HEAD}\n@{kind}\ndef program(ctx: {context}) -> None:\n{''.join(calls)}"

    load(collect([cell(text)["program"]])).close()


def test_the_running_task_is_an_object_that_the_kernel_trusts() -> None:
    text = f"""{HEAD}
class task_struct(Kernel):
    pid: i32
where = Global(u64)
@tracepoint("sched:sched_switch")
def program(ctx: Tracepoint) -> None:
    where.value = u64(helpers.task_pt_regs(current(task_struct)))
"""

    listing = cell(text)["program"].disassemble()

    assert "call bpf_get_current_task_btf#158" in listing
    assert "call bpf_get_current_task#35" not in listing
