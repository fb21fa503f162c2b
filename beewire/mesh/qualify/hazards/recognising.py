"""Sockets that have no business on the short path: kTLS and MPTCP are left on TCP."""

import os
import socket
import struct

from beewire.mesh.qualify.exchange import CHUNK, Hearer, Sender, send_and_hear
from beewire.mesh.qualify.stand import Dialled, Finding, Impossible, Pair, Stand

_TCP_ULP = 31
_SOL_TLS, _TLS_TX, _TLS_RX = 282, 1, 2
# struct tls12_crypto_info_aes_gcm_128: version, cipher, iv, key, salt, sequence number
_CRYPTO = struct.Struct("=HH8s16s4s8s")
_TLS_1_2, _AES_GCM_128 = 0x0303, 51
_MPTCP = 262
_SIZE = 200_000


def ktls(stand: Stand) -> str:
    """The kernel encrypts a socket that took the short path: from then on it goes by TCP."""
    with stand.pair() as pair:
        for each in pair.both():
            send_and_hear(Sender(each.other), Hearer(each.subject), CHUNK)
        stand.step("let the kernel encrypt both ends")
        _encrypt(pair)
        before = stand.counted()
        for each in pair.both():
            stand.step("send through the kernel's TLS")
            send_and_hear(Sender(each.other), Hearer(each.subject), _SIZE)
        if short := stand.counted().since(before).short:
            raise Finding(
                f"{short:,} bytes took the short path on sockets that encrypt: it carries"
                " them unencrypted, past the records that TCP carries"
            )
    return f"{2 * _SIZE:,} bytes went through the kernel's TLS, by TCP"


def _encrypt(pair: Pair) -> None:
    keys = [os.urandom(16) for _ in range(2)]
    for sock in pair:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, _TCP_ULP, b"tls")
        except OSError as error:
            raise Impossible(
                f"this kernel has no TLS for sockets: TCP_ULP is refused"
                f" ({error.strerror}); CONFIG_TLS makes it"
            ) from None
    for sock, sends, hears in (
        (pair.subject, keys[0], keys[1]),
        (pair.other, keys[1], keys[0]),
    ):
        for direction, key in ((_TLS_TX, sends), (_TLS_RX, hears)):
            info = _CRYPTO.pack(
                _TLS_1_2, _AES_GCM_128, bytes(8), key, bytes(4), bytes(8)
            )
            try:
                sock.setsockopt(_SOL_TLS, direction, info)
            except OSError as error:
                raise Impossible(
                    f"this kernel's TLS for sockets has no AES-GCM ({error.strerror})"
                ) from None


def mptcp(stand: Stand) -> str:
    """Multipath TCP is left on TCP."""
    with stand.pair(Dialled(protocol=_MPTCP)) as pair:
        for each in pair.both():
            stand.step("send by multipath TCP")
            send_and_hear(Sender(each.other), Hearer(each.subject), _SIZE)
    return f"{2 * _SIZE:,} bytes went by multipath TCP, none by the short path"
