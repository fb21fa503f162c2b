"""Shadow mode, cutover and rollback as an operator does them, by name."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from beewire.bpf.kernel import pins as bpffs
from beewire.bpf.kernel import syscall
from beewire.errors import MeshError
from beewire.mesh.agent import Directories, Mesh, processes
from beewire.mesh.agent.cni_entries import CniPaths
from beewire.mesh.agent.explaining import explain_live
from beewire.mesh.agent.uninstall import uninstall
from beewire.mesh.config import InterceptionMode, write_file
from beewire.mesh.explain import Explanation
from beewire.mesh.lab import Iptables, Lab
from beewire.mesh.lab import mesh as sidecars
from beewire.mesh.lab.tools import require
from beewire.mesh.shadow import rules
from beewire.mesh.shadow.conntrack import redirected
from tests.mesh.agent.conftest import StartAgent, environment, eventually, target
from tests.mesh.shadow.shadowing import KEEP, RULES, get

pytestmark = pytest.mark.mesh

SOME = 5


@pytest.fixture
def running() -> Iterator[Lab]:
    """Two pods under Istio's rules, with their sidecars."""
    with Lab() as lab, sidecars(lab, Iptables(RULES)):
        yield lab


@pytest.fixture
def beside(running: Lab, mesh: Mesh) -> Lab:
    """Pod A in shadow mode, with some connections compared."""
    wanted = target(running.a)._replace(config=write_file(RULES), shadow=True)
    mesh.up(wanted)
    for _ in range(SOME):
        get(running, running.b.address)
    return running


def beewire(
    directories: Directories, *words: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "beewire", "mesh", *words],
        env=environment(directories),
        check=False,
        capture_output=True,
        text=True,
    )


def is_passed_over(lab: Lab) -> bool:
    return rules.are_passed_over(rules.find(lab.a.namespace.path))


@pytest.mark.usefixtures("beside")
def test_a_pod_in_shadow_mode_tells_what_was_compared(mesh: Mesh) -> None:
    told = mesh.compared("lab/a")

    assert (told["mode"], told["rules_act"]) == ("shadow", True)
    assert told["disagreed"] == 0
    assert {row["rule"]: row["times"] for row in told["rows"]}["OUT_ALL_RANGES"] == SOME
    assert mesh.status("lab/a")["mode"] == "shadow"
    assert list(mesh.modes().values()) == ["shadow"]
    assert mesh.status("lab/a")["problems"] == []
    assert mesh.status("lab/a")["compared"]["agreed"] == told["agreed"]


def connections_of(directories: Directories, pid: int) -> list[Explanation]:
    with contextlib.suppress(MeshError):  # it has none
        return explain_live(directories, "a", str(pid))
    return []


def test_a_live_connection_tells_what_was_decided_and_that_the_rules_act(
    beside: Lab, directories: Directories
) -> None:
    sidecar = processes.pids_in(beside.a.proxy.cgroup.path)
    with beside.b.proxy.connect(beside.a.address, 80) as sock:
        sock.sendall(KEEP)
        assert b"x-bw-inbound: a" in sock.recv(1 << 16)
        port = sock.getsockname()[1]
        found = [each for pid in sidecar for each in connections_of(directories, pid)]

    (told,) = [
        each for each in found if f"{beside.b.address}:{port} -> " in each.connection
    ]
    assert (told.action, told.rule) == ("TO_INBOUND", "IN_ALL_PORTS")
    assert any("in shadow mode" in note for note in told.notes)


@pytest.mark.usefixtures("beside")
def test_it_can_be_counted_anew(mesh: Mesh) -> None:
    assert mesh.compared("lab/a", forget=True)["compared"] == 0


def test_without_rules_there_is_no_shadow_mode(lab: Lab, mesh: Mesh) -> None:
    with pytest.raises(MeshError, match="there are no rules of Istio's in"):
        mesh.up(target(lab.a)._replace(shadow=True))

    assert mesh.pods() == []


def test_cutover_and_rollback_count_older_connections(beside: Lab, mesh: Mesh) -> None:
    with beside.a.app.connect(beside.b.address, 80) as old:
        old.sendall(KEEP)
        old.recv(1 << 16)
        done = mesh.cutover("lab/a", least=SOME)

        assert (done["changed"], done["mode"], done["older"]) == (True, "acting", 1)
        assert is_passed_over(beside)
        old.sendall(KEEP)
        assert b"200 OK" in old.recv(1 << 16)
        with beside.a.app.connect(beside.b.address, 80) as new:
            new.sendall(KEEP)
            new.recv(1 << 16)
            assert mesh.cutover("lab/a")["older"] == 1
            back = mesh.rollback("lab/a")

            assert (back["changed"], back["mode"], back["older"]) == (True, "shadow", 1)
            new.sendall(KEEP)
            assert b"200 OK" in new.recv(1 << 16)
    assert not is_passed_over(beside)


def gone(mesh: Mesh) -> dict[str, object]:
    """What removing the rules tells, once conntrack has let go of what has ended."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return mesh.finish("lab/a")
        except MeshError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def test_the_rules_are_removed_when_no_connection_goes_by_them(
    beside: Lab, mesh: Mesh, directories: Directories
) -> None:
    with beside.a.app.connect(beside.b.address, 80) as old:
        old.sendall(KEEP)
        old.recv(1 << 16)
        mesh.cutover("lab/a", least=SOME)
        with pytest.raises(
            MeshError, match="lab/a's connections go by Istio's"
        ) as error:
            mesh.finish("lab/a")
        refused = beewire(directories, "cutover", "lab/a", "--finish")
        old.sendall(KEEP)
        assert b"200 OK" in old.recv(1 << 16)
    assert any(":15001" in note for note in error.value.__notes__)
    assert refused.returncode == 1
    assert "do it again when they have ended" in refused.stderr

    finished = gone(mesh)

    assert finished["mode"] == "acting"
    assert rules.find(beside.a.namespace.path) == ()
    assert b"x-bw-outbound: a" in get(beside, beside.b.address)
    assert mesh.status("lab/a")["problems"] == []
    with pytest.raises(MeshError, match="nothing would intercept"):
        mesh.rollback("lab/a")
    again = beewire(directories, "cutover", "lab/a", "--finish")
    assert again.stdout == "lab/a: Beewire acts, and 0 rules of Istio's are removed\n"


def test_half_of_the_rules_are_not_gone_back_to(
    beside: Lab, mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh.cutover("lab/a", least=SOME)
    netns = beside.a.namespace.path
    eventually(lambda: not redirected(netns))
    change, left = rules._change, iter((True,))

    def once(*args: Any) -> None:
        if not next(left, False):
            raise MeshError("the kernel refused")
        change(*args)

    monkeypatch.setattr(rules, "_change", once)
    with pytest.raises(MeshError, match="the kernel refused"):
        mesh.finish("lab/a")
    monkeypatch.undo()

    assert len(rules.find(netns)) > 0
    assert b"x-bw-outbound: a" in get(beside, beside.b.address)
    with pytest.raises(MeshError, match="some of Istio's rules in lab/a are removed"):
        mesh.rollback("lab/a")
    mesh.finish("lab/a")
    assert rules.find(netns) == ()
    assert mesh.compared("lab/a")["mode"] == "acting"


@pytest.mark.usefixtures("beside")
def test_rules_that_act_are_not_removed(mesh: Mesh) -> None:
    with pytest.raises(MeshError, match="`beewire mesh cutover` passes them over"):
        mesh.finish("lab/a")


def test_a_pod_where_rules_act_is_not_taken_over_unasked(
    running: Lab, mesh: Mesh
) -> None:
    """Whatever was known of it is gone, and what it was: shadow mode, say."""
    wanted = target(running.a)._replace(config=write_file(RULES))

    with pytest.raises(MeshError, match="--shadow enrols the pod beside them"):
        mesh.up(wanted)

    assert mesh.pods() == []
    mesh.up(wanted._replace(beside_rules=True))
    assert mesh.compared("lab/a")["mode"] == "acting"


def test_beside_tproxy_nobody_else_acts(lab: Lab, mesh: Mesh) -> None:
    config = replace(RULES, inbound_interception_mode=InterceptionMode.TPROXY)
    wanted = target(lab.a)._replace(config=write_file(config), beside_rules=True)

    with (
        Iptables(config).install(lab.a),
        pytest.raises(MeshError, match="by TPROXY nobody can beside them"),
    ):
        mesh.up(wanted)

    assert mesh.pods() == []


def test_a_pod_whose_pins_are_lost_is_not_taken_over(
    beside: Lab, mesh: Mesh, directories: Directories
) -> None:
    mesh.close()
    syscall.unmount(str(directories.pins.parent))
    bpffs.ensure_bpffs(str(directories.pins.parent))

    with Mesh(directories) as anew:
        anew.do("adopt")

        assert anew.compared("lab/a")["mode"] == "shadow"
        assert not is_passed_over(beside)
        get(beside, beside.b.address)
        assert anew.compared("lab/a")["agreed"] > 0


def test_a_pod_that_was_cut_over_comes_back_acting(
    beside: Lab, mesh: Mesh, directories: Directories
) -> None:
    mesh.cutover("lab/a", least=SOME)
    mesh.close()
    syscall.unmount(str(directories.pins.parent))
    bpffs.ensure_bpffs(str(directories.pins.parent))

    with Mesh(directories) as anew:
        anew.do("adopt")

        assert b"x-bw-outbound: a" in get(beside, beside.b.address)
        assert is_passed_over(beside)
        assert anew.rollback("lab/a")["changed"]
    assert not is_passed_over(beside)


def test_a_pod_whose_record_is_lost_gives_its_rules_back(
    beside: Lab, mesh: Mesh, directories: Directories
) -> None:
    mesh.cutover("lab/a", least=SOME)
    (record,) = mesh.pods()
    directories.record(record.id).unlink()
    mesh.do("adopt")

    (found,) = mesh.pods()
    mesh.down(found.id)

    assert not is_passed_over(beside)
    assert b"x-bw-outbound: a" in get(beside, beside.b.address)


def test_a_refused_cutover_changes_nothing(beside: Lab, mesh: Mesh) -> None:
    with pytest.raises(MeshError, match="connections were compared, and 1000 are"):
        mesh.cutover("lab/a", least=1000)

    assert mesh.compared("lab/a")["mode"] == "shadow"
    assert not is_passed_over(beside)


def test_a_pod_that_was_cut_over_is_withdrawn_to_its_rules(
    beside: Lab, mesh: Mesh
) -> None:
    mesh.cutover("lab/a", least=SOME)

    mesh.down("lab/a")

    assert not is_passed_over(beside)
    assert b"x-bw-outbound: a" in get(beside, beside.b.address)


def test_uninstalling_leaves_the_rules_acting(
    beside: Lab, mesh: Mesh, directories: Directories
) -> None:
    mesh.cutover("lab/a", least=SOME)
    mesh.close()

    directories.run.mkdir(exist_ok=True)
    none = CniPaths(directories.run / "no", directories.run / "none")
    assert uninstall(directories, none).left == ()

    assert not is_passed_over(beside)
    assert b"x-bw-outbound: a" in get(beside, beside.b.address)


def test_a_pod_that_nothing_intercepts_has_a_problem(beside: Lab, mesh: Mesh) -> None:
    rules.pass_over(beside.a.namespace.path)
    (passed,) = mesh.status("lab/a")["problems"]
    assert mesh.rollback("lab/a")["changed"]
    assert mesh.status("lab/a")["problems"] == []
    for name in ("iptables-legacy-restore", "ip6tables-legacy-restore"):
        beside.a.app.run([require(name), "-w", "10"], text="*nat\nCOMMIT\n")
    (gone,) = mesh.status("lab/a")["problems"]

    assert "passed over; `beewire mesh rollback lab/a` lets them act" in passed
    assert "Istio's rules are gone; `beewire mesh down lab/a` and `up`" in gone


def test_up_says_how_a_pod_leaves_its_mode(beside: Lab, mesh: Mesh) -> None:
    wanted = target(beside.a)._replace(config=write_file(RULES))
    with pytest.raises(MeshError, match="`beewire mesh cutover lab/a`"):
        mesh.up(wanted)

    mesh.cutover("lab/a", least=SOME)

    with pytest.raises(MeshError, match="`beewire mesh rollback lab/a`"):
        mesh.up(wanted._replace(shadow=True))


@pytest.mark.usefixtures("beside")
def test_the_commands_say_what_they_did(directories: Directories) -> None:
    shown = beewire(directories, "shadow", "lab/a")
    refused = beewire(directories, "cutover", "lab/a")
    done = beewire(directories, "cutover", "lab/a", "--min-compared", str(SOME))
    back = beewire(directories, "rollback", "lab/a")

    assert shown.returncode == 0
    assert shown.stdout.startswith("lab/a: Istio's rules act; ")
    assert " agreed, 0 disagreed\n" in shown.stdout
    assert "OUT_ALL_RANGES" in shown.stdout
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "100 are asked for (--min-compared)" in refused.stderr
    assert done.returncode == 0
    assert done.stdout.startswith("lab/a: Beewire acts (")
    assert "connections compared, 0 disagreed)" in done.stdout
    assert back.returncode == 0
    assert back.stdout.startswith("lab/a: Istio's rules act, Beewire compares; ")


def test_a_disagreement_is_an_exit_code_and_a_sentence(
    running: Lab, mesh: Mesh, directories: Directories
) -> None:
    narrower = replace(RULES, outbound_ip_ranges_exclude=(ip_network("10.77.2.0/24"),))
    wanted = target(running.a)._replace(config=write_file(narrower), shadow=True)
    mesh.up(wanted)
    get(running, running.b.address)

    shown = subprocess.run(
        [sys.executable, "-m", "beewire", "mesh", "shadow", "lab/a"],
        env=environment(directories),
        check=False,
        capture_output=True,
        text=True,
    )

    assert shown.returncode == 1
    assert "disagreement: tcp 10.77.1.2:" in shown.stdout
    assert (
        "OUT_EXCLUDED_RANGE 10.77.2.0/24 (outbound_ip_ranges_exclude)" in shown.stdout
    )


def test_an_agent_that_is_killed_leaves_each_mode_as_it_was(
    running: Lab, mesh: Mesh, start_agent: StartAgent
) -> None:
    agent = start_agent()
    mesh.up(target(running.a)._replace(config=write_file(RULES), shadow=True))
    agent.end(signal.SIGKILL)
    for _ in range(SOME):
        get(running, running.b.address)

    agent = start_agent()
    assert mesh.compared("lab/a")["mode"] == "shadow"
    mesh.cutover("lab/a", least=SOME)
    agent.end(signal.SIGKILL)
    assert b"x-bw-outbound: a" in get(running, running.b.address)

    start_agent()
    assert mesh.compared("lab/a")["mode"] == "acting"
    assert mesh.rollback("lab/a")["changed"]
    assert mesh.status("lab/a")["problems"] == []
    assert not is_passed_over(running)
