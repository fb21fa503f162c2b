"""Mutual TLS between the lab's sidecars."""

import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from beewire.mesh.lab import (
    Beewire,
    Lab,
    LoadConfig,
    Mesh,
    NginxConfig,
    SidecarConfig,
    load,
    mesh,
    received,
)

PORT = 8443
pytestmark = [pytest.mark.mesh, pytest.mark.usefixtures("machine")]


@pytest.fixture(scope="module")
def secured(machine: None) -> Iterator[Mesh]:  # noqa: ARG001 - it may skip
    pytest.importorskip("cryptography", reason="needs cryptography")
    config = SidecarConfig(http_ports=(80, PORT), mutual_tls=(PORT,))
    web = NginxConfig(ports=(80, 8080, PORT))
    with Lab() as lab, mesh(lab, Beewire(), config, web=web) as running:
        yield running


@pytest.mark.parametrize("port", [80, PORT])
def test_requests_pass_both_sidecars(secured: Mesh, port: int) -> None:
    lab = secured.lab

    result = load(lab.a, lab.b, LoadConfig(port=port, connections=4, seconds=1))

    assert result.requests > 0
    assert result.errors == 0


def from_node(secured: Mesh, context: ssl.SSLContext | None) -> bytes:
    """What the port answers one that comes from outside of every pod."""

    def ask() -> bytes:
        where = (secured.lab.b.address, PORT)
        with (
            socket.create_connection(where, timeout=30) as plain,
            context.wrap_socket(plain) if context else plain as sock,
        ):
            sock.sendall(b"GET / HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")
            return received(sock)

    return secured.lab.router.run(ask)


def client(secured: Mesh, name: str = "") -> ssl.SSLContext:
    """A TLS client that trusts the lab's root, as the pod `name` or as nobody."""
    identity = secured.a.config.identity
    assert identity is not None
    context = ssl.create_default_context(cafile=str(identity.root))
    context.check_hostname = False  # names of pods are URIs
    if name:
        chain = identity.chain.with_name(f"{name}.pem")
        context.load_cert_chain(chain, chain.with_suffix(".key"))
    return context


def test_who_has_a_certificate_is_let_in(secured: Mesh) -> None:
    assert b"200 OK" in from_node(secured, client(secured, "a"))


def test_who_has_none_is_not(secured: Mesh) -> None:
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        from_node(secured, client(secured))


def test_who_speaks_plain_http_is_not(secured: Mesh) -> None:
    try:
        answered = from_node(secured, None)
    except ConnectionResetError:
        answered = b""

    assert answered == b""


def test_the_key_is_read_by_the_sidecar_alone(secured: Mesh) -> None:
    identity = secured.b.config.identity
    assert identity is not None
    found = identity.key.stat()

    assert (found.st_mode & 0o777, found.st_uid) == (0o400, secured.lab.b.proxy.uid)


def test_mutual_tls_without_an_identity_is_refused() -> None:
    from beewire.mesh.lab.envoy import bootstrap  # noqa: PLC0415 - one test's

    config = SidecarConfig(http_ports=(PORT,), mutual_tls=(PORT,))

    with pytest.raises(ValueError, match="needs the identity"):
        bootstrap(replace(config, access_log=Path("/dev/null")))
