"""Every hook in the running kernel: an empty program loads, and is attached where it belongs."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import beewire.bpf
from beewire.bpf import (
    HashMap,
    Program,
    SkLookup,
    SkMsg,
    SockAddr,
    SockHash,
    SockMap,
    SockOp,
    SockOps,
    Tracepoint,
    XdpContext,
    connect4,
    current_tgid,
    load,
    ntohl,
    sk_lookup,
    sk_msg,
    sock_ops,
    tracepoint,
    u32,
    u64,
    xdp,
)
from beewire.bpf.author.hooks import HOOKS
from beewire.bpf.author.program import CgroupProgram
from beewire.bpf.kernel import cgroup2_mount
from beewire.bpf.kernel.links.info import CgroupInfo, NetnsInfo
from beewire.errors import AttachError
from tests.cgroups import remove

pytestmark = [pytest.mark.kernel, pytest.mark.thorough]

peers = SockHash[u64](max_entries=16)
slots = SockMap[u32](max_entries=4)
ended = HashMap[u32, u64](max_entries=16)


ON_CGROUPS = sorted(
    set(HOOKS) - {"tracepoint", "raw_tracepoint", "sk_lookup", "sk_msg", "xdp"}
)


def empty(name: str) -> Program[Any]:
    """A program of hook `name` that does nothing."""

    def program(ctx: object) -> None:
        """Nothing."""

    program.__annotations__["ctx"] = HOOKS[name].context
    decorated: Program[Any] = getattr(beewire.bpf, name)(program)
    return decorated


@sock_ops
def track(ctx: SockOps) -> None:
    if ctx.op == SockOp.ACTIVE_ESTABLISHED_CB:
        peers.update(ctx, ctx.local_port)
        slots.update(ctx, 0)


@sk_msg
def shortcut(ctx: SkMsg) -> int:
    return peers.redirect(ctx, ntohl(ctx.remote_port), ingress=True)


@sk_lookup
def inbound(ctx: SkLookup) -> None:
    """Nothing."""


@xdp
def frames(ctx: XdpContext) -> None:
    """Nothing."""


@connect4
def deny(ctx: SockAddr) -> int:
    return ctx.user_port == 0


@tracepoint("sched:sched_process_exit")
def on_exit(_ctx: Tracepoint) -> None:
    ended[current_tgid()] = 1


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A cgroup of our own."""
    path = Path(cgroup2_mount()) / f"bw-attach-{os.getpid()}"
    path.mkdir()
    yield path
    remove(path)


@pytest.fixture
def netns() -> Iterator[str]:
    """The name of a network namespace of our own."""
    name = f"bw-attach-{os.getpid()}"
    try:
        subprocess.run(["ip", "netns", "add", name], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs ip (iproute2)")
    yield name
    subprocess.run(["ip", "netns", "del", name], check=True, capture_output=True)


@pytest.mark.parametrize("name", ON_CGROUPS)
def test_an_empty_program_is_attached_to_a_cgroup(name: str, cgroup: Path) -> None:
    program = empty(name)

    with load(program) as loaded, loaded[program].attach(cgroup=cgroup) as link:
        assert link.info.program_id == loaded[program].live.info().id


def test_a_program_of_a_cgroup_takes_a_descriptor_too(cgroup: Path) -> None:
    fd = os.open(cgroup, os.O_RDONLY)
    try:
        with load(deny) as loaded, loaded[deny].attach(fd) as link:
            assert isinstance(link.info, CgroupInfo)
            assert link.info.cgroup_id == cgroup.stat().st_ino
    finally:
        os.close(fd)


def test_a_lookup_program_is_attached_to_a_namespace(netns: str) -> None:
    path = Path("/run/netns") / netns

    with load(inbound) as loaded, loaded[inbound].attach(netns=path) as link:
        assert isinstance(link.info, NetnsInfo)
        assert link.info.netns_ino == path.stat().st_ino


def test_a_message_program_is_attached_to_a_map_of_sockets() -> None:
    with load([track, shortcut]) as loaded:
        with loaded[shortcut].attach(sockets=loaded[peers]) as link:
            assert not link.closed

        assert len(loaded[slots]) == 0


def test_an_xdp_program_on_an_interface_that_is_not_there_is_a_sentence() -> None:
    with load(frames) as loaded, pytest.raises(AttachError, match="bw-nowhere"):
        loaded[frames].attach("bw-nowhere")


def test_a_link_outlives_the_loaded_that_made_it(cgroup: Path) -> None:
    with load(deny) as loaded:
        link = loaded[deny].attach(cgroup)

    with link:
        assert denied(cgroup)
    assert not denied(cgroup)


def denied(cgroup: Path) -> bool:
    """Whether connect() is refused in `cgroup`."""
    code = (
        "import os, socket\n"
        f"open('{cgroup}/cgroup.procs', 'w').write(str(os.getpid()))\n"
        "try: socket.create_connection(('127.0.0.1', 9), timeout=30)\n"
        "except PermissionError: print('denied')\n"
        "except OSError: pass\n"
    )
    command = [sys.executable, "-S", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return result.stdout == "denied\n"


def test_a_program_is_attached_in_two_places(cgroup: Path) -> None:
    inner = cgroup / "inner"
    inner.mkdir()

    with load(deny) as loaded:
        outer_link, link = loaded[deny].attach(cgroup), loaded[deny].attach(inner)
        with outer_link, link:
            assert link.info.program_id == outer_link.info.program_id
    remove(inner)


def test_attaching_without_a_target_says_what_is_missing() -> None:
    with pytest.raises(
        TypeError, match="missing 1 required positional argument: 'cgroup'"
    ):
        deny.attach()  # type: ignore[call-arg]  # that is the mistake


def test_a_program_that_is_not_part_of_a_loaded_is_a_key_error() -> None:
    with load(deny) as loaded, pytest.raises(KeyError, match="is no part of <Loaded"):
        loaded[on_exit].attach()


def test_programs_know_their_source_and_instructions() -> None:
    assert deny.source.startswith("@connect4\ndef deny(ctx: SockAddr)")
    assert "exit" in deny.disassemble()
    assert deny.spec().section == "cgroup/connect4"
    assert isinstance(deny, CgroupProgram)


def test_a_tracepoint_program_sees_the_process_that_ends() -> None:
    with load(on_exit) as loaded, loaded[on_exit].attach():
        process = subprocess.Popen(["true"])
        process.wait()

        assert process.pid in loaded[ended]
