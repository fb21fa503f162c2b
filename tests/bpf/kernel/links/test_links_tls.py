"""Programs on the messages of sockets whose records the kernel encrypts (kTLS)."""

import errno
import socket
import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from beewire.bpf.kernel import Loaded, attach_sockmap
from beewire.bpf.object import AttachKind, MapKind, MapSpec, ObjectSpec, ProgramKind
from beewire.errors import MapError

if TYPE_CHECKING:
    from tests.bpf.kernel.conftest import Counter

pytestmark = pytest.mark.kernel

Pair = tuple[socket.socket, socket.socket]

TCP_ULP, SOL_TLS, TLS_TX, TLS_RX = 31, 282, 1, 2
# struct tls12_crypto_info_aes_gcm_128: version, cipher, iv, key, salt, record number.
AES_GCM = struct.pack(
    "=HH8s16s4s8s", 0x0303, 51, bytes(8), b"k" * 16, b"salt", bytes(8)
)


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two ends of a TCP connection over the loopback interface."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        server, _ = listening.accept()
    with client, server:
        yield client, server


def encrypt(end: socket.socket, direction: int) -> None:
    try:
        end.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"tls")
    except OSError as error:
        if error.errno == errno.ENOENT:
            pytest.skip("this kernel has no TLS")
        raise
    try:
        end.setsockopt(SOL_TLS, direction, AES_GCM)
    except OSError as error:
        if error.errno == errno.EINVAL:
            pytest.skip("this kernel lets no TLS onto sockets of a sockmap")
        raise


def test_a_program_sees_messages_before_the_kernel_encrypts_them(
    counter: "Callable[..., Counter]",
    make_object: Callable[..., ObjectSpec],
    load_now: Callable[..., Loaded],
    pair: Pair,
) -> None:
    client, server = pair
    count = counter(ProgramKind.SK_MSG, AttachKind.SK_MSG_VERDICT)
    spec = MapSpec("s", kind=MapKind.SOCKMAP, key_size=4, value_size=4, max_entries=1)

    sockets = load_now(make_object(spec)).maps["s"]

    with attach_sockmap(count.program, sockets):
        sockets[0] = client.fileno()
        encrypt(client, TLS_TX)
        encrypt(server, TLS_RX)
        client.sendall(b"plain")
        received = server.recv(16)

    assert received == b"plain"
    assert count.hits == 1


def test_a_socket_that_encrypts_already_is_refused(
    make_object: Callable[..., ObjectSpec],
    load_now: Callable[..., Loaded],
    pair: Pair,
) -> None:
    client, server = pair
    spec = MapSpec("s", kind=MapKind.SOCKMAP, key_size=4, value_size=4, max_entries=1)
    sockets = load_now(make_object(spec)).maps["s"]
    encrypt(client, TLS_TX)
    encrypt(server, TLS_RX)

    with pytest.raises(MapError, match="before TLS of the kernel is on them"):
        sockets[0] = client.fileno()
    client.sendall(b"plain")

    assert server.recv(16) == b"plain"
