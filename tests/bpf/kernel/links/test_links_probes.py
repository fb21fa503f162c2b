"""Probes of kernel functions and of user space, in each of the ways that there are."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from beewire.bpf import load
from beewire.bpf.kernel import (
    attach_kprobe,
    attach_kprobe_multi,
    attach_uprobe,
    attach_uprobe_multi,
    functions,
    tracefs,
)
from beewire.bpf.kernel.links.probe import leftovers
from beewire.bpf.object import AttachKind, ProgramKind
from beewire.errors import AttachError, NotSupported
from tests.bpf.lang.test_lang_kernel import cell

if TYPE_CHECKING:
    from tests.bpf.kernel.conftest import Counter

pytestmark = pytest.mark.kernel

MakeCounter = Callable[..., "Counter"]
LIBC = ctypes.CDLL(None)
# A function that every kernel has, that Python reaches, and that nothing inlines.
FUNCTION, OTHER = "do_sys_openat2", "ksys_read"
HEAD = """
from beewire.bpf import *
class filename(Kernel):
    name: u64
cookies = HashMap[u64, u64](64)
"""
COUNT = """
    cookie = helpers.get_attach_cookie(ctx)
    found = cookies.lookup(cookie)
    if found is None:
        cookies[cookie] = 1
    else:
        found.value += 1
"""


def made_by(pid: int) -> list[str]:
    """The probes that a process made in tracefs, and did not take away."""
    with tracefs.open_tracefs("look for probes") as root:
        return [
            f"{kind}/{name}"
            for kind in ("kprobes", "uprobes")
            if tracefs.has(root, f"events/{kind}")
            for name in tracefs.names(root, f"events/{kind}")
            if name.startswith(f"bw_{pid}_")
        ]


def use(function: Callable[[], object], count: "Counter") -> int:
    """How often the program ran meanwhile."""
    before = count.hits
    function()
    return count.hits - before


def open_a_file() -> None:
    os.close(os.open("/dev/null", os.O_RDONLY))


@pytest.mark.usefixtures("kprobes")
@pytest.mark.parametrize("way", ["", "ioctl", "tracefs"])
@pytest.mark.parametrize("returns", [False, True])
def test_a_kprobe_runs_until_its_link_is_closed(
    counter: MakeCounter, way: str, returns: bool
) -> None:
    count = counter(ProgramKind.KPROBE)

    with attach_kprobe(count.program, FUNCTION, returns=returns, way=way) as link:
        during = use(open_a_file, count)

    assert during >= 1
    assert use(open_a_file, count) == 0
    assert link.kind == way or (not way and link.kind in ("perf_event", "ioctl"))
    assert made_by(os.getpid()) == []


@pytest.mark.usefixtures("kprobes")
def test_a_kprobe_is_at_an_instruction(counter: MakeCounter) -> None:
    count = counter(ProgramKind.KPROBE)

    # Whatever a function begins with, it has more than one byte.
    with pytest.raises(AttachError, match="not the start of an instruction"):
        attach_kprobe(count.program, FUNCTION, offset=1)
    with pytest.raises(AttachError, match="offset 0x100000 is outside of kernel func"):
        attach_kprobe(count.program, FUNCTION, offset=1 << 20)


@pytest.mark.usefixtures("kprobes")
def test_an_unknown_kernel_function_is_told_with_what_is_near(
    counter: MakeCounter,
) -> None:
    count = counter(ProgramKind.KPROBE)

    with pytest.raises(AttachError, match="no function 'do_sys_openat3'; did you mean"):
        attach_kprobe(count.program, "do_sys_openat3")


@pytest.mark.usefixtures("kprobes")
def test_a_function_where_probes_are_forbidden_is_told(counter: MakeCounter) -> None:
    count = counter(ProgramKind.KPROBE)
    forbidden = functions.forbidden()
    if not forbidden:
        pytest.skip("this kernel does not tell where probes are forbidden")
    known = [name for name, _ in functions.symbols() if name in forbidden]

    with pytest.raises(AttachError, match="the kernel forbids probes in that function"):
        attach_kprobe(count.program, known[0])


def test_a_kernel_without_kprobes_says_so(counter: MakeCounter) -> None:
    count = counter(ProgramKind.KPROBE)
    with tracefs.open_tracefs("look for kprobes") as root:
        if tracefs.has(root, "kprobe_events"):
            pytest.skip("this kernel has kprobes")

    with pytest.raises(NotSupported, match=r"built without CONFIG_KPROBE.*tracepoints"):
        attach_kprobe(count.program, FUNCTION)


def test_a_program_of_another_kind_is_no_probes(counter: MakeCounter) -> None:
    count = counter(ProgramKind.XDP)

    with pytest.raises(AttachError, match=r"'count' \(xdp\) is not for probes"):
        attach_uprobe(count.program, "libc", "getppid")


@pytest.mark.usefixtures("kprobes")
@pytest.mark.parametrize("names", ["ksys_*", (FUNCTION, OTHER)])
@pytest.mark.parametrize("way", ["", "ioctl"])
def test_many_kernel_functions_are_probed_at_once(
    counter: MakeCounter, names: Any, way: str
) -> None:
    count = counter(ProgramKind.KPROBE, AttachKind.TRACE_KPROBE_MULTI)

    with (
        open("/dev/zero", "rb", buffering=0) as file,  # noqa: PTH123 - a descriptor
        attach_kprobe_multi(count.program, names, way=way) as link,
    ):
        during = use(lambda: file.read(1), count)

    assert during >= 1
    assert use(open_a_file, count) == 0
    assert link.kind in ("kprobe.multi", "perf_event", "ioctl")


@pytest.mark.thorough
@pytest.mark.usefixtures("kprobes")
def test_an_unknown_function_among_many_is_told(counter: MakeCounter) -> None:
    count = counter(ProgramKind.KPROBE, AttachKind.TRACE_KPROBE_MULTI)

    with pytest.raises(AttachError, match="no function 'ksys_reed'; did you mean"):
        attach_kprobe_multi(count.program, [OTHER, "ksys_reed"])
    with pytest.raises(AttachError, match=r"like 'no_such_\*'"):
        attach_kprobe_multi(count.program, "no_such_*")


@pytest.mark.usefixtures("kprobes", "cookies_of_events")
def test_each_of_many_functions_has_its_cookie() -> None:
    names = cell(
        HEAD
        + f'@kprobe_multi("{FUNCTION}", "{OTHER}")\ndef program(ctx: PtRegs) -> None:\n'
        + COUNT
    )
    given = {FUNCTION: 11, OTHER: 12}
    with load([names["program"]]) as loaded:
        with loaded[names["program"]].attach(cookies=given):
            open_a_file()
            with open("/dev/zero", "rb", buffering=0) as file:  # noqa: PTH123
                file.read(1)

        assert {11, 12} <= set(loaded[names["cookies"]])


@pytest.mark.usefixtures("kprobes")
def test_a_session_runs_at_the_entry_and_at_the_return(counter: MakeCounter) -> None:
    from beewire.bpf.kernel import features  # noqa: PLC0415

    count = counter(ProgramKind.KPROBE, AttachKind.TRACE_KPROBE_SESSION, verdict=0)
    if not features.attach_kind(AttachKind.TRACE_KPROBE_SESSION).available:
        with pytest.raises(NotSupported, match=r"kprobe sessions.*6\.10"):
            attach_kprobe_multi(count.program, [FUNCTION])
        return

    with attach_kprobe_multi(count.program, [FUNCTION]) as link:
        during = use(open_a_file, count)

    assert during % 2 == 0
    assert during >= 2
    assert link.kind == "kprobe.session"


@pytest.mark.usefixtures("kprobes")
def test_arguments_of_a_kernel_function_are_in_registers() -> None:
    names = cell(
        HEAD
        + f"""
seen = HashMap[i32, u64](64)
@kprobe("{FUNCTION}")
def program(directory: i32, name: u64) -> None:
    seen[directory] = name
"""
    )
    with load([names["program"]]) as loaded:
        with loaded[names["program"]].attach():
            open_a_file()

        assert -100 in set(loaded[names["seen"]])  # AT_FDCWD


# User space.


@pytest.mark.parametrize("way", ["", "ioctl", "tracefs"])
@pytest.mark.parametrize("returns", [False, True])
def test_a_uprobe_runs_until_its_link_is_closed(
    counter: MakeCounter, way: str, returns: bool
) -> None:
    count = counter(ProgramKind.KPROBE)

    with attach_uprobe(
        count.program, "libc", "getppid", returns=returns, way=way
    ) as link:
        during = use(LIBC.getppid, count)

    assert during >= 1
    assert use(LIBC.getppid, count) == 0
    assert link.kind == way or (not way and link.kind in ("perf_event", "ioctl"))


def test_a_uprobe_of_one_process_leaves_others_alone(counter: MakeCounter) -> None:
    count = counter(ProgramKind.KPROBE)
    call = [sys.executable, "-c", "import os; os.getppid()"]

    with attach_uprobe(count.program, "libc", "getppid", pid=os.getpid()):
        others = use(lambda: subprocess.run(call, check=True), count)
        ours = use(LIBC.getppid, count)

    assert (others, ours) == (0, 1)


@pytest.mark.usefixtures("cookies_of_events")
def test_a_uprobe_has_a_cookie() -> None:
    names = cell(
        HEAD + '@uprobe("libc:getppid")\ndef program(ctx: PtRegs) -> None:\n' + COUNT
    )
    with load([names["program"]]) as loaded:
        with loaded[names["program"]].attach(pid=os.getpid(), cookie=77) as link:
            LIBC.getppid()

        assert dict(loaded[names["cookies"]]) == {77: 1}
    assert link.cookie == 77


def test_a_result_of_a_user_function_is_read() -> None:
    names = cell(
        HEAD
        + """
result = Global(i32)
@uretprobe("libc:getppid")
def program(given: i32) -> None:
    result.value = given
"""
    )
    with load([names["program"]]) as loaded:
        with loaded[names["program"]].attach(pid=os.getpid()):
            LIBC.getppid()

        assert loaded[names["result"]].value == os.getppid()


@pytest.mark.parametrize("way", ["", "ioctl", "tracefs"])
def test_many_user_functions_are_probed_at_once(counter: MakeCounter, way: str) -> None:
    count = counter(ProgramKind.KPROBE, AttachKind.TRACE_UPROBE_MULTI)

    with attach_uprobe_multi(
        count.program, "libc", ["getppid", "getuid"], way=way
    ) as link:
        during = use(lambda: (LIBC.getppid(), LIBC.getuid()), count)

    assert during >= 2
    assert use(LIBC.getuid, count) == 0
    assert link.kind in ("uprobe.multi", "perf_event", "ioctl", "tracefs")


@pytest.mark.usefixtures("cookies_of_events")
def test_many_functions_of_one_process_have_cookies() -> None:
    names = cell(
        HEAD
        + '@uprobe_multi("libc", "getppid", "getuid")\n'
        + "def program(ctx: PtRegs) -> None:\n"
        + COUNT
    )
    with load([names["program"]]) as loaded:
        cookies = {"getppid": 5, "getuid": 6}
        with loaded[names["program"]].attach(pid=os.getpid(), cookies=cookies):
            LIBC.getppid()
            LIBC.getuid()
            LIBC.getuid()

        assert dict(loaded[names["cookies"]]) == {5: 1, 6: 2}


def test_functions_of_a_file_are_found_by_a_pattern(counter: MakeCounter) -> None:
    count = counter(ProgramKind.KPROBE, AttachKind.TRACE_UPROBE_MULTI)

    with attach_uprobe_multi(count.program, "libc", "getppi?"):
        assert use(LIBC.getppid, count) >= 1
    with pytest.raises(AttachError, match=r"libc.so.6 has no function like 'nope_\*'"):
        attach_uprobe_multi(count.program, "libc", "nope_*")


MISTAKES = {
    "a misspelt function": ("libc", "getppidd", "no function 'getppidd'; did you mean"),
    "an ifunc": ("libc", "memcpy", "is chosen when the program starts"),
    "not a number": ("libc", "getppid+x", "'x' in 'getppid\\+x' is no number"),
    "no file": ("/no/such/file", "main", "/no/such/file: no such file"),
    "no library": ("libnothing", "main", "no program or library 'libnothing'"),
    "no ELF file": ("/etc/passwd", "main", "this is no ELF file"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistaken_place_is_told(counter: MakeCounter, mistake: str) -> None:
    path, function, message = MISTAKES[mistake]
    count = counter(ProgramKind.KPROBE)

    with pytest.raises(AttachError, match=message):
        attach_uprobe(count.program, path, function)


def test_a_process_that_does_not_exist_is_told(counter: MakeCounter) -> None:
    count = counter(ProgramKind.KPROBE)

    with pytest.raises(AttachError, match="there is no process 4194304"):
        attach_uprobe(count.program, "libc", "getppid", pid=1 << 22)


def test_a_program_for_one_function_is_not_for_many(counter: MakeCounter) -> None:
    count = counter(ProgramKind.KPROBE)

    with pytest.raises(AttachError, match="loaded for one function at a time"):
        attach_uprobe_multi(count.program, "libc", ["getppid"])


def test_a_place_without_a_function_is_told() -> None:
    program = cell(HEAD + "@uprobe()\ndef program(ctx: PtRegs) -> None:\n    pass\n")

    with pytest.raises(AttachError, match="'/bin/sh' is no place of a probe"):
        program["program"].attach("/bin/sh")


LEFT = """
import os, sys
from beewire.bpf.kernel import attach_uprobe, load
from beewire.bpf import uprobe, PtRegs, collect
@uprobe("libc:getppid")
def program(ctx: PtRegs) -> None:
    pass
loaded = load(collect([program]))
link = attach_uprobe(loaded.programs["program"], "libc", "getppid", way=sys.argv[1])
print(loaded.programs["program"].info().id, flush=True)
sys.stdin.read()
"""


def killed(way: str, tmp_path: Any) -> tuple[int, int]:
    """A process that attached a program and was killed: the program's id, its own."""
    script = tmp_path / "script.py"
    script.write_text(LEFT)
    with subprocess.Popen(
        [sys.executable, str(script), way],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        number = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    return number, process.pid


@pytest.mark.thorough
@pytest.mark.parametrize("way", ["", "ioctl", "tracefs"])
def test_nothing_runs_when_the_process_is_killed(
    way: str, tmp_path: Any, gone: Callable[[int], bool]
) -> None:
    number, pid = killed(way, tmp_path)

    assert gone(number)
    left = made_by(pid)
    assert [name.partition("/")[0] for name in left] == (
        ["uprobes"] if way == "tracefs" else []
    )
    assert set(left) <= set(leftovers(remove=True))
    assert made_by(pid) == []
