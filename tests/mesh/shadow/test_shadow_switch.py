"""Cutover and rollback: under load, with older connections, and cut short at every step."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from beewire.bpf.kernel import pins as bpffs
from beewire.bpf.kernel import syscall
from beewire.errors import MeshError
from beewire.mesh.config import PodConfig
from beewire.mesh.enrol import Enrolment, Node
from beewire.mesh.enrol.entries import Entries
from beewire.mesh.enrol.links import Links
from beewire.mesh.lab import Interception, Iptables, LoadConfig
from beewire.mesh.lab.dns import query
from beewire.mesh.lab.load import finish, running
from beewire.mesh.lab.tools import require
from beewire.mesh.programs.state import Decision, PodMode
from beewire.mesh.shadow import cutover, rollback, rules, state_of
from beewire.mesh.shadow import finish as finish_cutover
from tests.mesh.shadow.shadowing import (
    KEEP,
    RULES,
    Nftables,
    World,
    get,
    world,
)

pytestmark = pytest.mark.mesh

FEW = 3
PAUSE_S = 0.5


@pytest.fixture(scope="module")
def pins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory on a BPF file system of the tests' own."""
    mount = tmp_path_factory.mktemp("bpf")
    bpffs.ensure_bpffs(str(mount))
    (mount / "bw").mkdir()
    yield mount / "bw"
    assert syscall.unmount(str(mount)) == 0


@pytest.fixture(scope="module")
def shared(pins: Path) -> Iterator[World]:
    with world(pins=pins) as made:
        yield made


@pytest.fixture
def beside(shared: World) -> Iterator[World]:
    """Both pods in shadow mode, with something compared."""
    for _ in range(FEW):
        get(shared.lab, shared.lab.b.address)
        shared.lab.a.proxy.connect(shared.lab.b.address, 80).close()
    yield shared
    for pod in (shared.a, shared.b):
        rollback(pod, shared.node.loaded, pod.pod.netns)


def cut_over(made: World, pod: Enrolment) -> None:
    cutover(pod, made.node.loaded, pod.pod.netns, least=FEW)


def roll_back(made: World, pod: Enrolment) -> None:
    rollback(pod, made.node.loaded, pod.pod.netns)


def keep_alive(made: World) -> socket.socket:
    return made.lab.a.app.connect(made.lab.b.address, 80)


def ask(sock: socket.socket) -> bytes:
    sock.sendall(KEEP)
    return sock.recv(1 << 16).lower()


def assert_both_sidecars_are_passed(made: World) -> None:
    answered = get(made.lab, made.lab.b.address)
    with made.lab.a.proxy.connect(made.lab.b.address, 80) as sock:
        inbound = ask(sock)

    assert b"x-bw-outbound: a" in answered
    assert b"x-bw-inbound: b" in answered
    assert b"x-bw-inbound: b" in inbound


def test_beewire_acts_after_cutover_and_only_then(beside: World) -> None:
    before = beside.a.decisions()[Decision.OUTBOUND_CAPTURED]
    assert_both_sidecars_are_passed(beside)
    assert beside.a.decisions()[Decision.OUTBOUND_CAPTURED] == before

    cut_over(beside, beside.a)
    cut_over(beside, beside.b)
    inbound = beside.b.decisions()[Decision.INBOUND_CAPTURED]
    assert_both_sidecars_are_passed(beside)

    assert beside.a.decisions()[Decision.OUTBOUND_CAPTURED] == before + 1
    assert beside.b.decisions()[Decision.INBOUND_CAPTURED] > inbound
    assert state_of(beside.a, beside.a.pod.netns) == (PodMode.BESIDE, False)


def test_the_rules_act_after_rollback(beside: World) -> None:
    cut_over(beside, beside.a)
    roll_back(beside, beside.a)
    before = beside.a.decisions()[Decision.OUTBOUND_CAPTURED]
    compared = beside.report(beside.a).agreed

    assert_both_sidecars_are_passed(beside)

    assert state_of(beside.a, beside.a.pod.netns) == (PodMode.SHADOW, True)
    assert beside.a.decisions()[Decision.OUTBOUND_CAPTURED] == before
    assert beside.report(beside.a).agreed > compared


def test_connections_live_through_both(beside: World) -> None:
    idle, old = keep_alive(beside), keep_alive(beside)
    with idle, old:
        ask(old)
        cut_over(beside, beside.a)
        cut_over(beside, beside.b)
        ask(old)
        with keep_alive(beside) as new:
            ask(new)
            roll_back(beside, beside.a)
            roll_back(beside, beside.b)

            assert b"x-bw-outbound: a" in ask(new)
            assert b"x-bw-outbound: a" in ask(old)
            assert b"x-bw-inbound: b" in ask(idle)
            assert new.getpeername() == (beside.lab.b.address, 80)


@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("close", [False, True], ids=["keep-alive", "close"])
def test_no_request_fails_while_it_switches(
    beside: World, close: bool, ipv6: bool
) -> None:
    config = LoadConfig(seconds=5, close=close, ipv6=ipv6)
    with running(beside.lab.a, beside.lab.b, config) as wrk:
        for switch in (cut_over, roll_back, cut_over, roll_back):
            time.sleep(PAUSE_S)  # what is switched has to work between
            switch(beside, beside.a)
            switch(beside, beside.b)
        result = finish(wrk, config)

    assert result.requests > 0
    assert result.errors == 0


def test_doing_either_twice_does_nothing_more(beside: World) -> None:
    loaded, netns = beside.node.loaded, beside.a.pod.netns

    assert not rollback(beside.a, loaded, netns).changed
    assert cutover(beside.a, loaded, netns, least=FEW).changed
    assert not cutover(beside.a, loaded, netns, least=FEW).changed
    assert rollback(beside.a, loaded, netns).changed


def test_too_few_comparisons_are_refused(beside: World) -> None:
    beside.a.forget_compared()

    with pytest.raises(MeshError, match="only 0 connections were compared, and 3 are"):
        cut_over(beside, beside.a)

    assert state_of(beside.a, beside.a.pod.netns) == (PodMode.SHADOW, True)


@pytest.mark.parametrize("what", ["cutover", "rollback"])
@pytest.mark.parametrize("step", range(12))
def test_cut_short_it_leaves_a_pod_that_is_intercepted(
    beside: World, pins: Path, what: str, step: int
) -> None:
    pod = beside.b
    if what == "rollback":
        cut_over(beside, pod)

    died = _run(pod, pins, what, step)
    assert_both_sidecars_are_passed(beside)
    mode, rules_act = state_of(pod, pod.pod.netns)
    assert mode is not PodMode.SHADOW or rules_act

    assert _run(pod, pins, what, 1000) == 0
    assert died == -signal.SIGKILL or step >= 9
    wanted = PodMode.BESIDE if what == "cutover" else PodMode.SHADOW
    assert state_of(pod, pod.pod.netns) == (wanted, what == "rollback")
    assert_both_sidecars_are_passed(beside)


def _run(pod: Enrolment, pins: Path, what: str, last: int) -> int:
    """Switch in a process that is killed at its `last` step; how it ended."""
    child = os.fork()
    if child == 0:
        _Steps(last).count()
        with Node.load(pins / "set") as node:
            found = node.find(pod.pod, pod.netns, pins / "b")
            if what == "cutover":
                cutover(found, node.loaded, pod.pod.netns, least=0)
            else:
                rollback(found, node.loaded, pod.pod.netns)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class _Steps:
    """Kills the process before or after one of the steps that change anything."""

    def __init__(self, left: int) -> None:
        self._left = left

    def count(self) -> None:
        patch = pytest.MonkeyPatch()
        patch.setattr(Links, "add", self._counted(Links.add))
        patch.setattr(Links, "remove", self._counted(Links.remove))
        patch.setattr(rules, "_change", self._counted(rules._change))
        pod = vars(Entries)["pod"]
        patch.setattr(Entries, "pod", pod.setter(self._counted(pod.fset)))

    def _counted(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any) -> Any:
            self._tick()
            result = step(*args)
            self._tick()
            return result

        return counted

    def _tick(self) -> None:
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1


def test_a_disagreement_blocks_it_and_names_the_rule_on_each_side() -> None:
    config = replace(RULES, outbound_ip_ranges_exclude=(ip_network("10.77.2.0/24"),))
    with world(config=config) as made:
        get(made.lab, made.lab.b.address)

        with pytest.raises(MeshError, match=r"1 of \d connections would not") as error:
            cut_over(made, made.a)

        (note,) = error.value.__notes__
        assert "OUT_EXCLUDED_RANGE 10.77.2.0/24 (outbound_ip_ranges_exclude)" in note
        assert "`-t nat -A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001`" in note
        assert state_of(made.a, made.a.pod.netns) == (PodMode.SHADOW, True)


def test_nftables_of_istios_are_taken_over_from_as_well() -> None:
    with world(written_by=Nftables) as made:
        assert_both_sidecars_are_passed(made)
        with keep_alive(made) as old:
            ask(old)
            for pod in (made.a, made.b):
                assert made.report(pod).disagreed == 0
                cutover(pod, made.node.loaded, pod.pod.netns, least=1)
            captured = made.b.decisions()[Decision.INBOUND_CAPTURED]
            assert_both_sidecars_are_passed(made)
            assert made.b.decisions()[Decision.INBOUND_CAPTURED] > captured
            assert b"x-bw-outbound: a" in ask(old)
            roll_back(made, made.a)
            roll_back(made, made.b)
            assert b"x-bw-outbound: a" in ask(old)
        assert_both_sidecars_are_passed(made)


def test_a_pod_without_rules_is_not_rolled_back() -> None:
    with world() as made:
        netns = made.a.pod.netns
        cutover(made.a, made.node.loaded, netns, least=0)
        for name in ("iptables-legacy", "ip6tables-legacy"):
            restore = require(f"{name}-restore")
            made.lab.a.app.run([restore, "-w", "10"], text="*nat\nCOMMIT\n")
            made.lab.a.app.run([restore, "-w", "10"], text="*raw\nCOMMIT\n")

        with pytest.raises(MeshError, match="nothing would intercept"):
            rollback(made.a, made.node.loaded, netns)

        assert made.a.mode is PodMode.BESIDE


@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("written_by", [Iptables, Nftables], ids=["iptables", "nft"])
def test_no_request_fails_while_the_rules_are_removed(
    written_by: Callable[[PodConfig], Interception], *, ipv6: bool
) -> None:
    with world(written_by=written_by) as made:
        for pod in (made.a, made.b):
            cutover(pod, made.node.loaded, pod.pod.netns, least=0)
        keeping = LoadConfig(seconds=4, ipv6=ipv6)
        closing = replace(keeping, close=True)
        with (
            running(made.lab.a, made.lab.b, keeping) as first,
            running(made.lab.a, made.lab.b, closing) as second,
        ):
            for pod in (made.a, made.b):
                time.sleep(PAUSE_S)  # connections have to be open then
                assert finish_cutover(pod, pod.pod.netns) > 0
            results = finish(first, keeping), finish(second, closing)

        assert all(result.requests > 0 and result.errors == 0 for result in results)
        assert_both_sidecars_are_passed(made)
        for pod in (made.a, made.b):
            assert rules.find(pod.pod.netns) == ()
            assert pod.mode is PodMode.ACTING
            assert finish_cutover(pod, pod.pod.netns) == 0
            with pytest.raises(MeshError, match="nothing would intercept"):
                rollback(pod, made.node.loaded, pod.pod.netns)


def test_rules_that_act_are_not_removed(beside: World) -> None:
    with pytest.raises(MeshError, match="`beewire mesh cutover` passes them over"):
        finish_cutover(beside.a, beside.a.pod.netns)

    assert state_of(beside.a, beside.a.pod.netns) == (PodMode.SHADOW, True)


def test_rules_that_a_connection_goes_by_are_not_removed(beside: World) -> None:
    with keep_alive(beside) as old:
        ask(old)
        cut_over(beside, beside.a)

        with pytest.raises(MeshError, match=r"conntrack knows \d+ connections"):
            finish_cutover(beside.a, beside.a.pod.netns)

        assert b"x-bw-outbound: a" in ask(old)
    roll_back(beside, beside.a)


def test_a_socket_keeps_its_resolver_through_both(beside: World) -> None:
    resolver = ("10.96.0.10", 53)

    def connected() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect(resolver)
        return sock

    def answered(sock: socket.socket) -> bool:
        sock.settimeout(30)
        sock.send(query("name.test", id=7))
        return sock.recv(512)[:2] == b"\0\7"

    with beside.lab.a.app.call(connected) as old:
        assert answered(old)
        cut_over(beside, beside.a)
        assert answered(old)
        with beside.lab.a.app.call(connected) as new:
            assert answered(new)
            assert new.getpeername() == resolver
            roll_back(beside, beside.a)
            assert answered(new)
        assert answered(old)
