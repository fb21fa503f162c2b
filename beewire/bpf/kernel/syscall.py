"""bpf(2) and the few system calls beside it: the only module that leaves Python.

`bpf` turns a refusal into a KernelError with a sentence; `try_bpf` hands the errno back
as a negative number, for hot paths and probes where a refusal is an answer.

Whatever is asked of the kernel goes through one object, the System. `use` puts another in
its place, so that every refusal can be tested, also without a kernel.
"""

import errno
import os

# Not ctypes, which makes a type of everything that C has: 1 ms of start-up.
from _ctypes import (
    FUNCFLAG_CDECL,
    FUNCFLAG_USE_ERRNO,
    CFuncPtr,
    _SimpleCData,
    addressof,
    dlopen,
    dlsym,
    get_errno,
    set_errno,
)

from beewire.bpf.kernel import attr
from beewire.enums import WireEnum
from beewire.errors import KernelError
from beewire.hints import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    import mmap
    import select
    import socket
    from ctypes import CDLL

_MACHINE = os.uname().machine

# bpf, perf_event_open, mount, umount2, ioctl by architecture. Those below are the same on all.
_NUMBERS = {
    "x86_64": (321, 298, 165, 166, 16),
    "aarch64": (280, 241, 40, 39, 29),
    "riscv64": (280, 241, 40, 39, 29),
    "loongarch64": (280, 241, 40, 39, 29),
    "ppc64le": (361, 319, 21, 52, 54),
}
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_SETNS = {"x86_64": 308, "ppc64le": 350}  # 268 on the others
_SETSOCKOPT = {"x86_64": 54, "ppc64le": 339}  # 208 on the others
_CLONE_NEWNET = 0x4000_0000
_FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 1, 6

# Loads are not reordered with older loads there, so a ring needs no fence.
STRONGLY_ORDERED = _MACHINE == "x86_64"


class Cmd(WireEnum):
    """`enum bpf_cmd`, as far as Beewire uses it."""

    MAP_CREATE = 0
    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    MAP_GET_NEXT_KEY = 4
    PROG_LOAD = 5
    OBJ_PIN = 6
    OBJ_GET = 7
    PROG_ATTACH = 8
    PROG_DETACH = 9
    PROG_TEST_RUN = 10
    PROG_GET_NEXT_ID = 11
    MAP_GET_NEXT_ID = 12
    PROG_GET_FD_BY_ID = 13
    MAP_GET_FD_BY_ID = 14
    OBJ_GET_INFO_BY_FD = 15
    PROG_QUERY = 16
    RAW_TRACEPOINT_OPEN = 17
    BTF_LOAD = 18
    BTF_GET_FD_BY_ID = 19
    TASK_FD_QUERY = 20
    MAP_LOOKUP_AND_DELETE_ELEM = 21
    MAP_FREEZE = 22
    BTF_GET_NEXT_ID = 23
    MAP_LOOKUP_BATCH = 24
    MAP_LOOKUP_AND_DELETE_BATCH = 25
    MAP_UPDATE_BATCH = 26
    MAP_DELETE_BATCH = 27
    LINK_CREATE = 28
    LINK_UPDATE = 29
    LINK_GET_FD_BY_ID = 30
    LINK_GET_NEXT_ID = 31
    ENABLE_STATS = 32
    ITER_CREATE = 33
    LINK_DETACH = 34
    TOKEN_CREATE = 36


_TRIES = 5

# Commands that charged RLIMIT_MEMLOCK before Linux 5.11, and take a token since 6.9.
_MAKING = (Cmd.MAP_CREATE, Cmd.PROG_LOAD, Cmd.BTF_LOAD)


class _Char(_SimpleCData):  # type: ignore[type-arg]  # none when it runs
    _type_ = "c"


class _Long(_SimpleCData):  # type: ignore[type-arg]  # as above
    _type_ = "l"


class _Function(CFuncPtr):
    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO
    _restype_ = _Long


_place = dlsym(dlopen(None, os.RTLD_NOW), "syscall")  # type: ignore[arg-type]  # of the process
_syscall = _Function(_place)
_syscall.argtypes = (_Long,) * 7
# The same function with the arguments of bpf(2) only: each one costs 0.1 us.
_syscall3 = _Function(_place)
_syscall3.argtypes = (_Long,) * 4
# And without, for arguments that are made once (`prepared`).
_syscall_as_given = _Function(_place)
_REAL = (_syscall, _syscall3, _syscall_as_given)


class System:
    """What the toolkit asks of the kernel, call by call; this one asks the real one.

    `call` gives a result or -errno; the others raise OSError, as Python's own do.
    """

    __slots__ = ()

    def call(self, number: int, *arguments: int) -> int:
        """syscall(2): bpf, perf_event_open, ioctl, mount and their kin."""
        padding = (0,) * (6 - len(arguments))
        result: int = _REAL[0](number, *arguments, *padding)
        return -get_errno() if result < 0 else result

    def open(self, path: str, flags: int, dir_fd: int | None) -> int:
        """open(2)."""
        return os.open(path, flags, dir_fd=dir_fd)

    def duplicate(self, fd: int) -> int:
        """dup(2), with close-on-exec."""
        return os.dup(fd)

    def read(self, fd: int, size: int) -> bytes:
        """read(2)."""
        return os.read(fd, size)

    def write(self, fd: int, content: bytes) -> int:
        """write(2)."""
        return os.write(fd, content)

    def socket(self, family: int, kind: int, protocol: int) -> "socket.socket":
        """socket(2)."""
        import socket  # noqa: PLC0415 - netlink only: it takes 5 ms

        return socket.socket(family, kind, protocol)

    def map(self, fd: int, length: int, access: int, offset: int) -> "mmap.mmap":
        """mmap(2), shared."""
        import mmap  # noqa: PLC0415 - rings and mapped arrays only

        return mmap.mmap(fd, length, mmap.MAP_SHARED, access, offset=offset)

    def map_at(
        self, address: int, length: int, access: int, flags: int, fd: int
    ) -> int:
        """mmap(2) through libc: the address, or -errno."""
        import ctypes  # noqa: PLC0415 - arenas only

        function = _libc()["mmap"]
        function.restype = ctypes.c_void_p
        function.argtypes = (
            *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int),
            *(ctypes.c_int, ctypes.c_int, ctypes.c_long),
        )
        found = function(address or None, length, access, flags, fd, 0)
        refused = found is None or found == ctypes.c_void_p(-1).value
        return -ctypes.get_errno() if refused else int(found)

    def poll(self) -> "select.epoll":
        """epoll_create(2)."""
        import select  # noqa: PLC0415 - rings only

        return select.epoll()


_system = System()


def use(system: System | None) -> None:
    """Let every system call go through `system`; None is the kernel again.

    Calls are bound to it by name, so that none of them costs more for it. What
    `prepared` gave before stays as it was.
    """
    global _system, _syscall, _syscall3, _syscall_as_given  # noqa: PLW0603 - the seam
    _system = system or System()
    if system is None:
        _syscall, _syscall3, _syscall_as_given = _REAL
        return

    def enter(number: int, *arguments: int) -> int:
        result = system.call(
            *[getattr(each, "value", each) for each in (number, *arguments)]
        )
        if result < 0:
            set_errno(-result)
        return max(result, -1)

    _syscall = _syscall3 = _syscall_as_given = enter  # type: ignore[assignment]  # called alike


def asks_kernel() -> bool:
    """Whether it is the kernel that answers, so that answers may be kept."""
    return type(_system) is System


def _call(number: int, *arguments: int) -> int:
    """Result of a system call, or -errno. The GIL is released meanwhile."""
    padding = (0,) * (6 - len(arguments))
    result: int = _syscall(number, *arguments, *padding)
    if result >= 0:
        return result
    refused = get_errno()
    # PEP 475: after Python's handler of the signal has run, which may raise.
    return -refused if refused != errno.EINTR else _call(number, *arguments)


def _libc() -> "CDLL":
    import ctypes  # noqa: PLC0415 - not on the start-up path

    return ctypes.CDLL(None, use_errno=True)


def _number(index: int) -> int:
    try:
        return _NUMBERS[_MACHINE][index]
    except KeyError:
        raise KernelError(
            errno.ENOSYS, "bpf", f"Beewire does not know the system calls of {_MACHINE}"
        ) from None


_bpf_number = _number(0)


def address(buffer: "bytearray | mmap.mmap") -> int:
    """Where `buffer` lies in memory.

    Valid while the caller keeps the buffer and does not resize it: the kernel reads and
    writes through it during the call only.
    """
    return addressof(_Char.from_buffer(buffer)) if buffer else 0


def try_bpf(cmd: int, record: bytearray, size: int = 0) -> int:
    """bpf(2): a non-negative result (often a new descriptor), or -errno.

    `size` is the length of the attr at the start of a `record` that holds more. A call
    that a signal interrupts is made again, after Python's handler has run.
    """
    result: int = _syscall3(_bpf_number, cmd, address(record), size or len(record))
    if result >= 0:
        return result
    refused = get_errno()
    return -refused if refused != errno.EINTR else try_bpf(cmd, record, size)


def try_load(record: bytearray) -> int:
    """BPF_PROG_LOAD: a descriptor, or -errno.

    The verifier gives up with EAGAIN when a signal is pending: it is asked five times
    altogether, as libbpf does.
    """
    result = -errno.EAGAIN
    for _ in range(_TRIES):
        result = try_bpf(Cmd.PROG_LOAD, record)
        if result != -errno.EAGAIN:
            break
    return _try_more(Cmd.PROG_LOAD, record) if result == -errno.EPERM else result


def try_making(cmd: int, record: bytearray) -> int:
    """As `try_bpf`; after EPERM without RLIMIT_MEMLOCK, and with a BPF token."""
    result = try_bpf(cmd, record)
    if result == -errno.EPERM and cmd in _MAKING:
        return _try_more(cmd, record)
    return result


def _try_more(cmd: int, record: bytearray) -> int:
    from beewire.bpf.kernel import privilege, token  # noqa: PLC0415 - errors only

    result = -errno.EPERM
    if privilege.raise_memlock():
        result = try_bpf(cmd, record)
    return result if result != -errno.EPERM else token.call(try_bpf, cmd, record)


def prepared(cmd: int, record: bytearray) -> "Callable[[], int]":
    """bpf(2) with arguments that are made once: half of what `try_bpf` takes.

    What it gives is negative where the kernel refuses; `last_errno()` then says why. Keep
    `record`, which may be changed between the calls, but not resized.
    """
    from functools import partial  # noqa: PLC0415 - not on the start-up path

    words = (_bpf_number, cmd, address(record), len(record))
    return partial(_syscall_as_given, *[_Long(word) for word in words])


def last_errno() -> int:
    """Why the last call of what `prepared` gave was refused, in this thread."""
    return get_errno()


def bpf(cmd: Cmd, record: bytearray, about: str, need: tuple[str, ...] = ()) -> int:
    """bpf(2), where a refusal is an error.

    `about` says what was being done ("create map 'hits'"); `need` names capabilities
    beside CAP_BPF that the kernel asks for.

    Raises:
        NotPermitted: EPERM; the message names what is missing.
        NotSupported: the kernel does not know the command.
        KernelError: any other refusal.
    """
    result = try_making(cmd, record)
    if result < 0:
        from beewire.bpf.kernel import explain  # noqa: PLC0415 - errors only

        raise explain.refusal(-result, cmd.name, about, need)
    return result


def read_info(fd: int, record: attr.Record) -> bytearray:
    """What BPF_OBJ_GET_INFO_BY_FD says of `fd`, as the bytes of `record`."""
    info = bytearray(record.size)
    arguments = attr.INFO.pack(bpf_fd=fd, info_len=len(info), info=address(info))
    bpf(Cmd.OBJ_GET_INFO_BY_FD, arguments, "read what the kernel knows of it")
    return info


def perf_event_open(event: bytearray, *, pid: int, cpu: int) -> int:
    """perf_event_open(2) with close-on-exec: a descriptor, or -errno."""
    close_on_exec = 8
    return _call(_number(1), address(event), pid, cpu, -1, close_on_exec)


def ioctl(fd: int, request: int, argument: int) -> int:
    """ioctl(2) with an integer argument: its result, or -errno."""
    return _call(_number(4), fd, request, argument)


def open_file(path: str, flags: int = os.O_RDONLY, dir_fd: int | None = None) -> int:
    """open(2) with close-on-exec; raises OSError."""
    return _system.open(path, flags | os.O_CLOEXEC, dir_fd)


def duplicate(fd: int) -> int:
    """dup(2) with close-on-exec.

    Raises:
        KernelError: the process has too many open files.
    """
    try:
        return _system.duplicate(fd)
    except OSError as error:
        raise _refused(error, "dup", "hold a descriptor a second time") from None


def read(fd: int, size: int) -> bytes:
    """read(2).

    Raises:
        KernelError: the kernel refuses.
    """
    try:
        return _system.read(fd, size)
    except OSError as error:
        raise _refused(error, "read", "read what the kernel tells") from None


def write(fd: int, content: bytes) -> int:
    """write(2) of a command; raises OSError."""
    return _system.write(fd, content)


def open_socket(family: int, kind: int, protocol: int) -> "socket.socket":
    """socket(2) with close-on-exec.

    Raises:
        KernelError: the kernel refuses.
    """
    try:
        return _system.socket(family, kind, protocol)
    except OSError as error:
        raise _refused(error, "socket", "talk to the kernel") from None


def map_file(fd: int, length: int, access: int, offset: int = 0) -> "mmap.mmap":
    """mmap(2), shared, with `access` of PROT_READ and PROT_WRITE.

    Raises:
        KernelError: the kernel refuses.
    """
    try:
        return _system.map(fd, length, access, offset)
    except OSError as error:
        about = f"map {length} bytes of a map or an event"
        raise _refused(error, "mmap", about) from None


def poll() -> "select.epoll":
    """epoll_create(2) with close-on-exec.

    Raises:
        KernelError: the process has too many open files.
    """
    try:
        return _system.poll()
    except OSError as error:
        raise _refused(error, "epoll_create", "wait for records") from None


def _refused(error: OSError, command: str, about: str) -> KernelError:
    from beewire.bpf.kernel import explain  # noqa: PLC0415 - errors only

    number = error.errno or errno.EIO
    return KernelError(number, command, f"cannot {about}: {explain.reason(number)}")


def set_socket_option(fd: int, level: int, option: int, value: bytes) -> int:
    """setsockopt(2): 0, or -errno. Importing `socket` for it costs 5 ms."""
    content = bytearray(value)
    number = _SETSOCKOPT.get(_MACHINE, 208)
    return _call(number, fd, level, option, address(content), len(content))


def open_file_system(kind: str) -> int:
    """A directory descriptor on a new mount of `kind` that no path leads to, or -errno.

    The mount lives as long as the descriptor (fsmount(2), Linux 5.2; CAP_SYS_ADMIN).
    """
    name = bytearray(kind.encode() + b"\0")
    context = _call(_FSOPEN, address(name), 1)
    if context < 0:
        return context
    try:
        created = _call(_FSCONFIG, context, _FSCONFIG_CMD_CREATE, 0, 0, 0)
        return created if created < 0 else _call(_FSMOUNT, context, 1, 0)
    finally:
        os.close(context)


def try_mount_option(kind: str, option: str, value: str) -> int:
    """Whether a file system of `kind` would take an option: 0, or -errno.

    Nothing is mounted (fsopen(2), Linux 5.2; CAP_SYS_ADMIN in the user namespace).
    """
    name, key, text = [
        bytearray(word.encode() + b"\0") for word in (kind, option, value)
    ]
    context = _call(_FSOPEN, address(name), 1)
    if context < 0:
        return context
    try:
        where = address(key), address(text)
        return _call(_FSCONFIG, context, _FSCONFIG_SET_STRING, *where, 0)
    finally:
        os.close(context)


def mount(kind: str, target: str) -> int:
    """mount(2) of a file system without a device: 0, or -errno."""
    name, path = (
        bytearray(kind.encode() + b"\0"),
        bytearray(os.fsencode(target) + b"\0"),
    )
    return _call(_number(2), address(name), address(path), address(name), 0, 0)


def unmount(target: str) -> int:
    """umount2(2): 0, or -errno."""
    path = bytearray(os.fsencode(target) + b"\0")
    return _call(_number(3), address(path), 0)


def map_memory(fd: int, length: int, address: int) -> tuple[int, "memoryview | None"]:
    """mmap(2) of all of `fd`, shared, at `address` (0: anywhere): its place, and a view.

    Python's own mmap takes no address. In the place of an error: -errno and None.
    """
    import ctypes  # noqa: PLC0415 - arenas only

    read_write, shared, fixed_no_replace = 3, 0x01, 0x100000
    flags = shared | (fixed_no_replace if address else 0)
    found = _system.map_at(address, length, read_write, flags, fd)
    if found < 0:
        return found, None
    return found, memoryview((ctypes.c_ubyte * length).from_address(found)).cast("B")


def unmap_memory(address: int, length: int) -> None:
    """munmap(2): no view of it may be used again."""
    import ctypes  # noqa: PLC0415 - arenas only

    function = _libc()["munmap"]
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    function(address, length)


def enter_network_namespace(path: str) -> int:
    """setns(2): this thread, and no other, is in that namespace from now on; or -errno."""
    try:
        fd = open_file(path)
    except OSError as error:
        return -(error.errno or errno.EIO)
    try:
        return _call(_SETNS.get(_MACHINE, 268), fd, _CLONE_NEWNET)
    finally:
        os.close(fd)


def interface_index(name: str) -> int:
    """Index of a network interface in this thread's namespace, or 0.

    if_nametoindex(3) through libc: importing `socket` for it costs 5 ms.
    """
    return int(_libc().if_nametoindex(os.fsencode(name)))


def interface_name(index: int) -> str:
    """The name that `index` stands for in this thread's namespace, or "".

    As `interface_index`, by if_indextoname(3).
    """
    import ctypes  # noqa: PLC0415 - not on the start-up path

    name = ctypes.create_string_buffer(16)
    found = 0 < index < 1 << 31 and _libc().if_indextoname(index, name)
    return os.fsdecode(name.value) if found else ""
