"""`beewire detach`, on programs that are attached for it."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from beewire.bpf import (
    Loaded,
    SockAddr,
    Tracepoint,
    XdpAction,
    XdpContext,
    connect4,
    load,
    tracepoint,
    xdp,
)
from beewire.bpf.kernel import attach_cgroup, ensure_bpffs, ids
from beewire.cli.detach import hook_of
from beewire.errors import UsageError
from tests.netns import enter, ip

if TYPE_CHECKING:
    from beewire.bpf.kernel import Program

Run = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.kernel


@connect4
def bw_refuse(ctx: SockAddr) -> bool:
    return ctx.user_port != 1


@xdp
def bw_passes(_ctx: XdpContext) -> XdpAction:
    return XdpAction.PASS


@tracepoint("syscalls:sys_enter_getpgid")
def bw_calls(_ctx: Tracepoint) -> None:
    pass


@pytest.fixture
def loaded() -> Iterator[Loaded]:
    with load([bw_refuse, bw_passes, bw_calls]) as loaded:
        yield loaded


@pytest.fixture
def refuse(loaded: Loaded) -> "Program":
    return loaded[bw_refuse].live


@pytest.fixture
def pin() -> Iterator[Path]:
    path = Path(ensure_bpffs(), f"bw-detach-{os.getpid()}")
    yield path
    path.unlink(missing_ok=True)


def has_gone(number: int) -> bool:
    """Whether a link goes: the kernel frees a pin, and what it held, a moment later."""
    deadline = time.monotonic() + 60
    while number in [*ids.ids(ids.LINK)]:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_link_of_another_process_ends(
    beewire: Run, refuse: "Program", cgroup: str
) -> None:
    with attach_cgroup(refuse, cgroup) as link:
        number = link.info.id

        done = beewire("detach", str(number))

        assert (done.returncode, done.stdout) == (0, f"detached link {number}\n")
        assert link.info.path == ""  # type: ignore[attr-defined]  # a cgroup's


def test_a_pinned_link_ends_and_its_pin_goes(
    beewire: Run, refuse: "Program", cgroup: str, pin: Path
) -> None:
    link = attach_cgroup(refuse, cgroup)
    link.pin(str(pin))
    number = link.info.id
    link.close()

    done = beewire("detach", str(pin))

    assert done.returncode == 0
    assert done.stdout == f"detached link {number}, and removed {pin}\n"
    assert not pin.exists()
    assert has_gone(number)


def test_a_link_that_others_hold_says_who(
    beewire: Run, loaded: Loaded, pin: Path
) -> None:
    with loaded[bw_calls].attach() as link:
        if link.kind != "perf_event":
            pytest.skip("this kernel has no links of perf events")
        number = link.info.id
        link.pin(str(pin))

        by_id = beewire("detach", str(number))
        by_pin = beewire("detach", str(pin))

        assert (by_id.returncode, by_pin.returncode) == (1, 1)
        assert f"link {number} (perf_event) ends only when nobody holds" in by_id.stderr
        assert str(pin) in by_id.stderr
        assert f"removed {pin}" in by_pin.stderr
        assert not pin.exists()
    assert has_gone(number)


def test_the_pin_of_a_link_that_nobody_else_holds_is_enough(
    beewire: Run, loaded: Loaded, pin: Path
) -> None:
    link = loaded[bw_calls].attach()
    if link.kind != "perf_event":
        link.close()
        pytest.skip("this kernel has no links of perf events")
    number = link.info.id
    link.pin(str(pin))
    link.close()

    done = beewire("detach", str(pin))

    assert (done.returncode, pin.exists(), has_gone(number)) == (0, False, True)


def test_a_cgroup_loses_what_no_link_holds(
    beewire: Run, refuse: "Program", cgroup: str
) -> None:
    number = refuse.info().id
    attach_cgroup(refuse, cgroup, as_link=False).release()

    other = beewire("detach", "cgroup", cgroup, "connect4", "--program", "1")
    done = beewire("detach", "cgroup", cgroup)
    again = beewire("detach", "cgroup", cgroup, "cgroup_inet4_connect")

    assert other.returncode == 1
    assert done.stdout == f"took program {number} (bw_refuse) off cgroup {cgroup}\n"
    assert (done.returncode, again.returncode) == (0, 1)
    assert "that no link holds" in again.stderr


def test_what_a_link_holds_is_not_taken_off_by_place(
    beewire: Run, refuse: "Program", cgroup: str
) -> None:
    with attach_cgroup(refuse, cgroup) as link:
        done = beewire("detach", "cgroup", cgroup, "connect4")

        assert done.returncode == 1
        assert "a link holds program" in done.stderr
        assert link.info.id


def test_an_interface_of_another_namespace_loses_its_program(
    beewire: Run, loaded: Loaded, netns: str, pin: Path
) -> None:
    live = loaded[bw_passes].live
    number = live.info().id
    ip("link", "add", "bw-x", "type", "veth", "peer", "name", "bw-y", netns=netns)
    live.pin(str(pin))
    subprocess.run(
        [*enter(netns), "ip", "link", "set", "bw-x", "xdpgeneric", "pinned", str(pin)],
        check=True,
    )

    done = beewire("detach", "xdp", "bw-x", "--netns", netns)

    assert done.returncode == 0, done.stderr
    assert done.stdout == f"took program {number} (bw_passes) off xdp bw-x\n"


WRONG = {
    "nothing like it": (
        ["nothing"],
        "neither the id of a link, nor a pin, nor a place",
    ),
    "no such place": (
        ["port", "eth0"],
        "'port' is no place that programs are attached",
    ),
    "a place without its name": (["xdp"], "`beewire detach xdp INTERFACE` is how"),
    "too many words": (["xdp", "lo", "eth0"], "`beewire detach xdp INTERFACE` is how"),
    "no direction": (["clsact", "lo", "up"], "'up' is neither ingress nor egress"),
    "no hook": (["cgroup", "/", "send"], "'send' is no hook of cgroups"),
    "no map": (["map", "pods"], "'pods' is no id of a map"),
    "no such link": (["4294967294"], "there is no link 4294967294"),
    "a namespace for a link": (["7", "--program", "1"], "leave the options out"),
    "no namespace": (["xdp", "lo", "--netns", "bw-none"], "cannot be entered: no such"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_told(beewire: Run, mistake: str) -> None:
    words, message = WRONG[mistake]

    done = beewire("detach", *words)

    assert done.returncode == 2
    assert message in done.stderr


def test_hooks_of_cgroups_have_two_names() -> None:
    assert hook_of("connect4") is hook_of("cgroup_inet4_connect")
    assert hook_of("getsockopt").name == "CGROUP_GETSOCKOPT"
    with pytest.raises(UsageError, match="no hook of cgroups"):
        hook_of("tcx_ingress")
