"""How each kind of value is spelled: texts, as Istio takes them, to values and back.

A kind's `read` raises `Invalid`, which says what is wrong and what to write instead;
whoever called it knows the name of the annotation, flag, variable or line.
"""

import re
from collections.abc import Callable
from enum import Enum
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    ip_address,
    ip_interface,
)
from typing import Final, Literal, NamedTuple

from beewire.mesh.config.pod import (
    ALL,
    All,
    Bypass,
    InterceptionMode,
    IPNetwork,
    ProxyIdentity,
)

MOST_ID: Final = 2**32 - 2  # (uid_t)-1 is no user
SELF_CALL_MARK: Final = 1338  # Istio's own, besides the one of TPROXY
_LONGEST = 200  # characters of a message that quotes what was written
# Linux takes more (dev_valid_name(), net/core/dev.c); these are safe in rules of any tool.
_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")
_GROUP = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?")
# strconv.ParseBool, which reads Istio's switches
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})


class Invalid(ValueError):  # noqa: N818 - what a value is
    """A text that is no value of its kind: what is wrong, and what to write instead."""

    def __init__(self, problem: str, advice: str) -> None:
        if len(problem) > _LONGEST:
            problem = problem[:_LONGEST] + "..."
        super().__init__(f"{problem}; {advice}")
        self.problem = problem
        self.advice = advice


class Kind(NamedTuple):
    """One kind of value: what it takes in words, and both directions of its spelling."""

    takes: str
    read: Callable[[str], object]
    write: Callable[[object], str]


def _words(text: str) -> list[str]:
    # "6000,7000," is legal in Istio: empty words are skipped.
    return [word.strip() for word in text.split(",") if word.strip()]


def _number(text: str, least: int, most: int, what: str) -> int:
    text = text.strip()
    # Ten digits are all that 32 bits need, and int() refuses what is absurdly long.
    if re.fullmatch(r"0*[0-9]{1,10}", text) and least <= int(text[-10:]) <= most:
        return int(text[-10:])
    raise Invalid(f"{text!r} is not {what}", f"write a number from {least} to {most}")


def _port(text: str) -> int:
    if re.fullmatch(r"\s*\d+\s*[-:]\s*\d+\s*", text):
        raise Invalid(f"{text!r} is a range of ports", "list each of them")
    return _number(text, 1, 65535, "a port")


def _status_port(text: str) -> int:
    return _number(text, 0, 65535, "a port")


def _ports(text: str) -> tuple[int, ...]:
    if "*" in _words(text):
        raise Invalid("'*' is no port here", "list ports, separated by commas")
    return tuple(map(_port, _words(text)))


def _excluded_ports(text: str) -> tuple[int, ...]:
    if "*" in _words(text):
        raise Invalid(
            "'*' would exclude every port",
            "to capture none, write an empty list of included ports",
        )
    return _ports(text)


def _alone(text: str) -> bool:
    # Whether the text is "*"; in a list it has no meaning.
    if "*" in (words := _words(text)) and len(words) > 1:
        raise Invalid(
            "'*' stands for all and among others", "write '*' alone, or a list"
        )
    return words == ["*"]


def _ports_or_all(text: str) -> tuple[int, ...] | Literal[All.ALL]:
    return ALL if _alone(text) else _ports(text)


def _range(text: str) -> IPNetwork:
    address, slash, length = text.partition("/")
    if not slash:
        _bare(address)
    try:
        interface = ip_interface(text)
    except ValueError:
        interface = None
    if interface is None or not length.isdigit() or "%" in text:
        raise Invalid(
            f"{text!r} is not a range of addresses",
            "write it as 10.0.0.0/8 or fd00::/8",
        )
    network = interface.network
    if isinstance(interface.ip, IPv6Address) and interface.ip.ipv4_mapped:
        raise Invalid(
            f"{text!r} never matches: such packets are IPv4", "write the IPv4 range"
        )
    # Istio looks at the address as it is written: 127.0.0.1/4 captures loopback there.
    if interface.ip.is_loopback and not network.is_loopback:
        raise Invalid(
            f"{text!r} is written as a loopback address, and reaches far beyond",
            f"write {network}, and loopback as 127.0.0.0/8 or ::1/128 besides",
        )
    return network


def _bare(address: str) -> None:
    # Istio's annotations refuse an address without prefix, istio-iptables ignores it.
    try:
        whole = ip_address(address)
    except ValueError:
        return
    raise Invalid(
        f"{address!r} has no prefix length", f"write {address}/{whole.max_prefixlen}"
    )


def _ranges(text: str) -> tuple[IPNetwork, ...]:
    return tuple(map(_range, _words(text)))


def _excluded_ranges(text: str) -> tuple[IPNetwork, ...]:
    if "*" in _words(text):
        raise Invalid(
            "'*' would exclude every address, and Istio refuses it",
            "to capture none, write an empty list of included ranges",
        )
    return _ranges(text)


def _ranges_or_all(text: str) -> tuple[IPNetwork, ...] | Literal[All.ALL]:
    return ALL if _alone(text) else _ranges(text)


def _id(text: str) -> int:
    if _GROUP.fullmatch(text.strip()):
        raise Invalid(f"{text!r} is a name", "write the user's or group's number")
    return _number(text, 0, MOST_ID, "the number of a user or group")


def _ids(text: str) -> tuple[int, ...]:
    return tuple(map(_id, _words(text)))


def _mode(text: str) -> InterceptionMode:
    try:
        return InterceptionMode(text.strip())
    except ValueError:
        known = [mode.value for mode in InterceptionMode]
        meant = text.strip().upper()
        advice = (
            f"write {meant}" if meant in known else "write REDIRECT, TPROXY or NONE"
        )
        raise Invalid(f"{text!r} is no mode of interception", advice) from None


def _mark(text: str) -> int:
    mark = _number(text, 1, 2**32 - 1, "a mark")
    if mark == SELF_CALL_MARK:
        raise Invalid(
            f"{mark} marks the sidecar's calls to its own pod", "write another mark"
        )
    return mark


def _table(text: str) -> int:
    return _number(text, 1, 2**31 - 1, "the number of a routing table")


def _interface(name: str) -> str:
    if name.endswith("+"):
        raise Invalid(
            f"{name!r} is a pattern of iptables, which nft takes for a name",
            "list each interface",
        )
    if not _INTERFACE.fullmatch(name):
        raise Invalid(
            f"{name!r} is no name of an interface",
            "write at most 15 letters, digits, '-', '_' and '.'",
        )
    return name


def _interfaces(text: str) -> tuple[str, ...]:
    return tuple(map(_interface, _words(text)))


def _group(word: str) -> str:
    if word.isascii() and word.isdigit():
        return str(_number(word, 0, MOST_ID, "the number of a group"))
    if not _GROUP.fullmatch(word):
        raise Invalid(f"{word!r} is no group", "write a name such as java, or a number")
    return word


def _groups(text: str) -> tuple[str, ...]:
    if "*" in _words(text):
        raise Invalid("'*' would exclude every group", "list groups")
    return tuple(map(_group, _words(text)))


def _groups_or_all(text: str) -> tuple[str, ...] | Literal[All.ALL]:
    return ALL if _alone(text) else _groups(text)


def _group_ids(text: str) -> tuple[tuple[str, int], ...]:
    numbers = {}
    for word in _words(text):
        name, equals, number = word.partition("=")
        if not equals or not _GROUP.fullmatch(name):
            raise Invalid(f"{word!r} names no group's number", "write java=1001")
        numbers[name] = _number(number, 0, MOST_ID, "the number of a group")
    return tuple(sorted(numbers.items()))


def _switch(text: str) -> bool:
    if (word := text.strip()) in _TRUE | _FALSE:
        return word in _TRUE
    raise Invalid(f"{text!r} is neither true nor false", "write true or false")


def _server(text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text)
    except ValueError:
        raise Invalid(
            f"{text!r} is no address of a resolver", "write it as 10.96.0.10"
        ) from None


def _servers(text: str) -> tuple[IPv4Address | IPv6Address, ...]:
    return tuple(map(_server, _words(text)))


def _loopback(text: str) -> IPv4Network:
    try:
        interface = ip_interface(text.strip())
    except ValueError:
        interface = None
    # Istio: ValidateIPv4LoopbackCidr
    if interface is None or interface.version != 4 or not interface.network.is_loopback:
        raise Invalid(
            f"{text!r} is no range inside 127.0.0.0/8",
            "write 127.0.0.1/32, Istio's default, or 127.0.0.0/8",
        )
    return IPv4Network(interface.network)


def _identity(text: str) -> ProxyIdentity:
    try:
        return ProxyIdentity(text.strip())
    except ValueError:
        raise Invalid(
            f"{text!r} is no way to know the sidecar",
            "write cgroup, or owner for Istio's way",
        ) from None


def _bypass(text: str) -> Bypass:
    word = text.strip()
    try:
        return Bypass(word)
    except ValueError:
        pass
    known = [tier.value for tier in Bypass]
    advice = "write off, sidecars, all or auto"
    if word in _TRUE | _FALSE or word.lower() in {"on", "yes", "no"}:
        advice += "; left out, it is sidecars where the kernel qualified"
    elif word.lower() in known:
        advice = f"write {word.lower()}"
    raise Invalid(f"{text!r} is no tier of the bypass", advice)


def _write(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case Enum():
            return str(value.value)
        case tuple():
            return ",".join(
                f"{each[0]}={each[1]}" if isinstance(each, tuple) else str(each)
                for each in value
            )
        case _:
            return str(value)


def _kind(takes: str, read: Callable[[str], object]) -> Kind:
    return Kind(takes, read, _write)


PORT = _kind("a port", _port)
STATUS_PORT = _kind("a port, or 0", _status_port)
PORTS = _kind("ports", _ports)
EXCLUDED_PORTS = _kind("ports", _excluded_ports)
PORTS_OR_ALL = _kind("ports, or `*`", _ports_or_all)
RANGES_OR_ALL = _kind("CIDRs, or `*`", _ranges_or_all)
EXCLUDED_RANGES = _kind("CIDRs", _excluded_ranges)
IDS = _kind("numbers of users or groups", _ids)
MODE = _kind("`REDIRECT`, `TPROXY` or `NONE`", _mode)
MARK = _kind("a packet mark", _mark)
TABLE = _kind("the number of a routing table", _table)
INTERFACES = _kind("names of interfaces", _interfaces)
GROUPS = _kind("groups, by name or number", _groups)
GROUPS_OR_ALL = _kind("groups, by name or number, or `*`", _groups_or_all)
GROUP_IDS = _kind("NAME=GID pairs", _group_ids)
SWITCH = _kind("`true` or `false`", _switch)
SERVERS = _kind("addresses", _servers)
LOOPBACK = _kind("a CIDR inside 127.0.0.0/8", _loopback)
IDENTITY = _kind("`cgroup` or `owner`", _identity)
BYPASS = _kind("`off`, `sidecars`, `all` or `auto`", _bypass)
