"""connect() by io_uring: one ring, one request, as liburing would make it."""

import ctypes
import mmap
import os
import socket
import struct

SETUP, ENTER = 425, 426  # of all architectures
CONNECT = 16  # IORING_OP_CONNECT
GETEVENTS = 1
SQ_RING, SQES = 0, 0x1000_0000
PARAMS = 120  # struct io_uring_params; its offsets of rings begin at 40 and 80
SQE, CQE = 64, 16

_libc = ctypes.CDLL(None, use_errno=True)


def connect(sock: socket.socket, host: str, port: int) -> int:
    """What IORING_OP_CONNECT answers: 0, or -errno.

    Raises:
        OSError: the kernel has no io_uring, or does not let us use it.
    """
    params = ctypes.create_string_buffer(PARAMS)
    ring = _libc.syscall(SETUP, 1, params)
    if ring < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    try:
        return _submit(ring, params.raw, sock, host, port)
    finally:
        os.close(ring)


def _submit(ring: int, params: bytes, sock: socket.socket, host: str, port: int) -> int:
    entries = struct.unpack_from("=II", params)
    _, tail, _, _, _, _, array = struct.unpack_from("=7I", params, 40)
    cq = struct.unpack_from("=6I", params, 80)
    size = max(array + 4 * entries[0], cq[5] + CQE * entries[1])
    address = struct.pack("=H", socket.AF_INET) + struct.pack(
        "!H4s8x", port, socket.inet_aton(host)
    )
    kept = ctypes.create_string_buffer(address, len(address))
    with (
        mmap.mmap(ring, size, offset=SQ_RING) as rings,
        mmap.mmap(ring, SQE * entries[0], offset=SQES) as sqes,
    ):
        where = ctypes.addressof(kept)
        sqes[:24] = struct.pack("=BBHiQQ", CONNECT, 0, 0, sock.fileno(), 16, where)
        rings[array : array + 4] = struct.pack("=I", 0)
        rings[tail : tail + 4] = struct.pack("=I", 1)
        if _libc.syscall(ENTER, ring, 1, 1, GETEVENTS, None, 0) < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        answer: int = struct.unpack_from("=Qi", rings, cq[5])[1]
        return answer
