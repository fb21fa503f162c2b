"""The short path switched off and on, under a stream whose every byte is compared."""

import contextlib
import json
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from beewire.errors import MeshError
from beewire.mesh.agent import Directories, Mesh, draining
from beewire.mesh.agent.bypassing import NODE, Switch
from beewire.mesh.agent.cni_entries import CniPaths
from beewire.mesh.agent.uninstall import uninstall
from beewire.mesh.enrol import Node
from beewire.mesh.lab import Lab, Place
from beewire.mesh.lab.cgroups import Cgroup
from beewire.mesh.programs.bypass.state import LARGE
from beewire.mesh.qualify import (
    HazardClass,
    Outcome,
    Qualification,
    Role,
    Verdict,
    fingerprint,
    write,
)
from tests.mesh.agent.conftest import (
    CHECKOUT,
    StartAgent,
    environment,
    eventually,
    target,
)
from tests.mesh.bypass.joined import (
    INBOUND,
    Pair,
    Way,
    accept,
    dial,
    flow,
    inbound,
    read,
    waiting,
)

ASKS = "bypass: {{tier: {}}}\n"


def qualify(directories: Directories, *roles: Role) -> None:
    """Let it be known that hazards passed for sockets of these roles."""
    directories.prepare()
    judged = tuple(
        Verdict("order", HazardClass.A, role, Outcome.PASS, "in order")
        for role in roles
    )
    write(directories.run, Qualification(fingerprint(), judged))


@pytest.fixture
def enrolled(directories: Directories, mesh: Mesh, lab: Lab) -> Iterator[Lab]:
    """Both pods of a lab, on a node whose kernel qualified for everything."""
    qualify(directories, *Role)
    for pod in lab.pods:
        mesh.up(target(pod))
    yield lab
    for pod in lab.pods:
        with contextlib.suppress(MeshError):
            mesh.down(f"lab/{pod.name}")


@contextlib.contextmanager
def connection(lab: Lab) -> Iterator[Pair]:
    """Between the sidecars of both pods."""
    with lab.b.proxy.listen("0.0.0.0", INBOUND) as listener:
        near = dial(lab.a.proxy, Way(lab.b.address))
        pair = Pair(near, accept(listener))
        try:
            yield pair
        finally:
            pair.close()


def short(directories: Directories, pair: Pair) -> int:
    """How many messages of both ends took the short path so far."""
    with Node.load(directories.set) as node:
        return sum(flow(node, sock).short_messages for sock in pair)


def command(
    directories: Directories, *words: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "beewire", "mesh", "bypass", *words],
        env=environment(directories),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_live_connection_goes_back_to_tcp_and_again_to_the_short_path(
    directories: Directories, mesh: Mesh, enrolled: Lab
) -> None:
    with connection(enrolled) as pair:
        pair.exchange()
        before = short(directories, pair)

        mesh.bypass_off()
        pair.exchange()
        while_off = short(directories, pair)
        mesh.bypass_on()
        pair.exchange()

        assert before > 0
        assert while_off == before
        assert short(directories, pair) > while_off


@contextlib.contextmanager
def application(mesh: Mesh, lab: Lab) -> Iterator[Pair]:
    """From pod b's sidecar to its application, which allows it."""
    mesh.update("lab/b", change=ASKS.format("all"))
    with inbound(lab.b) as pair:
        yield pair


@pytest.mark.parametrize(
    "takes_away",
    [
        lambda mesh: mesh.bypass_off(),
        lambda mesh: mesh.bypass_off("lab/b"),
        lambda mesh: mesh.update("lab/b", change=ASKS.format("off")),
        lambda mesh: mesh.update("lab/b", change=ASKS.format("sidecars")),
        lambda mesh: mesh.down("lab/b"),
    ],
    ids=["node_off", "pod_off", "tier_off", "sidecars", "down"],
)
def test_an_application_has_its_socket_back(
    mesh: Mesh, enrolled: Lab, takes_away: Callable[[Mesh], object]
) -> None:
    with application(mesh, enrolled) as pair:
        takes_away(mesh)
        pair.near.sendall(bytes(LARGE))  # what parts by itself, too

        # Of a socket that is not TCP's, FIONREAD does not tell what came by TCP.
        eventually(lambda: waiting(pair.far) == LARGE)
        assert read(pair.far, LARGE) == bytes(LARGE)
        pair.exchange()


def test_a_sidecar_that_was_started_anew_while_it_was_off_has_it_again(
    directories: Directories, mesh: Mesh, enrolled: Lab
) -> None:
    pod = enrolled.b
    with connection(enrolled) as pair:
        pair.exchange(20)
        mesh.bypass_off()  # what follows this connection stays
    cgroup = Cgroup(pod.cgroup.path / "anew")
    cgroup.create()
    mesh.up(target(pod)._replace(proxy_cgroup=str(cgroup.path)))
    mesh.bypass_on()

    anew = Place(pod.namespace, cgroup, pod.proxy.uid)
    with anew.listen("0.0.0.0", INBOUND) as listener:
        near = dial(enrolled.a.proxy, Way(pod.address))
        pair = Pair(near, accept(listener))
        pair.exchange()
        told = short(directories, pair)
        pair.close()

    assert told == 6


def test_what_waits_on_the_short_path_is_read_before_what_comes_by_tcp(
    mesh: Mesh, enrolled: Lab
) -> None:
    with connection(enrolled) as pair:
        pair.exchange()
        pair.near.sendall(b"by the short path, ")

        mesh.bypass_off()
        pair.near.sendall(b"by TCP")

        assert read(pair.far, 25) == b"by the short path, by TCP"


def test_no_agent_is_needed(
    directories: Directories, start_agent: StartAgent, enrolled: Lab
) -> None:
    agent = start_agent()
    with connection(enrolled) as pair:
        pair.exchange()
        before = short(directories, pair)
        agent.end(signal.SIGKILL)

        told = command(directories, "off")
        pair.exchange()

        assert told.returncode == 0, told.stderr
        assert "2 pods are on TCP until `beewire mesh bypass on`" in told.stdout
        assert short(directories, pair) == before > 0


def test_off_survives_an_agent_and_updates_and_holds_for_pods_that_come(
    directories: Directories, mesh: Mesh, lab: Lab, start_agent: StartAgent
) -> None:
    qualify(directories, *Role)
    mesh.up(target(lab.a))
    mesh.bypass_off()

    start_agent()
    mesh.up(target(lab.b))
    mesh.update("lab/a", change=ASKS.format("all"))

    for pod in mesh.status()["pods"]:
        assert pod["bypass"]["tier"] == "off"
        assert pod["bypass"]["off"].startswith("switched off on this node")
    mesh.bypass_on()
    tiers = [pod["bypass"]["tier"] for pod in mesh.status()["pods"]]
    assert tiers == ["all", "sidecars"]


def test_one_pod_can_be_switched_off_alone(
    directories: Directories, mesh: Mesh, enrolled: Lab
) -> None:
    with connection(enrolled) as pair:
        pair.exchange()
        before = short(directories, pair)

        mesh.bypass_off("lab/b")
        pair.exchange()

        # What a stays free to send, b's end is not to get by the short path.
        assert short(directories, pair) == before
    told = command(directories, "on")
    assert "lab/b stays off: `beewire mesh bypass on --pod lab/b`" in told.stdout
    assert command(directories, "on", "--pod", "lab/b").stdout == (
        "lab/b: short path: sidecars\n"
    )


def test_who_has_no_tier_is_told_when_the_short_path_is_switched_on(
    directories: Directories, mesh: Mesh, lab: Lab
) -> None:
    mesh.up(target(lab.a))

    told = command(directories, "on").stdout.splitlines()

    assert told[0] == "the short path is on for 0 pods"
    assert told[1].startswith("lab/a: short path: off; not sidecars: this kernel was")
    mesh.down("lab/a")


def test_an_empty_name_is_not_all_of_the_node(directories: Directories) -> None:
    told = command(directories, "off", "--pod", "")

    assert told.returncode == 2
    assert "--pod '' names no pod; without --pod it is every one" in told.stderr


@pytest.mark.usefixtures("enrolled")
def test_a_pod_is_not_switched_on_where_the_node_is_off(
    directories: Directories, mesh: Mesh
) -> None:
    mesh.bypass_off()

    told = command(directories, "on", "--pod", "lab/a")

    assert told.returncode == 1
    assert (
        "switched off on the whole node: `beewire mesh bypass on` first" in told.stderr
    )


@pytest.mark.usefixtures("enrolled")
def test_a_pod_that_is_gone_leaves_nothing_switched_off(
    directories: Directories, mesh: Mesh
) -> None:
    mesh.bypass_off("lab/a")

    mesh.down("lab/a")

    assert not list((directories.run / "bypass").iterdir())


def test_status_says_why_a_pod_has_less_than_it_asked_for(
    directories: Directories, mesh: Mesh, lab: Lab
) -> None:
    qualify(directories, Role.SIDECAR)
    mesh.up(target(lab.a)._replace(config="", change=ASKS.format("all")))

    told = command(directories, "status", "--pod", "lab/a", "--json")
    text = command(directories, "status").stdout

    (found,) = json.loads(told.stdout)["pods"].values()
    assert (found["asked"], found["tier"]) == ("all", "sidecars")
    assert "short path  sidecars" in text
    assert "not all: no hazard was judged for the application's sockets" in text
    mesh.down("lab/a")


def test_pods_get_their_tiers_when_the_kernel_is_judged(
    directories: Directories, mesh: Mesh, lab: Lab
) -> None:
    mesh.up(target(lab.a))
    before = mesh.status("lab/a")["bypass"]

    qualify(directories, *Role)
    changed = mesh.do("retier")

    assert before["tier"] == "off"
    assert before["why"][0].startswith("not sidecars: this kernel was not judged yet")
    assert changed == ["lab/a"]
    assert mesh.status("lab/a")["bypass"]["tier"] == "sidecars"
    mesh.down("lab/a")


def test_a_stream_survives_off_and_on_again_and_again(
    directories: Directories, mesh: Mesh, enrolled: Lab
) -> None:
    total = 32 << 20
    text = bytes(range(251)) * 4096
    with connection(enrolled) as pair:
        sender = threading.Thread(target=_send, args=(pair, text, total))
        sender.start()
        got, turns = 0, 0
        while got < total:
            assert select.select([pair.far], [], [], 30)[0], f"stuck after {got} bytes"
            data = pair.far.recv(1 << 18)
            at = got % len(text)
            wanted = (text[at:] + text)[: len(data)]
            assert data == wanted, f"after {got} bytes"
            got += len(data)
            if got > turns * (total // 8):
                turns += 1
                (mesh.bypass_off if turns % 2 else mesh.bypass_on)()
        sender.join()
        assert short(directories, pair) > 0
        assert turns == 8


def _send(pair: Pair, text: bytes, total: int) -> None:
    sent = 0
    while sent < total:
        assert select.select([], [pair.near], [], 30)[1], f"stuck after {sent} bytes"
        at = sent % len(text)
        sent += pair.near.send(text[at : at + min(1 << 16, total - sent)])


def test_uninstalling_loses_nothing_that_waits_on_the_short_path(
    directories: Directories,
    mesh: Mesh,
    enrolled: Lab,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cni = CniPaths(tmp_path / "net.d", tmp_path / "bin")
    waits = threading.Event()

    def wait(seconds: float) -> None:
        waits.set()
        time.sleep(seconds)

    with connection(enrolled) as pair:
        pair.exchange()
        pair.near.sendall(b"before")
        mesh.close()

        with pytest.raises(MeshError, match="1 connection has messages on the short"):
            uninstall(directories, cni, wait_s=0.2)
        got: list[bytes] = []

        def hear() -> None:
            waits.wait(60)
            got.append(read(pair.far, 6))

        clock = SimpleNamespace(sleep=wait, monotonic=time.monotonic)
        monkeypatch.setattr(draining, "time", clock)
        reader = threading.Thread(target=hear)
        reader.start()
        done = uninstall(directories, cni)
        reader.join()
        pair.near.sendall(b"after")

        assert (done.drained, done.left) == (1, ())
        assert done.drained_s > 0
        assert got == [b"before"]
        assert read(pair.far, 5) == b"after"


def ends(mesh: Mesh, pod: str, sock: socket.socket) -> dict[str, Any]:
    """What status tells of one end of a connection."""
    host, port = sock.getsockname()[:2]
    told = mesh.status(pod)["bypass"]["connections"]
    (found,) = [each for each in told if each["local"] == f"{host}:{port}"]
    return dict(found)


def test_status_tells_the_tier_of_a_live_connection_and_the_reason(
    mesh: Mesh, enrolled: Lab
) -> None:
    with connection(enrolled) as pair:
        pair.exchange()
        first = ends(mesh, "lab/a", pair.near)

        mesh.bypass_off()
        pair.exchange()
        second = ends(mesh, "lab/a", pair.near)

        assert (first["tier"], first["mode"], first["reason"]) == (
            "sidecars",
            "short",
            "",
        )
        assert (first["role"], first["peer"], first["peer_role"]) == (
            "sidecar",
            "lab/b",
            "sidecar",
        )
        assert first["short_messages"] > 0
        assert second["mode"] == "tcp"
        assert second["reason"] == "the short path is switched off"
        assert second["tcp_bytes"] > first["tcp_bytes"]


def test_status_counts_what_closed_connections_carried(
    mesh: Mesh, enrolled: Lab
) -> None:
    with connection(enrolled) as pair:
        pair.exchange(5)

    told = mesh.status("lab/a")["bypass"]["closed"]

    assert told["connections"] == 1
    assert told["short_messages"] == 5
    assert told["short_bytes"] == 5 * len("message 0")


def test_status_says_why_a_connection_was_not_considered(
    directories: Directories, mesh: Mesh, lab: Lab
) -> None:
    qualify(directories, *Role)
    for pod, tier in zip(lab.pods, ("sidecars", "off"), strict=True):
        mesh.up(target(pod)._replace(change=ASKS.format(tier)))
    gateway = Place(lab.router, lab.a.proxy.cgroup)
    with (
        gateway.listen("0.0.0.0", 7000) as outside,
        lab.b.proxy.listen("0.0.0.0", INBOUND) as refused,
        lab.a.app.listen("127.0.0.1", 7001) as own,
        contextlib.ExitStack() as stack,
    ):
        reasons = {}
        for name, way, listener in (
            ("outside", Way(lab.a.gateway, 7000), outside),
            ("refused", Way(lab.b.address), refused),
            ("own", Way("127.0.0.1", 7001), own),
        ):
            near = stack.enter_context(dial(lab.a.proxy, way))
            stack.enter_context(accept(listener))
            found = ends(mesh, "lab/a", near)
            reasons[name] = found["reason"]
            assert (found["tier"], found["mode"]) == ("off", "tcp")

    assert reasons == {
        "outside": "the other end is on no pod of this node",
        "refused": "lab/b has no short path",
        "own": "tier sidecars leaves connections within a pod on TCP",
    }
    for pod in lab.pods:
        mesh.down(f"lab/{pod.name}")


def test_both_ends_tell_the_reason_that_one_of_them_has(
    mesh: Mesh, enrolled: Lab
) -> None:
    with (
        enrolled.b.proxy.listen("0.0.0.0", INBOUND) as listener,
        dial(enrolled.a.proxy, Way(enrolled.b.address, blocking=True)) as near,
        accept(listener) as far,
    ):
        told = [ends(mesh, "lab/a", near), ends(mesh, "lab/b", far)]

    reasons = {each["reason"] for each in told}
    assert reasons == {"one end's owner waits inside recv()"}


def test_status_in_text_shows_a_few_connections(
    directories: Directories, enrolled: Lab
) -> None:
    with connection(enrolled) as pair:
        pair.exchange()

        text = command(directories, "status", "--pod", "lab/a").stdout

    assert "1 of 1 live connection by it" in text
    assert ": sidecars, 3 messages" in text


def test_what_is_switched_off_stands_in_files(tmp_path: Path) -> None:
    switch = Switch(Directories(tmp_path / "pins", tmp_path / "run"))

    switch.set_off("7")
    switch.set_off(NODE)

    assert switch.all_off() == ("7", NODE)
    assert "on this node" in switch.off("8")
    switch.set_on(NODE)
    assert switch.off("8") == ""
    assert switch.off("7") == "switched off: `beewire mesh bypass on --pod 7`"
