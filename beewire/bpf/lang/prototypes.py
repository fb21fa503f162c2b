"""What the kernel says of its helpers: a line of the generated table, read when needed."""

from beewire.bpf.isa.helper_table import ALLOWED, HELPERS
from beewire.bpf.lang.contexts import outside
from beewire.bpf.lang.faults import Rule
from beewire.bpf.object.kinds import AttachKind, ProgramKind
from beewire.hints import NoReturn
from beewire.reasons import Reason
from beewire.rows import Row

ANY = -1
"""The mask of programs of which nothing is known: the kernel will say."""

_SLEEPABLE = 1 << 4  # BPF_F_SLEEPABLE


class Prototype(Row):
    """One helper. `arguments` are (name, kind) as in the generated table.

    `since` is the first Linux with it; `result` an integer's type, "void", "ptr", or the
    name of the struct that it points to.
    """

    name: str
    number: int
    since: str
    result: str
    arguments: tuple[tuple[str, str], ...]


class HelperFunction:
    """One helper, as a program names it."""

    __slots__ = ("prototype",)

    def __init__(self, prototype: Prototype) -> None:
        self.prototype = prototype

    @property
    def __name__(self) -> str:
        """Without bpf_, as the kernel's headers number it."""
        return self.prototype.name

    def __call__(self, *arguments: object) -> NoReturn:
        """Refuse: helpers run in the kernel."""
        del arguments
        outside(f"helpers.{self.prototype.name}")

    def __repr__(self) -> str:
        return f"<helper bpf_{self.prototype.name}>"


def prototype(name: str) -> Prototype | None:
    """The helper `bpf_<name>`, or None."""
    start = HELPERS.find(f"\n{name} ")
    if start < 0 or not name:
        return None
    return _read(start + 1)


def by_number(number: int) -> Prototype:
    """The helper of this number, 1 to 211 (`enum bpf_func_id`)."""
    start = 0
    for _ in range(number - 1):
        start = HELPERS.index("\n", start + 1)
    return _read(start + 1)


def names() -> list[str]:
    """Those of all helpers, without bpf_, in the order of their numbers."""
    return [line.partition(" ")[0] for line in HELPERS.strip().split("\n")]


def _read(start: int) -> Prototype:
    name, number, since, result, *rest = HELPERS[
        start : HELPERS.index("\n", start)
    ].split(" ")
    arguments = []
    for each in rest:
        argument, _, kind = each.partition(":")
        arguments.append((argument, kind))
    return Prototype(name, int(number), since, result, tuple(arguments))


def callable_by(kind: ProgramKind, attach_kind: AttachKind | None, flags: int) -> int:
    """The helpers that such a program may call, bit = number; ANY where unknown."""
    found = _callable.get((kind, attach_kind, flags))
    if found is None:
        found = _callable[kind, attach_kind, flags] = _allowed(kind, attach_kind, flags)
    return found


_callable: dict[tuple[ProgramKind, AttachKind | None, int], int] = {}


def _allowed(kind: ProgramKind, attach_kind: AttachKind | None, flags: int) -> int:
    sleepable = "s" if flags & _SLEEPABLE else "-"
    attached = attach_kind.name if attach_kind is not None else "-"
    for attach in (attached, "-"):
        key = f"\n{kind.name} {attach} {sleepable} "
        start = ALLOWED.find(key)
        if start >= 0:
            start += len(key)
            return int(ALLOWED[start : ALLOWED.index("\n", start)], 16)
    return ANY


def callers(number: int) -> list[str]:
    """The programs that may call helper `number`, in words."""
    found: dict[str, None] = {}
    for line in ALLOWED.strip().split("\n"):
        kind, attach, sleepable, mask = line.split(" ")
        if int(mask, 16) >> number & 1:
            word = _WORDS.get(attach) or _WORDS.get(kind) or kind.lower()
            found[f"sleepable {word}" if sleepable == "s" else word] = None
    # Sleepable ones are only told where the others may not.
    return [word for word in found if word.removeprefix("sleepable ") == word
            or word.removeprefix("sleepable ") not in found]  # fmt: skip


def refusal(
    number: int, program: "tuple[ProgramKind, AttachKind | None] | None"
) -> Rule:
    """The fault of a program that calls a helper which it may not call."""
    found = by_number(number)
    where = callers(number)
    shown = ", ".join(where[:10]) + (", and others" if len(where) > 10 else "")
    who = "such" if program is None else caller(*program)
    return Rule(
        Reason.HELPER,
        f"bpf_{found.name} cannot be called in {who} programs",
        f"allowed in {shown or 'none that is known'}; since Linux {found.since}",
    )


def caller(kind: ProgramKind, attach_kind: AttachKind | None) -> str:
    """Programs of this kind, in words."""
    attach = attach_kind.name if attach_kind is not None else ""
    return _WORDS.get(attach) or _WORDS.get(kind.name) or kind.name.lower()


# As their authors call them, where that is not the kernel's name in small letters.
_WORDS = {
    "SOCKET_FILTER": "socket filter",
    "SCHED_CLS": "tc",
    "SCHED_ACT": "tc action",
    "XDP": "XDP",
    "CGROUP_SKB": "cgroup_skb",
    "CGROUP_INET_INGRESS": "cgroup_skb",
    "CGROUP_INET_EGRESS": "cgroup_skb",
    "CGROUP_INET_SOCK_CREATE": "cgroup_sock",
    "CGROUP_INET_SOCK_RELEASE": "cgroup_sock",
    "CGROUP_INET4_POST_BIND": "cgroup_sock",
    "CGROUP_INET6_POST_BIND": "cgroup_sock",
    "CGROUP_GETSOCKOPT": "getsockopt",
    "CGROUP_SETSOCKOPT": "setsockopt",
    "CGROUP_INET4_BIND": "bind4",
    "CGROUP_INET6_BIND": "bind6",
    "CGROUP_INET4_CONNECT": "connect4",
    "CGROUP_INET6_CONNECT": "connect6",
    "CGROUP_UDP4_SENDMSG": "sendmsg4",
    "CGROUP_UDP6_SENDMSG": "sendmsg6",
    "CGROUP_UDP4_RECVMSG": "recvmsg4",
    "CGROUP_UDP6_RECVMSG": "recvmsg6",
    "CGROUP_INET4_GETPEERNAME": "getpeername4",
    "CGROUP_INET6_GETPEERNAME": "getpeername6",
    "CGROUP_INET4_GETSOCKNAME": "getsockname4",
    "CGROUP_INET6_GETSOCKNAME": "getsockname6",
    "CGROUP_UNIX_CONNECT": "connect_unix",
    "CGROUP_UNIX_SENDMSG": "sendmsg_unix",
    "CGROUP_UNIX_RECVMSG": "recvmsg_unix",
    "CGROUP_UNIX_GETPEERNAME": "getpeername_unix",
    "CGROUP_UNIX_GETSOCKNAME": "getsockname_unix",
    "SK_SKB_STREAM_PARSER": "sk_skb",
    "SK_SKB_STREAM_VERDICT": "sk_skb",
    "SK_SKB_VERDICT": "sk_skb",
    "RAW_TRACEPOINT_WRITABLE": "raw_tracepoint",
    "TRACE_RAW_TP": "tp_btf",
    "TRACE_FENTRY": "fentry",
    "TRACE_FEXIT": "fexit",
    "MODIFY_RETURN": "fmod_ret",
    "TRACE_ITER": "iter",
    "LSM_MAC": "lsm",
    "LSM_CGROUP": "lsm_cgroup",
    "STRUCT_OPS": "struct_ops",
}
