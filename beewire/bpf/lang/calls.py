"""BPF helper functions under names of Python, typed for checkers.

Those marked `helper` are one helper of the generated table (see `prototypes`), whose
number and arguments they have. Those marked `builtin` need more than a call (a shift, a
constant, a stack slot) and are lowered by name. All others are in `helpers`.
"""

import struct as _struct
import sys

from beewire.bpf.lang.contexts import (
    BpfSock,
    Context,
    outside,
)
from beewire.bpf.lang.types import (
    I64,
    U32,
    U64,
    IntType,
    Network16,
    Network32,
    Network64,
    value_type,
)
from beewire.hints import (
    TYPE_CHECKING,
    AbstractContextManager,
    Any,
    Callable,
    TypeVar,
    overload,
)

if TYPE_CHECKING:
    from beewire.bpf.lang.constants import XdpAction
    from beewire.bpf.lang.prototypes import Prototype
    from beewire.bpf.lang.socket_contexts import (
        SockOps,
    )

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class Helper:
    """A function that stands for one helper: `kernel` is that one's name, without bpf_.

    What the kernel says of it is a line of the generated table; `narrow` is the type of
    the result where that is less than the kernel's.
    """

    __slots__ = ("_prototype", "kernel", "narrow")

    def __init__(self, kernel: str, narrow: IntType | None = None) -> None:
        self.kernel = kernel
        self.narrow = narrow
        self._prototype: Prototype | None = None

    @property
    def prototype(self) -> "Prototype":
        """Its line of the table."""
        if self._prototype is None:
            from beewire.bpf.lang.prototypes import prototype  # noqa: PLC0415 - when one is compiled

            self._prototype = prototype(self.kernel)
            assert self._prototype is not None
        return self._prototype

    @property
    def result(self) -> IntType:
        """The type of an integer result."""
        return self.narrow or _INTEGERS.get(self.prototype.result, I64)


_INTEGERS = {"u64": U64, "i64": I64, "u32": U32}

HELPERS: dict[Callable[..., Any], Helper] = {}
BUILTINS: dict[Callable[..., Any], str] = {}


def helper(kernel: str, result: IntType | None = None) -> Callable[[F], F]:
    """Mark a function as the helper that the kernel calls bpf_<kernel>."""

    def mark(function: F) -> F:
        HELPERS[function] = Helper(kernel, result)
        return function

    return mark


def builtin(function: F) -> F:
    """Mark a function as one that the compiler lowers by its name."""
    BUILTINS[function] = function.__name__
    return function


@helper("ktime_get_ns")
def ktime_ns() -> int:
    """Nanoseconds since boot, not counting suspend (`bpf_ktime_get_ns`)."""
    outside("ktime_ns")


@helper("ktime_get_boot_ns")
def ktime_boot_ns() -> int:
    """Nanoseconds since boot, suspend included (`bpf_ktime_get_boot_ns`, Linux 5.8)."""
    outside("ktime_boot_ns")


@helper("ktime_get_coarse_ns")
def ktime_coarse_ns() -> int:
    """As `ktime_ns`, to the last tick (`bpf_ktime_get_coarse_ns`, Linux 5.11)."""
    outside("ktime_coarse_ns")


@helper("get_prandom_u32")
def random_u32() -> int:
    """A pseudo-random number (`bpf_get_prandom_u32`)."""
    outside("random_u32")


@helper("get_smp_processor_id")
def cpu_id() -> int:
    """The CPU that runs the program (`bpf_get_smp_processor_id`)."""
    outside("cpu_id")


@helper("get_numa_node_id", result=U32)
def numa_node_id() -> int:
    """Its NUMA node (`bpf_get_numa_node_id`)."""
    outside("numa_node_id")


@helper("jiffies64")
def jiffies() -> int:
    """The kernel's 64-bit jiffies (`bpf_jiffies64`, Linux 5.6)."""
    outside("jiffies")


@helper("get_current_pid_tgid")
def current_pid_tgid() -> int:
    """The process (high 32 bits) and thread (low 32 bits) that runs."""
    outside("current_pid_tgid")


@builtin
def current_pid() -> int:
    """The thread that runs, as the kernel's `pid`; user space calls it TID."""
    outside("current_pid")


@builtin
def current_tgid() -> int:
    """The process that runs; user space calls it PID."""
    outside("current_tgid")


@builtin
def current_uid() -> int:
    """The user of the running task."""
    outside("current_uid")


@builtin
def current_gid() -> int:
    """The group of the running task."""
    outside("current_gid")


@builtin
def current_comm() -> str:
    """The name of the running task, for a `chars` field (`bpf_get_current_comm`)."""
    outside("current_comm")


@builtin
def current(kernel_type: type[T]) -> T:  # noqa: ARG001
    """The running task as a Kernel struct: `current(task_struct).tgid`."""
    outside("current")


@builtin
def kernel_ptr(address: object, kernel_type: type[T]) -> T:  # noqa: ARG001
    """A kernel address (`ctx.args[0]`, say), a socket or another struct, as a Kernel struct."""
    outside("kernel_ptr")


@builtin
def kernel_address(pointer: object) -> int:  # noqa: ARG001
    """Where a Kernel struct or a socket lies: `kernel_ptr` makes a pointer of it again."""
    outside("kernel_address")


@helper("get_current_cgroup_id")
def current_cgroup_id() -> int:
    """The cgroup v2 of the running task."""
    outside("current_cgroup_id")


@helper("get_current_ancestor_cgroup_id")
def ancestor_cgroup_id(level: int) -> int:  # noqa: ARG001
    """Its ancestor at `level`, 0 being the root; 0 when there is none (Linux 5.7)."""
    outside("ancestor_cgroup_id")


@helper("get_netns_cookie")
def netns_cookie(ctx: Context | None) -> int:  # noqa: ARG001
    """The network namespace of the context's socket; of init for None (Linux 5.7)."""
    outside("netns_cookie")


@helper("get_socket_cookie")
def socket_cookie(ctx: Context) -> int:  # noqa: ARG001
    """The identity of a socket, or of the context's, unique while the machine runs."""
    outside("socket_cookie")


@builtin
def bind(ctx: Context, addr: object) -> int:  # noqa: ARG001
    """Bind the connecting socket to `addr`, a sockaddr_in or sockaddr_in6 Struct.

    0, or a negative error; only in connect4 and connect6 (`bpf_bind`).
    """
    outside("bind")


@helper("sk_assign")
def sk_assign(ctx: Context, sk: BpfSock | None, flags: int = 0) -> int:  # noqa: ARG001
    """Give the connection to `sk`; 0, or a negative error (sk_lookup: Linux 5.9)."""
    outside("sk_assign")


@helper("sk_release")
def sk_release(sk: BpfSock) -> int:  # noqa: ARG001
    """Give back a socket that a lookup returned; it cannot be used any more."""
    outside("sk_release")


@helper("sk_fullsock")
def sk_fullsock(sk: BpfSock) -> BpfSock | None:  # noqa: ARG001
    """The full socket behind `sk`, or None for a request or time-wait socket."""
    outside("sk_fullsock")


@builtin
def sk_lookup_tcp(ctx: Context, tuple: object, netns: int = -1) -> BpfSock | None:  # noqa: A002, ARG001
    """The TCP socket of a `struct bpf_sock_tuple` (its ipv4 or ipv6 arm as a Struct).

    `netns` -1 means the context's own. Give it back by `sk_release`.
    """
    outside("sk_lookup_tcp")


@builtin
def sk_lookup_udp(ctx: Context, tuple: object, netns: int = -1) -> BpfSock | None:  # noqa: A002, ARG001
    """As `sk_lookup_tcp`, for UDP."""
    outside("sk_lookup_udp")


@helper("sock_ops_cb_flags_set")
def sock_ops_cb_flags_set(ctx: "SockOps", flags: int) -> int:  # noqa: ARG001
    """Ask for further events of this socket: `SockOpsFlag` bits."""
    outside("sock_ops_cb_flags_set")


@helper("skb_cgroup_id")
def skb_cgroup_id(ctx: Context) -> int:  # noqa: ARG001
    """The cgroup v2 of the packet's socket."""
    outside("skb_cgroup_id")


@helper("sk_cgroup_id")
def sk_cgroup_id(sk: BpfSock) -> int:  # noqa: ARG001
    """The cgroup v2 of a socket (Linux 5.8)."""
    outside("sk_cgroup_id")


@helper("get_socket_uid")
def socket_uid(ctx: Context) -> int:  # noqa: ARG001
    """The owner of the packet's socket."""
    outside("socket_uid")


@helper("get_retval")
def get_retval() -> int:
    """What the system call, or an earlier program, will return (Linux 5.18)."""
    outside("get_retval")


@helper("set_retval")
def set_retval(value: int) -> int:  # noqa: ARG001
    """Make the system call return `value`, 0 or a negative error (Linux 5.18)."""
    outside("set_retval")


@helper("send_signal")
def send_signal(number: int) -> int:  # noqa: ARG001
    """Send a signal to the running process (Linux 5.3)."""
    outside("send_signal")


@helper("redirect")
def redirect(ifindex: int, flags: int = 0) -> "XdpAction":  # noqa: ARG001
    """Send the packet to another interface; return what it returns."""
    outside("redirect")


@builtin
def printk(text: str) -> None:  # noqa: ARG001
    """Write a line to the kernel's trace pipe: an f-string with up to twelve values.

    Integers as in Python: `{n}`, `{n:5}`, `{n:<5}`, `{n:05}`, `{n:+}`, `{n:x}`, `{n:08x}`,
    `{n:#x}`, `{n:#010x}`, `{n:c}`; texts `{comm}`, `{comm:16}`, `{comm:>16}`; addresses,
    hashed, `{task:p}`. More than three values need Linux 5.16.
    """
    outside("printk")


@overload
def loop(count: int, body: Callable[[int], "bool | None"]) -> int: ...
@overload
def loop(count: int, body: Callable[[int, T], "bool | None"], ctx: T) -> int: ...
@builtin
def loop(count: int, body: Any, ctx: object = None) -> int:  # noqa: ARG001
    """Call `body(i, ctx)` for i from 0 to `count` - 1 (`bpf_loop`, Linux 5.17).

    The kernel verifies the body once, however often it runs: up to 8388608 times. It ends
    early when `body` returns True. `ctx` is a Struct that both share. Returns how often
    it ran, or -E2BIG (-7).
    """
    outside("loop")


@builtin
def goto(program: object) -> None:  # noqa: ARG001
    """Continue in another program of the same hook (`bpf_tail_call`, Linux 4.2).

    The program that it goes to has this one's context, and a stack of its own; what it
    returns is returned. It does not come back, but after 33 in a row: then what follows
    is run.
    """
    outside("goto")


@builtin
def htons(value: int) -> int:
    """16 bits from host to network order; `be16(value)` is the same for a be16."""
    return Network16(_swap(value, "H"))


@builtin
def htonl(value: int) -> int:
    """32 bits from host to network order."""
    return Network32(_swap(value, "I"))


@builtin
def ntohs(value: int) -> int:
    """16 bits from network to host order."""
    return _swap(value, "H")


@builtin
def ntohl(value: int) -> int:
    """32 bits from network to host order."""
    return _swap(value, "I")


@builtin
def bswap64(value: int) -> int:
    """64 bits between host and network order."""
    return Network64(_swap(value, "Q"))


@builtin
def ip4(address: str) -> int:
    """An IPv4 address as `user_ip4` holds it: 32 bits in network order.

    Raises:
        ValueError: It is no dotted quad.
    """
    parts = address.split(".")
    if len(parts) != 4 or not all(p.isdecimal() and int(p) < 256 for p in parts):
        raise ValueError(f"{address!r} is no IPv4 address such as 10.0.0.1")
    return Network32(int.from_bytes(bytes(int(part) for part in parts), sys.byteorder))


@builtin
def sizeof(type: object) -> int:  # noqa: A002 - C's word and argument
    """Bytes that a type takes in memory.

    Of a Kernel class, or of a field of one (`sizeof(task.comm)`), in programs: what the
    kernel says when the program is loaded.

    Raises:
        SpecError: It is no type of a fixed size.
    """
    return value_type(type).size


@builtin
def exists(what: object) -> bool:  # noqa: ARG001
    """Whether this kernel has a struct, a field, an enum's member, a function or variable.

        if exists(task.start_boottime): ...     # or task_struct.start_boottime
        if exists(bpf_task_from_pid): ...       # a kfunc; a Ksym likewise

    The kernel answers when the program is loaded, and what is ruled out is no part of it.
    """
    outside("exists")


@builtin
def type_matches(kernel_type: type) -> bool:  # noqa: ARG001
    """Whether the kernel's struct has every declared field, each of its type (Linux 6.0)."""
    outside("type_matches")


@builtin
def kernel_type_id(kernel_type: type) -> int:  # noqa: ARG001
    """The BTF id of a struct in this kernel, as `helpers.snprintf_btf` takes it."""
    outside("kernel_type_id")


@builtin
def enum_value(member: int) -> int:  # noqa: ARG001
    """The number that this kernel gives a member of an IntEnum with the kernel's name."""
    outside("enum_value")


@builtin
def kernel_str(address: object) -> str:  # noqa: ARG001
    """The text at a kernel address, for a `chars` field: cut to fit, always ended.

    Nothing is written where the address cannot be read (`bpf_probe_read_kernel_str`).
    """
    outside("kernel_str")


@builtin
def user_str(address: object) -> str:  # noqa: ARG001
    """The text at an address of the running process (`bpf_probe_read_user_str`)."""
    outside("user_str")


@builtin
def seq_printf(seq: object, text: str) -> int:  # noqa: ARG001
    """In iterators: write an f-string with up to 12 values to `meta.seq` (Linux 5.8).

    0, or -EOVERFLOW: the object is visited again with a larger buffer.
    """
    outside("seq_printf")


@builtin
def seq_write(seq: object, data: object) -> int:  # noqa: ARG001
    """In iterators: write a Struct or bytes to `meta.seq` as they are (Linux 5.8)."""
    outside("seq_write")


@builtin
def held(it: T) -> "AbstractContextManager[T]":  # noqa: ARG001
    """`it` for a `with` block, at whose end it is given back; None is not.

        with held(bpf_task_from_pid(pid)) as task: ...

    The same without `held`, which is for type checkers: None is no context manager.
    """
    outside("held")


@builtin
def attach_cookie() -> int:
    """What `attach(cookie=...)` was told, to tell places apart: 0 where nothing.

    Tracepoints, probes and perf events have it since Linux 5.15, programs on functions
    since 6.0, raw tracepoints since 6.10.
    """
    outside("attach_cookie")


@builtin
def context() -> Context:
    """The context of a program whose parameters are arguments, for helpers that take it."""
    outside("context")


def _swap(value: int, letter: str) -> int:
    size = _struct.calcsize("=" + letter)
    value = int(value)
    if not 0 <= value < 1 << 8 * size:
        raise ValueError(f"{value} does not fit {8 * size} bits")
    swapped: int = _struct.unpack("=" + letter, _struct.pack("!" + letter, value))[0]
    return swapped
