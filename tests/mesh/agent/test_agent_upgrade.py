"""An agent of another version takes over: other programs, and maps of another layout."""

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from beewire.bpf.kernel import Link
from beewire.errors import MeshError
from beewire.mesh.agent import Directories, Mesh, canary
from beewire.mesh.agent.operations import Operations
from beewire.mesh.enrol import HOOKS, Node
from beewire.mesh.lab import Lab, LoadConfig, LoadResult, SidecarConfig, nginx
from beewire.mesh.lab.load import finish, running
from beewire.mesh.lab.place import stopping
from beewire.mesh.lab.sidecar import sidecar
from beewire.mesh.programs import state
from tests.mesh.agent.conftest import AgentProcess, target
from tests.mesh.agent.test_agent_pods import LISTENER

pytestmark = pytest.mark.mesh

PORT, INBOUND, OUTBOUND = 9000, 15006, 15001
CHECKOUT = Path(__file__).parents[3]
STRUCTS = ("PodState", "Slot", "Dialled", "Handshake", "Counts")

StartOlder = Callable[[], AgentProcess]


@pytest.fixture
def start_older(directories: Directories, tmp_path: Path) -> Iterator[StartOlder]:
    """An agent of an older version, in which structs begin with a field of their own."""
    tree = tmp_path / "older"
    shutil.copytree(
        CHECKOUT / "beewire",
        tree / "beewire",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    source = tree / "beewire" / "mesh" / "programs" / "state.py"
    text = source.read_text()
    for name in STRUCTS:
        head = re.compile(rf'(class {name}\(Struct\):\n    """.*?"""\n)', re.DOTALL)
        text, count = head.subn(r"\1\n    older: u64 = 5\n", text)
        assert count == 1
    source.write_text(text)
    with ExitStack() as stack:

        def start() -> AgentProcess:
            agent = AgentProcess(directories, tmp_path / "older.log", tree)
            stack.callback(agent.end, signal.SIGKILL)
            agent.wait_until_it_answers()
            return agent

        yield start


def programs(directories: Directories, pod_id: str) -> dict[str, int]:
    found = {}
    for hook in HOOKS:
        with Link.from_pin(str(directories.links(pod_id) / hook.name)) as link:
            found[hook.name] = link.info.program_id
    return found


def test_the_same_version_changes_nothing(
    lab: Lab, mesh: Mesh, directories: Directories
) -> None:
    record = mesh.up(target(lab.a))
    mesh.close()
    before = programs(directories, record.id)

    with Operations(directories) as operations:
        assert operations.renew() is None

    assert programs(directories, record.id) == before


def test_a_command_of_another_version_says_what_to_do(
    lab: Lab, mesh: Mesh, start_older: StartOlder
) -> None:
    agent = start_older()
    mesh.up(target(lab.a))
    agent.end()

    with pytest.raises(MeshError, match=r"another version .*agent --once"):
        mesh.down("a")


def test_entries_sockets_and_listeners_are_carried_over(
    lab: Lab, mesh: Mesh, directories: Directories, start_older: StartOlder
) -> None:
    agent = start_older()
    process = lab.a.proxy.start(
        [sys.executable, "-c", LISTENER], stdout=subprocess.PIPE
    )
    with stopping(process):
        assert process.stdout is not None
        process.stdout.readline()
        record = mesh.up(target(lab.a))
        # IPv6 has no aliases: what it dialled is in the socket, and nowhere else.
        with (
            lab.a.proxy.listen("::", OUTBOUND),
            lab.a.app.connect(lab.b.address6, PORT) as client,
        ):
            shown = client.getpeername()
            agent.end()
            before = programs(directories, record.id)

            with Operations(directories) as operations:
                done = operations.renew()
                operations.adopt()

            assert done is not None
            assert {"pods", "listeners", "dialled", "handshakes", "counts"} <= {
                *done.maps
            }
            assert client.getpeername() == shown
        after = programs(directories, record.id)
        assert not set(before.values()) & set(after.values())
        with lab.b.app.connect(lab.a.address, PORT):
            assert mesh.status("a")["decisions"]["inbound_captured"] == 1
            assert mesh.status("a")["decisions"]["outbound_captured"] == 1
    assert sorted(path.name for path in directories.pins.iterdir()) == ["pods", "set"]
    # What tried the programs had a configuration of its own, and took away no other.
    with Node.load(directories.set) as node:
        assert len(node.loaded[state.configs]) == 1
    mesh.down("a")


CLOSER = """
import select, socket, sys
listener, epoll, heard = socket.create_server(("127.0.0.1", 0)), select.epoll(), 0
print("begun", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    pairs = []
    for _ in range(50):
        client = socket.create_connection(listener.getsockname())
        pairs.append((client, listener.accept()[0]))
        client.sendall(b"x")
        epoll.register(pairs[-1][1], select.EPOLLIN)
    for client, served in pairs:
        client.close()
        served.close()
    heard += len(epoll.poll(0))
print(heard)
"""


def test_of_what_is_closed_meanwhile_nothing_is_heard_any_more(
    lab: Lab, mesh: Mesh, directories: Directories, start_older: StartOlder
) -> None:
    agent = start_older()
    mesh.up(target(lab.a)._replace(sidecar_later=True))
    process = lab.a.app.start(
        [sys.executable, "-c", CLOSER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with stopping(process):
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        agent.end()
        with Operations(directories) as operations:
            assert operations.renew() is not None
        process.stdin.close()

        # A copy of a socket would be one more that holds it in an epoll.
        assert int(process.stdout.read()) == 0
    mesh.down("a")


def test_who_has_the_programs_open_notices_that_they_are_others(
    lab: Lab, mesh: Mesh, directories: Directories, start_older: StartOlder
) -> None:
    mesh.up(target(lab.a))
    older = start_older()
    older.end()
    with Operations(directories) as operations:
        assert operations.renew() is not None

    mesh.update("lab/a", "inbound: {exclude_ports: [9999]}\n")

    with Node.load(directories.set) as node:
        (owner,) = node.loaded[state.configs]
        (pod,) = node.loaded[state.pods].values()
        assert pod.config == owner
    mesh.down("lab/a")


def fails(*_: object) -> None:
    raise MeshError("it does not work")


@pytest.mark.parametrize("step", ["try_programs", "_Change._verify"])
def test_what_fails_is_put_back(
    lab: Lab,
    mesh: Mesh,
    directories: Directories,
    start_older: StartOlder,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    agent = start_older()
    record = mesh.up(target(lab.a))
    agent.end()
    before = programs(directories, record.id)
    monkeypatch.setattr(f"beewire.mesh.agent.upgrade.{step}", fails)

    with Operations(directories) as operations, pytest.raises(MeshError, match="work"):
        operations.renew()

    assert programs(directories, record.id) == before
    assert sorted(path.name for path in directories.pins.iterdir()) == ["pods", "set"]
    with lab.a.proxy.listen("0.0.0.0", INBOUND), lab.b.app.connect(lab.a.address, PORT):
        pass


def test_programs_that_do_not_redirect_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Node.load() as node:
        monkeypatch.setattr(Node, "enrol", lambda *_: ExitStack())
        monkeypatch.setattr(canary, "_TIMEOUT_S", 0.5)
        with pytest.raises(MeshError, match="the programs"):
            canary.try_programs(node)


def test_requests_under_load_notice_nothing(
    lab: Lab, mesh: Mesh, directories: Directories, start_older: StartOlder
) -> None:
    agent = start_older()
    config = SidecarConfig(workers=1)
    for pod in lab.pods:
        mesh.up(target(pod)._replace(sidecar_later=True))
    Node.load().close()  # compiled before the load begins
    with sidecar(lab.a, config), sidecar(lab.b, config), nginx(lab.b):
        agent.end()

        def upgrade() -> None:
            with Operations(directories) as operations:
                assert operations.renew() is not None

        found, left_s = load_during(lab, upgrade)
    assert left_s > 0  # it was over before the load was
    assert (found.errors, found.missing) == (0, 0)


def load_during(lab: Lab, action: Callable[[], None]) -> tuple[LoadResult, float]:
    """What the load met, and how long before its end `action` was over, in seconds."""
    config = LoadConfig(seconds=60, close=True)
    begun = time.monotonic()
    with running(lab.a, lab.b, config) as process:
        time.sleep(0.5)
        action()
        left_s = config.seconds - (time.monotonic() - begun)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)  # wrk tells what it has seen so far
        return finish(process, config), left_s
