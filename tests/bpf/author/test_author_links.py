"""Links of tracing programs as Python programs have them: cookies, targets, replacing."""

import os
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from beewire.bpf import load
from beewire.bpf.kernel import cgroup2_mount, features
from beewire.bpf.object import AttachKind
from beewire.errors import (
    AttachError,
    KernelError,
    NotPermitted,
    NotSupported,
    SpecError,
    VerifierError,
)
from tests.bpf.lang.test_lang_kernel import cell
from tests.cgroups import remove

pytestmark = pytest.mark.kernel

HEAD = """
from beewire.bpf import *
class task_struct(Kernel):
    pid: i32
    tgid: i32
class bpf_map(Kernel):
    id: u32
class cgroup(Kernel):
    level: i32
class sock(Kernel):
    sk_mark: u32
cookies = HashMap[u64, u64](8)
hits = Global(u32)
"""
COOKIE = "    cookies[attach_cookie()] = 1\n"


def names_of(text: str) -> dict[str, Any]:
    return cell(HEAD + text)


HOOKS = {
    "tracepoint": '@tracepoint("sched:sched_process_exec")\n'
    "def program(ctx: Tracepoint) -> None:\n",
    "raw_tracepoint": '@raw_tracepoint("sched_process_exec")\n'
    "def program(ctx: RawTracepoint) -> None:\n",
    "tp_btf": '@tp_btf("sched_process_exec")\n'
    "def program(task: task_struct) -> None:\n",
}


@pytest.mark.parametrize("hook", HOOKS)
def test_a_program_is_told_its_cookie(hook: str) -> None:
    names = names_of(HOOKS[hook] + COOKIE)
    try:
        loaded = load([names["program"]])
    except VerifierError:
        pytest.skip(f"this kernel has no cookies of {hook} programs")
    with loaded:
        try:
            link = loaded[names["program"]].attach(cookie=1 << 40)
        except NotSupported as error:
            assert "cookies of" in str(error)  # noqa: PT017
            return
        with link:
            subprocess.run(["true"], check=True)

        assert list(loaded[names["cookies"]]) == [1 << 40]
        assert link.cookie == 1 << 40


def test_a_function_of_its_own_is_not_asked_for_a_cookie() -> None:
    names = names_of(
        '@uprobe("libc:getppid")\ndef program(number: u64) -> None:\n' + COOKIE
    )
    text = names["program"].disassemble()

    assert "get_attach_cookie" in text


# Iterators.

WALK = r"""
@iter("bpf_map_elem")
def program(meta: bpf_iter_meta, map: bpf_map | None, key: u64, value: u64) -> None:
    if map is not None:
        seq_printf(meta.seq, f"{map.id}\n")
"""
TASKS = r"""
@iter("task")
def program(meta: bpf_iter_meta, task: task_struct | None) -> None:
    if task is not None:
        seq_printf(meta.seq, f"{task.tgid} {task.pid}\n")
"""
CGROUPS = r"""
@iter("cgroup")
def program(meta: bpf_iter_meta, group: cgroup | None) -> None:
    if group is not None:
        seq_printf(meta.seq, f"{group.level}\n")
"""


@pytest.fixture
def tree() -> Any:
    """A cgroup with a child."""
    mount = cgroup2_mount()
    if not mount:
        pytest.skip("cgroup2 is not mounted")
    outer = Path(mount) / f"bw-walk-{os.getpid()}"
    (outer / "inner").mkdir(parents=True)
    yield str(outer)
    remove(outer / "inner")
    remove(outer)


def test_an_iterator_of_a_process_walks_its_threads() -> None:
    program = names_of(TASKS)["program"]
    ready = threading.Event()
    thread = threading.Thread(target=ready.wait)
    thread.start()
    try:
        rows = [line.split() for line in program.read(pid=os.getpid()).splitlines()]
        alone = program.read(tid=os.getpid()).split()
    except AttachError:
        pytest.skip("this kernel has no iterators of one process")
    finally:
        ready.set()
        thread.join()

    mine = str(os.getpid()).encode()
    assert len(rows) >= 2
    assert {row[0] for row in rows} == {mine}
    assert alone == [mine, mine]


@pytest.mark.parametrize(
    ("order", "steps"),
    [("self", [0]), ("down", [0, 1]), ("up_from_leaves", [1, 0])],
)
def test_an_iterator_of_cgroups_walks_a_tree(
    tree: str, order: str, steps: list[int]
) -> None:
    program = names_of(CGROUPS)["program"]
    try:
        levels = [int(line) for line in program.read(cgroup=tree, order=order).split()]
    except AttachError as error:
        if "no hook" in str(error) or "types have no" in str(error):
            pytest.skip("this kernel has no iterators of cgroups")
        raise

    assert [level - min(levels) for level in levels] == steps


def test_a_target_that_is_none_is_told(tree: str) -> None:
    program = names_of(TASKS)["program"]

    with pytest.raises(AttachError, match="order='sideways' is none of cgroup walks"):
        program.read(cgroup=tree, order="sideways")
    with pytest.raises(AttachError, match="cannot walk the cgroup /nowhere: no such"):
        program.read(cgroup="/nowhere")


def test_the_elements_of_a_map_are_walked() -> None:
    names = names_of(
        WALK
        + """
@tracepoint("sched:sched_process_exec")
def filler(ctx: Tracepoint) -> None:
    cookies[1] = 1
"""
    )
    with load([names["program"], names["filler"]]) as loaded:
        table = loaded[names["cookies"]]
        table.update({1: 1, 2: 2, 3: 3})
        lines = loaded[names["program"]].read(map=table).split()

    assert len(lines) == 3 + 1  # once more at the end
    assert len(set(lines)) == 1


def test_an_iterator_can_be_given_another_program() -> None:
    first, second = names_of(TASKS), names_of(TASKS.replace("{task.pid}", "other"))
    with (
        load([first["program"]]) as one,
        load([second["program"]]) as other,
        one[first["program"]].attach() as link,
    ):
        link.update(other[second["program"]].live)

        assert b"other" in link.read()
        assert link.kind == "iter"


# System calls of our own.


def test_a_syscall_program_is_run() -> None:
    names = names_of(
        """
class Request(Struct):
    a: u32
    total: u64
@syscall
def program(ctx: Request) -> int:
    ctx.total = u64(ctx.a) * 2
    return -5
"""
    )
    with load([names["program"]]) as loaded:
        result, request = loaded[names["program"]].run(names["Request"](a=21))

    assert (result, request.total) == (-5, 42)


def test_a_syscall_program_is_attached_to_nothing() -> None:
    names = names_of(
        "class Request(Struct):\n    a: u32\n"
        "@syscall\ndef program(ctx: Request) -> int:\n    return 0\n"
    )

    with pytest.raises(
        SpecError, match=r"attached to nothing: result, request = progr"
    ):
        names["program"].attach()


def test_a_writable_tracepoint_is_named_when_it_is_attached() -> None:
    names = names_of(
        '@raw_tracepoint_writable("no_such_event")\n'
        "def program(ctx: RawTracepoint) -> None:\n    hits.value = 1\n"
    )
    with (
        load([names["program"]]) as loaded,
        pytest.raises(AttachError, match="no_such_event': this kernel has no such"),
    ):
        loaded[names["program"]].attach()


# Tables of struct_ops.

CALM = """
class tcp_sock(Kernel):
    snd_cwnd: u32
class {name}(StructOps, kernel="tcp_congestion_ops", link={link}):
    name: str = chars(16, default="bw_upd")

    @staticmethod
    def ssthresh(sk: sock) -> u32:
        hits.value += {step}
        return 2

    @staticmethod
    def undo_cwnd(sk: sock) -> u32:
        return kernel_ptr(sk, tcp_sock).snd_cwnd

    @staticmethod
    def init(sk: sock) -> None:
        hits.value += {step}

    @staticmethod
    def cong_avoid(sk: sock, ack: u32, acked: u32) -> None:
        kernel_ptr(sk, tcp_sock).snd_cwnd = 7
"""


def use(name: str) -> None:
    """Make a socket with this congestion control, and connect it."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket() as client,
    ):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())
        client.connect(server.getsockname())


def test_a_table_takes_the_place_of_another() -> None:
    names = names_of(
        CALM.format(name="First", link=True, step=1)
        + CALM.format(name="Second", link=True, step=1000)
    )
    with names["First"].attach() as link:
        if link.kind == "struct_ops.map":
            with pytest.raises(NotSupported, match="another program on a link of kind"):
                names["Second"].replace(link)
            return
        use("bw_upd")
        before = names["hits"].value
        names["Second"].replace(link)
        use("bw_upd")

        assert (before % 1000 > 0, before // 1000) == (True, 0)
        assert names["hits"].value >= 1000


def test_a_table_without_a_link_says_so() -> None:
    names = names_of(CALM.format(name="Alone", link=False, step=1))
    with names["Alone"].attach() as link:
        use("bw_upd")
        with pytest.raises(NotSupported, match="links of struct_ops"):
            assert link.info
    with pytest.raises(FileNotFoundError):
        use("bw_upd")

    assert link.kind == "struct_ops.map"


def test_a_table_is_registered_once() -> None:
    names = names_of(
        CALM.format(name="First", link=True, step=1)
        + CALM.format(name="Second", link=True, step=1)
    )
    with (
        names["First"].attach(),
        pytest.raises(AttachError, match="one of this name is there already"),
    ):
        names["Second"].attach()


# Functions of programs.

REPLACED = """
@subprogram(is_global=True)
def first(ctx: XdpContext) -> i32:
    return 2

@xdp
def dispatcher(ctx: XdpContext) -> int:
    return first(ctx)

@freplace(dispatcher, "first")
def replacement(ctx: XdpContext) -> int:
    hits.value += 1
    return 1
"""
PACKET = bytes(64)


def test_a_function_of_a_program_is_replaced() -> None:
    names = names_of(REPLACED)
    dispatcher, replacement = names["dispatcher"], names["replacement"]
    try:
        loaded = load([dispatcher, replacement])
    except NotPermitted:
        pytest.skip("this machine forbids programs on functions")
    with loaded:
        live = loaded[dispatcher].live
        before = live.test_run(PACKET).retval
        with loaded[replacement].attach() as link:
            during = live.test_run(PACKET).retval
        after = live.test_run(PACKET).retval

    assert (before, during, after) == (2, 1, 2)
    assert link.kind == "freplace"


WHOLE = """
@xdp
def whole(ctx: XdpContext) -> int:
    return 2

@freplace(whole)
def replacement(ctx: XdpContext) -> int:
    return 1
"""


def test_a_whole_program_is_replaced() -> None:
    names = names_of(WHOLE)
    whole, replacement = names["whole"], names["replacement"]
    try:
        loaded = load([whole, replacement])
    except NotPermitted:
        pytest.skip("this machine forbids programs on functions")
    with loaded:
        live = loaded[whole].live
        with loaded[replacement].attach():
            during = live.test_run(PACKET).retval

        assert (during, live.test_run(PACKET).retval) == (1, 2)


def test_a_function_that_is_not_there_is_told() -> None:
    names = names_of(REPLACED.replace('dispatcher, "first"', 'dispatcher, "fist"'))

    with pytest.raises(AttachError, match="no function 'fist'; did you mean 'first'"):
        load([names["dispatcher"], names["replacement"]])


def test_what_replaces_names_a_program() -> None:
    with pytest.raises(SpecError, match="@freplace takes a program"):
        names_of(REPLACED.replace('dispatcher, "first"', '"dispatcher", "first"'))


# Functions of the kernel: only where the machine lets programs onto them.

FENTRY = """
@fentry("do_sys_openat2")
def program(dfd: i32) -> None:
    cookies[attach_cookie()] = 1
"""


def test_a_function_is_entered_with_a_cookie() -> None:
    if not features.attach_kind(AttachKind.TRACE_FENTRY).available:
        pytest.skip("this machine forbids programs on functions")
    names = names_of(FENTRY)
    try:
        loaded = load([names["program"]])
    except KernelError:
        pytest.skip("this kernel has no cookies of programs on functions")
    with loaded:
        with loaded[names["program"]].attach(cookie=9) as link:
            os.close(os.open("/dev/null", os.O_RDONLY))

        assert list(loaded[names["cookies"]]) == [9]
    assert link.kind == "tracing"
