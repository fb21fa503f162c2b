"""`beewire ps`, `top`, `maps`, `links`, `show` and `dump --program`, on real programs."""

import contextlib
import fcntl
import json
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from beewire.bpf import HashMap, Tracepoint, features, tracepoint, u32, u64
from beewire.bpf.author.inspection import MapState
from beewire.bpf.kernel import cgroup2_mount, ensure_bpffs
from beewire.cli.maps import flag_words
from beewire.cli.show_object import parse
from beewire.errors import UsageError
from tests.cgroups import remove

Run = Callable[..., subprocess.CompletedProcess[str]]
OURS = f"[{os.getpid()}]"

shown = HashMap[u32, u64](max_entries=64)


@tracepoint("syscalls:sys_enter_getpgid")
def on_getpgid(ctx: Tracepoint) -> None:  # noqa: ARG001 - the hook's
    shown[1] += 1


@pytest.fixture
def program() -> Iterator[int]:
    """The id of a program of ours that is attached."""
    with on_getpgid.attach():
        yield on_getpgid.live.info().id


@pytest.fixture
def told(beewire: Run) -> Callable[..., Any]:
    """What a command prints as JSON."""

    def run(*words: str) -> Any:
        done = beewire(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def section(text: str, number: int) -> list[str]:
    """The line of one id, and the notes below it."""
    lines = text.splitlines()
    start = next(n for n, line in enumerate(lines) if line.split()[0] == str(number))
    end = start + 1
    while end < len(lines) and not lines[end].split()[0].isdecimal():
        end += 1
    return lines[start:end]


@pytest.mark.kernel
def test_ps_tells_a_program_with_its_place_and_who_holds_it(
    beewire: Run, program: int
) -> None:
    done = beewire("ps")

    line, *notes = section(done.stdout, program)
    assert done.returncode == 0
    assert line.split()[1:3] == ["tracepoint", "on_getpgid"]
    assert any("sys_enter_getpgid" in note or "(link " in note for note in notes)
    assert any(OURS in note for note in notes)


@pytest.mark.kernel
def test_ps_has_everything_as_json(told: Callable[..., Any], program: int) -> None:
    found = next(each for each in told("ps")["programs"] if each["id"] == program)

    assert found["kind"] == "TRACEPOINT"
    assert [owner["pid"] for owner in found["owners"]] == [os.getpid()]
    assert len(found["attachments"]) == 1
    assert {"tag", "loaded_at", "run_count", "memory", "pins"} <= found.keys()


@pytest.mark.kernel
def test_ps_counts_runs_for_as_long_as_it_is_told(
    told: Callable[..., Any], program: int
) -> None:
    stop = threading.Event()
    caller = threading.Thread(
        target=lambda: [os.getpgid(0) for _ in iter(lambda: stop.wait(0.001), True)]
    )
    caller.start()
    try:
        programs = told("ps", "--seconds", "2")["programs"]
    finally:
        stop.set()
        caller.join()

    found = next(each for each in programs if each["id"] == program)
    assert found["run_count"] > 0
    assert found["run_time_ns"] > 0


@pytest.mark.kernel
def test_top_tells_each_program_that_is_there(
    told: Callable[..., Any], program: int
) -> None:
    costs = told("top", "--once", "--interval", "0.2")["costs"]

    found = next(each for each in costs if each["program"]["id"] == program)
    assert {"cpu_percent", "runs_per_s", "ns_per_run"} <= found.keys()


@pytest.mark.kernel
def test_top_ends_when_its_time_is_over(beewire: Run, program: int) -> None:
    done = beewire("top", "--seconds", "0.4", "--interval", "0.2", "--json")

    lines = done.stdout.splitlines()
    assert (done.returncode, len(lines) in {1, 2}) == (0, True)
    assert program in {cost["program"]["id"] for cost in json.loads(lines[0])["costs"]}


def read_to_the_end(terminal: int) -> str:
    """What was written to a terminal; a read gives 4096 bytes of it at most."""
    written = b""
    with contextlib.suppress(OSError):  # EIO: nobody has the other side any more
        while piece := os.read(terminal, 1 << 16):
            written += piece
    return written.decode()


@pytest.mark.kernel
@pytest.mark.usefixtures("program")
def test_top_draws_anew_on_a_terminal() -> None:
    parent, child = pty.openpty()
    # Room for whatever else is loaded: what has not run comes last.
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("4H", 400, 100, 0, 0))
    command = [sys.executable, "-m", "beewire", "top", "--all", "--seconds", "0.4"]
    environment = {**os.environ, "NO_COLOR": "1", "TERM": "xterm"}
    running = subprocess.Popen(
        [*command, "--interval", "0.2"], stdout=child, env=environment
    )
    os.close(child)
    shown = read_to_the_end(parent)
    os.close(parent)

    assert running.wait() == 0
    assert shown.startswith("\x1b[H\x1b[J")
    assert "on_getpgid" in shown
    assert "\x1b[1m" not in shown


@pytest.mark.kernel
def test_maps_tells_a_map_with_its_programs(beewire: Run, program: int) -> None:
    (number,) = [
        number
        for number in json.loads(beewire("ps", "--json").stdout)["programs"]
        if number["id"] == program
    ]
    (map_id,) = number["map_ids"]

    line, *notes = section(beewire("maps").stdout, map_id)

    assert line.split()[1:] == ["hash", "shown", "4", "8", "64", *line.split()[6:]]
    assert line.split()[-1] == str(program)
    assert any(OURS in note for note in notes)


@pytest.mark.kernel
def test_links_tells_which_program_runs_where(
    beewire: Run, told: Callable[..., Any], program: int
) -> None:
    if not features.perf_link():
        pytest.skip("no links of perf events")
    (link,) = [e for e in told("links")["links"] if e["program_id"] == program]

    line, *notes = section(beewire("links").stdout, link["id"])

    assert line.split()[1:4] == ["perf_event", str(program), "on_getpgid"]
    assert any(OURS in note for note in notes)


@pytest.mark.kernel
def test_show_tells_all_of_a_program(
    beewire: Run, told: Callable[..., Any], program: int
) -> None:
    lines = beewire("show", "program", str(program)).stdout.splitlines()
    facts = dict(line.split(maxsplit=1) for line in lines[1:])

    assert lines[0] == f"program {program}"
    assert (facts["type"], facts["name"]) == ("tracepoint", "on_getpgid")
    assert facts["tag"] == told("show", f"program:{program}")["tag"]


@pytest.mark.kernel
def test_show_tells_the_types_of_a_map(
    told: Callable[..., Any], beewire: Run, program: int
) -> None:
    assert program
    (found,) = [
        each
        for each in told("maps")["maps"]
        if each["name"] == "shown"
        and os.getpid() in {owner["pid"] for owner in each["owners"]}
    ]

    text = beewire("show", "map", str(found["id"])).stdout

    assert "  key        4 bytes, unsigned int\n" in text
    assert "  value      8 bytes, unsigned long" in text


@pytest.mark.kernel
def test_what_is_not_there_is_a_mistake_of_the_caller(beewire: Run) -> None:
    done = beewire("show", "link", "4294967295")

    assert done.returncode == 2
    assert "there is no link 4294967295: `beewire ps`" in done.stderr


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        (["7"], ("", 7)),
        (["map", "7"], ("map", 7)),
        (["map:7"], ("map", 7)),
        (["link", "0"], ("link", 0)),
    ],
)
def test_objects_are_named_in_several_ways(
    words: list[str], meaning: tuple[str, int]
) -> None:
    assert parse(words) == meaning


@pytest.mark.parametrize(
    "words", [["x", "7"], ["map"], ["map", "x"], ["map", "1", "2"]]
)
def test_what_names_no_object_is_refused(words: list[str]) -> None:
    with pytest.raises(UsageError, match="is no object: write an id"):
        parse(words)


@pytest.mark.kernel
def test_dump_tells_machine_code_of_a_program(
    beewire: Run, told: Callable[..., Any], program: int
) -> None:
    if not on_getpgid.live.info().jited_size:
        pytest.skip("programs are interpreted here")
    done = beewire("dump", "--program", str(program), "--jited")
    machine = told("dump", "--program", str(program), "--jited")

    assert "program on_getpgid (TRACEPOINT): " in done.stdout
    assert "shown[1] += 1" in done.stdout
    (function,) = machine["functions"]
    code = "".join(insn["code"] for insn in function["insns"])
    assert len(code) == 2 * function["size"]


@pytest.mark.kernel
def test_dump_tells_instructions_as_json(
    told: Callable[..., Any], program: int
) -> None:
    found = told("dump", "--program", str(program))

    assert (found["name"], found["kind"]) == ("on_getpgid", "TRACEPOINT")
    assert found["insns"][-1]["text"] == "exit"
    assert any(insn["source"] for insn in found["insns"])


@pytest.mark.parametrize("option", ["--jited", "--json"])
def test_what_goes_with_programs_is_refused_for_files(
    beewire: Run, option: str
) -> None:
    done = beewire("dump", "prog.bpf.o", option)

    assert done.returncode == 2
    assert f"{option} goes with --program ID, not with a file" in done.stderr


@pytest.mark.kernel
@pytest.mark.parametrize("command", ["ps", "maps", "links", "top", "show"])
def test_without_the_capability_each_says_which_is_missing(
    python: Run, command: str
) -> None:
    words = [command, "1"] if command == "show" else [command]
    # Still root, to which no capability is left: PR_CAPBSET_DROP, then exec.
    done = python(
        "-c",
        "import ctypes, os, sys\n"
        "for number in range(41): ctypes.CDLL(None).prctl(24, number, 0, 0, 0)\n"
        f"words = [sys.executable, '-m', 'beewire', *{words!r}]\n"
        "os.execv(sys.executable, words)",
    )

    assert done.returncode == 1
    assert "this process lacks CAP_SYS_ADMIN; run it as root" in done.stderr


@pytest.mark.parametrize(
    "words",
    [("ps", "--seconds", "0"), ("top", "--interval", "-1"), ("top", "--seconds", "0")],
)
def test_times_have_to_be_above_zero(beewire: Run, words: tuple[str, ...]) -> None:
    done = beewire(*words)

    assert done.returncode == 2
    assert "takes a time above 0" in done.stderr


def test_flags_are_told_by_name() -> None:
    # MapState: id, kind, name, sizes and entries, flags, memory, frozen, four type ids.
    state = MapState(1, "ARRAY", "x", 4, 4, 1, 0, 0, False, 0, 0, 0, 0)
    state = state._replace(flags=0x400 | 1 << 30, frozen=True)

    assert flag_words(state) == "mmapable, 0x40000000, frozen"


@pytest.mark.kernel
def test_what_bpftool_loaded_and_attached_is_told(
    beewire: Run, told: Callable[..., Any], tmp_path: Path
) -> None:
    if not shutil.which("bpftool"):
        pytest.skip("no bpftool")
    cgroup = Path(cgroup2_mount()) / f"bw-tool-{os.getpid()}"
    pin = Path(ensure_bpffs()) / f"bw-tool-{os.getpid()}"
    (tmp_path / "prog.py").write_text(FOREIGN)
    built = beewire("build", str(tmp_path / "prog.py"), "-o", str(tmp_path / "prog.o"))
    assert built.returncode == 0, built.stderr
    cgroup.mkdir()
    try:
        bpftool("prog", "load", str(tmp_path / "prog.o"), str(pin))
        where = ("cgroup", "attach", str(cgroup), "connect4", "pinned", str(pin))
        bpftool(*where, "multi")
        programs = told("ps")["programs"]
    finally:
        pin.unlink(missing_ok=True)
        remove(cgroup)

    found = next(each for each in programs if str(pin) in each["pins"])
    assert (found["name"], found["owners"]) == ("let_pass", [])
    assert found["attachments"] == [
        {"kind": "cgroup_inet4_connect", "target": str(cgroup), "link_id": 0}
    ]


FOREIGN = """
from beewire.bpf import SockAddr, connect4

@connect4
def let_pass(ctx: SockAddr) -> int:
    return 1
"""


def bpftool(*words: str) -> None:
    subprocess.run(["bpftool", *words], check=True, capture_output=True, timeout=100)


BPFTRACE = "tracepoint:syscalls:sys_enter_getpgid { @ = count(); }"


@pytest.mark.kernel
@pytest.mark.timeout("180")
def test_what_bpftrace_runs_is_told(told: Callable[..., Any]) -> None:
    if not shutil.which("bpftrace"):
        pytest.skip("no bpftrace")
    # It looks for tracepoints where they may not be mounted: in a namespace of its own.
    script = (
        "mount -t tracefs t /sys/kernel/tracing 2>/dev/null; "
        'mount -t debugfs d /sys/kernel/debug 2>/dev/null; exec bpftrace -e "$0"'
    )
    command = ["unshare", "-m", "sh", "-c", script, BPFTRACE]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as tracer:
        try:
            found = traced(tracer, told)
        finally:
            tracer.terminate()

    assert found is not None
    assert found["kind"] == "TRACEPOINT"
    assert found["owners"] == [{"pid": tracer.pid, "comm": "bpftrace"}]
    assert found["attachments"][0]["target"] == "sys_enter_getpgid"


def traced(
    tracer: subprocess.Popen[bytes], told: Callable[..., Any]
) -> dict[str, Any] | None:
    """The program of a bpftrace that is starting, once it is attached."""
    assert tracer.stdout is not None
    lines = iter(tracer.stdout.readline, b"")
    if not any(line.startswith(b"Attaching") for line in lines):
        pytest.skip("bpftrace does not run here")
    for _ in range(20):
        programs: list[dict[str, Any]] = told("ps")["programs"]
        for each in programs:
            if tracer.pid in pids(each) and each["attachments"]:
                return each
    return None


def pids(program: dict[str, Any]) -> set[int]:
    return {owner["pid"] for owner in program["owners"]}
