"""BPF helper functions, typed for checkers, and a table of what each one compiles to.

A plain helper is a row: its number and, argument by argument, what the kernel expects.
Those marked `builtin` need more than a call (a shift, a constant, a stack slot) and are
lowered by name.
"""

import struct as _struct
import sys

from beewire.bpf.lang.contexts import BpfSock, Context, SockOps, outside
from beewire.bpf.lang.types import I64, U32, U64, IntType, value_type
from beewire.enums import WireEnum
from beewire.hints import TYPE_CHECKING, Any, Callable, TypeVar
from beewire.rows import Row

if TYPE_CHECKING:
    from beewire.bpf.lang.constants import XdpAction

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class Arg(WireEnum):
    """What a helper's argument is."""

    CONTEXT = 0
    INT = 1
    SOCKET = 2
    MAYBE_SOCKET = 3  # None becomes a null pointer
    CONTEXT_OR_SOCKET = 4  # the context stands for its socket


class Returns(WireEnum):
    """What a helper yields."""

    INT = 0
    SOCKET = 1  # borrowed; may be None
    OWNED_SOCKET = 2  # to be released; may be None


class Helper(Row):
    """One helper: `number` of `enum bpf_func_id`, arguments, result.

    `trailing` are constants that follow the arguments; `releases` names the argument
    that is gone after the call.
    """

    number: int
    args: tuple[Arg, ...]
    result: IntType = I64
    returns: Returns = Returns.INT
    trailing: tuple[int, ...] = ()
    releases: int = -1


HELPERS: dict[Callable[..., Any], Helper] = {}
BUILTINS: dict[Callable[..., Any], str] = {}


def helper(
    number: int,
    *args: Arg,
    result: IntType = I64,
    returns: Returns = Returns.INT,
    trailing: tuple[int, ...] = (),
    releases: int = -1,
) -> Callable[[F], F]:
    """Mark a function as helper `number`."""

    def mark(function: F) -> F:
        row = Helper(number, args, result, returns, trailing, releases)
        HELPERS[function] = row
        return function

    return mark


def builtin(function: F) -> F:
    """Mark a function as one that the compiler lowers by its name."""
    BUILTINS[function] = function.__name__
    return function


@helper(5, result=U64)
def ktime_ns() -> int:
    """Nanoseconds since boot, not counting suspend (`bpf_ktime_get_ns`)."""
    outside("ktime_ns")


@helper(125, result=U64)
def ktime_boot_ns() -> int:
    """Nanoseconds since boot, suspend included (`bpf_ktime_get_boot_ns`, Linux 5.8)."""
    outside("ktime_boot_ns")


@helper(160, result=U64)
def ktime_coarse_ns() -> int:
    """As `ktime_ns`, to the last tick (`bpf_ktime_get_coarse_ns`, Linux 5.11)."""
    outside("ktime_coarse_ns")


@helper(7, result=U32)
def random_u32() -> int:
    """A pseudo-random number (`bpf_get_prandom_u32`)."""
    outside("random_u32")


@helper(8, result=U32)
def cpu_id() -> int:
    """The CPU that runs the program (`bpf_get_smp_processor_id`)."""
    outside("cpu_id")


@helper(42, result=U32)
def numa_node_id() -> int:
    """Its NUMA node (`bpf_get_numa_node_id`)."""
    outside("numa_node_id")


@helper(118, result=U64)
def jiffies() -> int:
    """The kernel's 64-bit jiffies (`bpf_jiffies64`, Linux 5.6)."""
    outside("jiffies")


@helper(14, result=U64)
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
def kernel_ptr(address: int, kernel_type: type[T]) -> T:  # noqa: ARG001
    """A kernel address (`ctx.args[0]`, say) as a Kernel struct."""
    outside("kernel_ptr")


@helper(80, result=U64)
def current_cgroup_id() -> int:
    """The cgroup v2 of the running task."""
    outside("current_cgroup_id")


@helper(123, Arg.INT, result=U64)
def ancestor_cgroup_id(level: int) -> int:  # noqa: ARG001
    """Its ancestor at `level`, 0 being the root; 0 when there is none (Linux 5.6)."""
    outside("ancestor_cgroup_id")


@helper(122, Arg.CONTEXT, result=U64)
def netns_cookie(ctx: Context | None) -> int:  # noqa: ARG001
    """The network namespace of the context's socket; of init for None (Linux 5.7)."""
    outside("netns_cookie")


@helper(46, Arg.CONTEXT_OR_SOCKET, result=U64)
def socket_cookie(ctx: Context) -> int:  # noqa: ARG001
    """The identity of a socket, or of the context's, unique while the machine runs."""
    outside("socket_cookie")


@builtin
def bind(ctx: Context, addr: object) -> int:  # noqa: ARG001
    """Bind the connecting socket to `addr`, a sockaddr_in or sockaddr_in6 Struct.

    0, or a negative error; only in connect4 and connect6 (`bpf_bind`).
    """
    outside("bind")


@helper(124, Arg.CONTEXT, Arg.MAYBE_SOCKET, Arg.INT)
def sk_assign(ctx: Context, sk: BpfSock | None, flags: int = 0) -> int:  # noqa: ARG001
    """Give the connection to `sk`; 0, or a negative error (sk_lookup: Linux 5.9)."""
    outside("sk_assign")


@helper(86, Arg.SOCKET, releases=0)
def sk_release(sk: BpfSock) -> int:  # noqa: ARG001
    """Give back a socket that a lookup returned; it cannot be used any more."""
    outside("sk_release")


@helper(95, Arg.SOCKET, returns=Returns.SOCKET)
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


@helper(59, Arg.CONTEXT, Arg.INT)
def sock_ops_cb_flags_set(ctx: SockOps, flags: int) -> int:  # noqa: ARG001
    """Ask for further events of this socket: `SockOpsFlag` bits."""
    outside("sock_ops_cb_flags_set")


@helper(79, Arg.CONTEXT, result=U64)
def skb_cgroup_id(ctx: Context) -> int:  # noqa: ARG001
    """The cgroup v2 of the packet's socket."""
    outside("skb_cgroup_id")


@helper(128, Arg.SOCKET, result=U64)
def sk_cgroup_id(sk: BpfSock) -> int:  # noqa: ARG001
    """The cgroup v2 of a socket (Linux 5.8)."""
    outside("sk_cgroup_id")


@helper(47, Arg.CONTEXT, result=U32)
def socket_uid(ctx: Context) -> int:  # noqa: ARG001
    """The owner of the packet's socket."""
    outside("socket_uid")


@helper(186)
def get_retval() -> int:
    """What the system call, or an earlier program, will return (Linux 5.18)."""
    outside("get_retval")


@helper(187, Arg.INT)
def set_retval(value: int) -> int:  # noqa: ARG001
    """Make the system call return `value`, 0 or a negative error (Linux 5.18)."""
    outside("set_retval")


@helper(109, Arg.INT)
def send_signal(number: int) -> int:  # noqa: ARG001
    """Send a signal to the running process (Linux 5.3)."""
    outside("send_signal")


@helper(23, Arg.INT, Arg.INT)
def redirect(ifindex: int, flags: int = 0) -> "XdpAction":  # noqa: ARG001
    """Send the packet to another interface; return what it returns."""
    outside("redirect")


@builtin
def printk(text: str) -> None:  # noqa: ARG001
    """Write a line to the kernel's trace pipe: an f-string with up to three integers.

    `{n}` prints decimal, `{n:x}` hexadecimal, `{n:#x}` with 0x before it.
    """
    outside("printk")


@builtin
def htons(value: int) -> int:
    """16 bits from host to network order."""
    return _swap(value, "H")


@builtin
def htonl(value: int) -> int:
    """32 bits from host to network order."""
    return _swap(value, "I")


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
    return _swap(value, "Q")


@builtin
def ip4(address: str) -> int:
    """An IPv4 address as `user_ip4` holds it: 32 bits in network order.

    Raises:
        ValueError: It is no dotted quad.
    """
    parts = address.split(".")
    if len(parts) != 4 or not all(p.isdecimal() and int(p) < 256 for p in parts):
        raise ValueError(f"{address!r} is no IPv4 address such as 10.0.0.1")
    return int.from_bytes(bytes(int(part) for part in parts), sys.byteorder)


@builtin
def sizeof(type: object) -> int:  # noqa: A002 - C's word and argument
    """Bytes that a type takes in memory.

    Raises:
        SpecError: It is no type of a fixed size.
    """
    return value_type(type).size


def _swap(value: int, letter: str) -> int:
    size = _struct.calcsize("=" + letter)
    if not 0 <= value < 1 << 8 * size:
        raise ValueError(f"{value} does not fit {8 * size} bits")
    swapped: int = _struct.unpack("=" + letter, _struct.pack("!" + letter, value))[0]
    return swapped
