"""The surface as a type checker sees it: correct programs pass, mistakes are found."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

GOOD = """
from beewire.bpf import (
    Global, HashMap, Kernel, PerCpuArray, RingBuf, SkStorage, SockAddr, SockHash, SockOps,
    Struct, Tracepoint, XdpAction, XdpContext, array, chars, collect, connect4, current,
    current_tgid, i32, ktime_ns, load, sock_ops, tracepoint, u16, u32, u64, xdp,
)

class Exec(Struct):
    pid: u32
    ran_ns: u64
    comm: str = chars(16)

class Settings(Struct):
    port: u32
    words: list[u32] = array(u32, 4)

class task_struct(Kernel):
    real_parent: "task_struct"
    tgid: i32

class sched_process_fork(Tracepoint):
    child_pid: i32

table = HashMap[u32, u64](max_entries=16)
records = HashMap[u32, Exec](max_entries=16)
counters = PerCpuArray[u64](max_entries=4)
events = RingBuf[Exec](size=4096)
state = SkStorage[Exec]()
peers = SockHash[u32](max_entries=4)
settings = Global(Settings)
limit = Global(u32, 7)

@tracepoint("sched:sched_process_fork")
def on_fork(ctx: sched_process_fork) -> None:
    table[current_tgid()] = ktime_ns()
    table[current_tgid()] += 1
    counters[1] += 1
    if (t0 := table.lookup(3)) is not None:
        t0.value += settings.port + limit.value
    with events.reserve() as e:
        if e is not None:
            e.pid, e.ran_ns = ctx.child_pid, 5
    if (record := records.lookup(1)) is not None:
        record.pid = current(task_struct).real_parent.tgid
    events.emit(Exec(pid=1, ran_ns=2, comm="x"))

@connect4
def outbound(ctx: SockAddr) -> int:
    if (kept := state.get_or_create(ctx.sk)) is not None:
        kept.pid = ctx.user_port
    return 1

@sock_ops
def track(ctx: SockOps) -> None:
    peers.update(ctx, 3)

@xdp
def firewall(ctx: XdpContext) -> XdpAction:
    return XdpAction.PASS

with on_fork.attach(), outbound.attach(cgroup="/sys/fs/cgroup/x"), firewall.attach("eth0"):
    for event in events:
        print(event.comm.upper(), event.ran_ns / 1e6)
for key, value in table.items():
    print(key + value)
total: int = sum(counters[1])
with load(outbound, globals={"limit": 3}) as loaded:
    loaded[state][4].comm.upper()
    loaded[table][3] = loaded[settings].port
    loaded[outbound].attach(cgroup=3)
spec = collect(outbound)
names: list[str] = list(spec.programs)
"""

MISTAKES = {
    "a value is used before the None check": (
        "t0 = table.lookup(3)\n    t0.value += 1",
        'Item "None" of "Ref[int] | None" has no attribute "value"',
    ),
    "a record is used before the None check": (
        "with events.reserve() as e:\n        e.pid = 1",
        'Item "None" of "Exec | None" has no attribute "pid"',
    ),
    "a field does not exist": (
        "events.emit(Exec(pid=1)).nothing",
        '"bool" has no attribute "nothing"',
    ),
    "a record has no such field": (
        "if (r := records.lookup(1)) is not None:\n        r.prot = 1",
        '"Exec" has no attribute "prot"',
    ),
    "a context has no such field": (
        "ctx.user_prot",
        '"SockAddr" has no attribute "user_prot"',
    ),
    "a key is of another type": (
        'table["x"] = 1',
        'Invalid index type "str" for "HashMap[int, int]"; expected type "int"',
    ),
    "a value is of another type": (
        "records[1] = 5",
        '(expression has type "int", target has type "Exec")',
    ),
    "a record of another type is sent": (
        "events.emit(5)",
        'Argument 1 to "emit" of "RingBuf" has incompatible type "int"; expected "Exec"',
    ),
    "a global has no such field": (
        "settings.prot",
        '"Settings" has no attribute "prot"',
    ),
}

DECLARED = """
from beewire.bpf import (
    Global, HashMap, RingBuf, SockAddr, SockOps, Struct, XdpContext, chars, connect4, u32, u64, xdp,
)

class Exec(Struct):
    pid: u32
    comm: str = chars(16)

class Settings(Struct):
    port: u32

table = HashMap[u32, u64](max_entries=16)
records = HashMap[u32, Exec](max_entries=16)
events = RingBuf[Exec](size=4096)
settings = Global(Settings)
"""


def check(source: str, path: Path, *more: Path) -> str:
    """What mypy --strict says of `source`."""
    path.write_text(source)
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-pretty",
        *map(str, (path, *more)),
    ]
    command += ["--config-file", "", "--cache-dir", str(path.parent / "cache")]
    result = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, check=False
    )
    return result.stdout


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What mypy says of all mistakes in one file, a function each."""
    pytest.importorskip("mypy")
    source = DECLARED
    for number, (body, _) in enumerate(MISTAKES.values()):
        source += (
            f"\n@connect4\ndef program{number}(ctx: SockAddr) -> None:\n    {body}\n"
        )
    source += "\n@connect4\ndef wrong(ctx: SockOps) -> None: ...\n"
    source += "\n@xdp\ndef drop(ctx: XdpContext) -> str: return 'drop'\n"
    source += "\ndrop.attach(cgroup='x')\n"
    return check(source, tmp_path_factory.mktemp("typed") / "bad.py")


@pytest.mark.timeout(300)
def test_correct_programs_pass_the_type_checker(tmp_path: Path) -> None:
    pytest.importorskip("mypy")

    said = check(GOOD, tmp_path / "good.py")

    assert said.startswith("Success"), said


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["exec_time", "xdp_count"])
def test_the_examples_pass_the_type_checker(name: str, tmp_path: Path) -> None:
    pytest.importorskip("mypy")

    said = check((ROOT / f"examples/{name}.py").read_text(), tmp_path / f"{name}.py")

    assert said.startswith("Success"), said


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_type_checker_finds_that(mistake: str, said: str) -> None:
    assert MISTAKES[mistake][1] in said


@pytest.mark.timeout(300)
def test_the_type_checker_finds_another_hooks_context(said: str) -> None:
    assert '"connect4" cannot be "Callable[[SockOps], None]"' in said


@pytest.mark.timeout(300)
def test_the_type_checker_finds_a_wrong_return_type(said: str) -> None:
    assert '"xdp" cannot be "Callable[[XdpContext], str]"' in said


@pytest.mark.timeout(300)
def test_the_type_checker_finds_a_wrong_target(said: str) -> None:
    assert 'Unexpected keyword argument "cgroup" for "attach" of "XdpProgram"' in said


@pytest.mark.timeout(300)
def test_the_page_on_data_passes_the_type_checker(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    page = (ROOT / "docs/types.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    paths = [tmp_path / f"example{number}.py" for number, _ in enumerate(blocks)]
    for path, block in zip(paths, blocks, strict=True):
        path.write_text(block)

    said = check(blocks[0], *paths)

    assert len(blocks) > 4
    assert said.startswith("Success"), said
