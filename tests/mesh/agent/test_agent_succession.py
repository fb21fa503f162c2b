"""Another version takes over while connections are on the short path."""

import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from beewire.errors import MeshError
from beewire.mesh.agent import Directories, Mesh
from beewire.mesh.agent.operations import Operations
from beewire.mesh.bypass import connections
from beewire.mesh.enrol import Node
from beewire.mesh.lab import Lab
from beewire.mesh.programs.bypass.state import Mode, Why
from tests.mesh.agent.conftest import CHECKOUT, AgentProcess, target
from tests.mesh.bypass.edges import ROOM, Edges
from tests.mesh.bypass.joined import INBOUND, Pair, Way, accept, dial, inbound, read

pytestmark = pytest.mark.mesh

StartOlder = Callable[[str], AgentProcess]

# What an older version has otherwise: a layout, or no more than a program.
OTHERWISE = {
    "layout": (
        r'(class Flow\(Struct\):\n    """.*?"""\n)',
        r"\1\n    older: u64 = 0\n",
    ),
    "key": (r'(class End\(Struct\):\n    """.*?"""\n)', r"\1\n    older: u64 = 0\n"),
    "program": (r"MOST_MESSAGES = 1 << 10", "MOST_MESSAGES = 1 << 9"),
}


# Verdicts hold for the programs that were judged.
ALLOW = """
import sys
from pathlib import Path
from beewire.mesh.qualify import *
passed = [
    Verdict("order", HazardClass.A, role, Outcome.PASS, "in order") for role in Role
]
write(Path(sys.argv[1]), Qualification(fingerprint(), tuple(passed)))
"""


def allow(directories: Directories, tree: Path) -> None:
    """Let it be known that the programs of a version have passed."""
    directories.prepare()
    subprocess.run(
        [sys.executable, "-c", ALLOW, str(directories.run)],
        env={**os.environ, "PYTHONPATH": str(tree)},
        cwd=tree,
        check=True,
    )


@pytest.fixture
def start_older(directories: Directories, tmp_path: Path) -> Iterator[StartOlder]:
    """An agent of an older version, whose short path is another."""
    with ExitStack() as stack:

        def start(what: str) -> AgentProcess:
            tree = tmp_path / "older"
            shutil.copytree(
                CHECKOUT / "beewire",
                tree / "beewire",
                ignore=shutil.ignore_patterns("__pycache__"),
            )
            source = tree / "beewire" / "mesh" / "programs" / "bypass" / "state.py"
            pattern, instead = OTHERWISE[what]
            text, count = re.subn(pattern, instead, source.read_text(), flags=re.DOTALL)
            assert count == 1
            source.write_text(text)
            allow(directories, tree)
            agent = AgentProcess(directories, tmp_path / "older.log", tree)
            stack.callback(agent.end, signal.SIGKILL)
            agent.wait_until_it_answers()
            return agent

        yield start


class Sidecars:
    """Those of both pods, and connections between them."""

    def __init__(self, lab: Lab, mesh: Mesh) -> None:
        self.lab, self.mesh = lab, mesh
        self.listener: socket.socket | None = None
        self.pairs: list[Pair] = []

    def enrol(self) -> None:
        """Enrol the pods, and begin to listen."""
        for pod in self.lab.pods:
            self.mesh.up(target(pod))
        self.listener = self.lab.b.proxy.listen("0.0.0.0", INBOUND)

    def connect(self) -> Pair:
        """One connection more, over which messages have gone both ways."""
        assert self.listener is not None
        near = dial(self.lab.a.proxy, Way(self.lab.b.address))
        pair = Pair(near, accept(self.listener))
        self.pairs.append(pair)
        pair.exchange()
        return pair

    def end(self) -> None:
        """Close everything, and withdraw the pods."""
        for pair in self.pairs:
            pair.close()
        if self.listener is not None:
            self.listener.close()
        for pod in self.lab.pods:
            self.mesh.down(f"lab/{pod.name}")


@pytest.fixture
def sidecars(lab: Lab, mesh: Mesh) -> Iterator[Sidecars]:
    made = Sidecars(lab, mesh)
    yield made
    made.end()


def modes(directories: Directories) -> list[tuple[Mode, Why]]:
    with Node.load(directories.set) as node:
        return [(each.mode, each.why) for each in connections(node.short_path)]


@pytest.mark.parametrize("what", OTHERWISE)
def test_no_byte_is_lost_and_new_connections_meet(
    directories: Directories,
    start_older: StartOlder,
    sidecars: Sidecars,
    what: str,
) -> None:
    agent = start_older(what)
    sidecars.enrol()
    agent.end()
    allow(directories, CHECKOUT)
    sent = [os.urandom(3000) for _ in range(3)]
    old = sidecars.connect()
    old.near.sendall(sent[0])

    with Operations(directories) as operations:
        done = operations.renew()
        operations.adopt()
    old.near.sendall(sent[1])
    got = read(old.far, 6000)
    old.exchange()
    old.near.sendall(sent[2])
    got += read(old.far, 3000)
    seen = modes(directories)
    sidecars.connect()
    after = modes(directories)

    assert done is not None
    assert got == b"".join(sent)
    # Who has joined goes on where both versions have the same layout; else by TCP.
    kept = [(Mode.SHORT, Why.NOTHING)] * (2 if what == "program" else 0)
    assert seen == kept
    assert after == [*kept, *[(Mode.SHORT, Why.NOTHING)] * 2]


@pytest.fixture
def connect(lab: Lab, mesh: Mesh) -> Iterator[Callable[[], Pair]]:
    """A sidecar and the application that it has dialled, in a pod of tier all."""
    with ExitStack() as stack:

        def connect() -> Pair:
            mesh.up(target(lab.b)._replace(change="bypass: {tier: all}\n"))
            stack.callback(mesh.down, "lab/b")
            return stack.enter_context(inbound(lab.b))

        yield connect


def hooks(directories: Directories) -> dict[str, int]:
    """How many links each hook of the short path has."""
    names = [each.name for each in (directories.pins / "pods").glob("*/bypass_*")]
    return {
        name: sum(each.startswith(name) for each in names)
        for name in ("bypass_sidecar", "bypass_app")
    }


@pytest.mark.parametrize("counts", [False, True])
@pytest.mark.parametrize("what", OTHERWISE)
def test_who_has_stopped_to_read_is_told_of_what_comes_after_it(
    directories: Directories,
    start_older: StartOlder,
    connect: Callable[[], Pair],
    what: str,
    counts: bool,
) -> None:
    agent = start_older(what)
    pair = connect()
    agent.end()
    allow(directories, CHECKOUT)
    reader = Edges(pair.far, counts=counts)
    first, second = b"a" * (ROOM - 1), b"b" * 3 * ROOM

    with Operations(directories) as operations:
        pair.near.sendall(first)
        operations.renew()
        operations.adopt()
        pair.near.sendall(second)
        reader.sees()
        got = reader.reads(len(first + second))
        operations.sweep()
        meanwhile = hooks(directories)
        pair.exchange()
        pair.close()
        operations.sweep()

    assert got == first + second
    others = 1 if what == "program" else 2
    assert meanwhile == {"bypass_sidecar": others, "bypass_app": others}
    assert hooks(directories) == {"bypass_sidecar": 1, "bypass_app": 1}
    assert not (directories.pins / "past").exists()


def received_by_tcp(sock: socket.socket) -> int:
    """How many bytes TCP has received: `tcpi_bytes_received`."""
    told = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136)
    (number,) = struct.unpack_from("=Q", told, 128)
    return int(number)


def fails(*_: object) -> None:
    raise MeshError("it does not work")


@pytest.mark.parametrize("what", OTHERWISE)
def test_what_fails_is_put_back(
    directories: Directories,
    start_older: StartOlder,
    sidecars: Sidecars,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    agent = start_older(what)
    sidecars.enrol()
    agent.end()
    allow(directories, CHECKOUT)
    old = sidecars.connect()

    with monkeypatch.context() as patch:
        patch.setattr("beewire.mesh.agent.upgrade._Change._verify", fails)
        with Operations(directories) as operations, pytest.raises(MeshError):
            operations.renew()
    old.exchange()
    new = sidecars.connect()

    assert [received_by_tcp(sock) for sock in (*old, *new)] == [0, 0, 0, 0]
    assert hooks(directories) == {"bypass_sidecar": 2, "bypass_app": 0}
    with Operations(directories) as operations:
        assert operations.renew() is not None
