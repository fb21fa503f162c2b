"""Sockets that have no business on the short path: kTLS and MPTCP are left on TCP."""

import os
import socket
import struct

from beewire.mesh.qualify.exchange import CHUNK, Hearer, Sender, send_and_hear
from beewire.mesh.qualify.stand import Dialled, Finding, Impossible, Pair, Stand, by_tcp

_TCP_ULP = 31
_SOL_TLS, _TLS_TX, _TLS_RX = 282, 1, 2
# struct tls12_crypto_info_aes_gcm_128: version, cipher, iv, key, salt, sequence number
_CRYPTO = struct.Struct("=HH8s16s4s8s")
_TLS_1_2, _AES_GCM_128 = 0x0303, 51
_MPTCP = 262
_SIZE = 200_000


def ktls(stand: Stand) -> str:
    """Ask the kernel to encrypt a socket that took the short path: nothing goes in clear."""
    _require(stand)
    with stand.pair() as pair:
        for each in pair.both():
            send_and_hear(Sender(each.other), Hearer(each.subject), CHUNK)
        stand.step("let the kernel encrypt both ends")
        refused = _encrypt(pair)
        before = stand.counted()
        for each in pair.both():
            stand.step("send through the kernel's TLS")
            send_and_hear(Sender(each.other), Hearer(each.subject), _SIZE)
        if short := stand.counted().since(before).short:
            raise Finding(
                f"{short:,} bytes took the short path on sockets that encrypt: it carries"
                " them in clear, past the records that TCP carries"
            )
    if refused:
        return (
            "the kernel refuses its TLS on a socket of the short path"
            f" ({refused}), so that nothing goes in clear that should not"
        )
    return f"{2 * _SIZE:,} bytes went through the kernel's TLS, by TCP"


def ktls_offered(stand: Stand) -> str:
    """The kernel's TLS can be had for a socket that took the short path, as by TCP."""
    _require(stand)
    with stand.pair() as pair:
        for each in pair.both():
            send_and_hear(Sender(each.other), Hearer(each.subject), CHUNK)
        stand.step("let the kernel encrypt both ends")
        if refused := _encrypt(pair):
            raise Finding(
                f"the kernel's TLS is refused ({refused}) once a socket took the short"
                " path: whoever asks has to encrypt itself"
            )
    return "the kernel's TLS can be had for a socket that took the short path"


def _require(stand: Stand) -> None:
    stand.step("let the kernel encrypt a connection by TCP")
    # One that blocks while it connects has never been anywhere else.
    with by_tcp(stand), stand.pair(Dialled(blocking=True)) as pair:
        if refused := _encrypt(pair):
            raise Impossible(
                f"this kernel has no TLS for sockets ({refused}): CONFIG_TLS makes it"
            )


def _encrypt(pair: Pair) -> str:
    """Let the kernel encrypt both ends; what it says against it, "" where it does."""
    keys = [os.urandom(16) for _ in range(2)]
    try:
        for sock in pair:
            sock.setsockopt(socket.IPPROTO_TCP, _TCP_ULP, b"tls")
        for sock, sends, hears in (
            (pair.subject, keys[0], keys[1]),
            (pair.other, keys[1], keys[0]),
        ):
            for direction, key in ((_TLS_TX, sends), (_TLS_RX, hears)):
                sock.setsockopt(_SOL_TLS, direction, _crypto(key))
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _crypto(key: bytes) -> bytes:
    return _CRYPTO.pack(_TLS_1_2, _AES_GCM_128, bytes(8), key, bytes(4), bytes(8))


def mptcp(stand: Stand) -> str:
    """Multipath TCP is left on TCP."""
    with stand.pair(Dialled(protocol=_MPTCP)) as pair:
        for each in pair.both():
            stand.step("send by multipath TCP")
            send_and_hear(Sender(each.other), Hearer(each.subject), _SIZE)
    return f"{2 * _SIZE:,} bytes went by multipath TCP, none by the short path"
