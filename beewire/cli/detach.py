"""Detach a program: a link of any process, or what was attached without one.

A link is told by its id or by its pin, which is removed with it. What no link holds is
told by its place. Exits with 1 where nothing was detached, and 2 where WHAT is none.

  ID                               a link, as `beewire links` lists it
  PIN                              the link that is pinned there
  xdp INTERFACE                    XDP programs of an interface
  clsact INTERFACE [DIRECTION]     filters of clsact; ingress, egress, or both
  cgroup PATH [HOOK]               programs of a cgroup; at one hook (connect4), or all
  lirc DEVICE                      decoders of an infrared device (/dev/lirc0)
  flow_dissector                   the flow dissector of a network namespace
  map ID                           programs of a map of sockets
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from beewire.bpf.author import inspection
from beewire.bpf.kernel import Link, Map, ids, syscall
from beewire.bpf.kernel.inspection.objects import programs
from beewire.bpf.kernel.links import detach
from beewire.bpf.object import AttachKind, parse_section
from beewire.cli.table import holders
from beewire.errors import (
    BeewireError,
    NotPermitted,
    NotSupported,
    SpecError,
    UsageError,
)

EPILOG = """\
examples:
  beewire detach 42
  beewire detach /sys/fs/bpf/agent/drop
  beewire detach xdp eth0 --netns pod
  beewire detach cgroup /sys/fs/cgroup/pod connect4 --program 17"""

_NETNS = Path("/run/netns")
_DIRECTIONS = ("ingress", "egress")
_OF_CGROUPS = tuple(
    kind
    for kind in AttachKind
    if kind.name.startswith("CGROUP_") or kind is AttachKind.LSM_CGROUP
)
_OF_SOCKMAPS = (
    *(AttachKind.SK_MSG_VERDICT, AttachKind.SK_SKB_STREAM_PARSER),
    *(AttachKind.SK_SKB_STREAM_VERDICT, AttachKind.SK_SKB_VERDICT),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire detach`."""
    parser.epilog = EPILOG
    parser.add_argument("what", nargs="+", metavar="WHAT", help="see above")
    parser.add_argument(
        "--program", type=int, default=0, metavar="ID", help="only this program"
    )
    parser.add_argument(
        "--netns", metavar="NAME", help="a network namespace: its name, or a path"
    )


def run(args: argparse.Namespace) -> int:
    """Detach it, and say what was."""
    word, *rest = args.what
    if args.netns:
        enter(args.netns)
    if word in _PLACES:
        return at_place(word, rest, args.program)
    if rest:
        known = ", ".join(_PLACES)
        raise UsageError(
            f"{word!r} is no place that programs are attached to: it is one of {known}"
        )
    if args.program or args.netns:
        raise UsageError("a link is told by its id or pin alone: leave the options out")
    if word.isdecimal():
        return link(int(word))
    return pinned(Path(word))


def enter(name: str) -> None:
    """Go on in a network namespace.

    Raises:
        UsageError: there is none of this name, or it cannot be entered.
    """
    path = Path(name) if "/" in name else _NETNS / name
    result = syscall.enter_network_namespace(str(path))
    if result < 0:
        why = os.strerror(-result).lower()
        raise UsageError(f"network namespace {name!r} cannot be entered: {why}")


# Links.


def link(number: int) -> int:
    """Detach the link with this id."""
    try:
        detach.link(number)
    except NotSupported as error:
        raise held(number) from error
    print(f"detached link {number}")
    return 0


def pinned(path: Path) -> int:
    """Detach the link that is pinned at `path`, and remove the pin.

    Raises:
        UsageError: nothing is there.
    """
    if not path.exists():
        raise UsageError(
            f"{str(path)!r} is neither the id of a link, nor a pin, nor a place such as "
            "`xdp eth0`"
        )
    with Link.from_pin(str(path)) as found:
        number = found.info.id
        try:
            detach.link(number)
            is_over = True
        except NotSupported:
            is_over = False  # its kind ends when the last who holds it lets go
        path.unlink()
    if not is_over and any(each == number for each in ids.ids(ids.LINK)):
        print(f"removed {path}", file=sys.stderr)
        raise held(number)
    print(f"detached link {number}, and removed {path}")
    return 0


def held(number: int) -> BeewireError:
    """Why a link goes on: this kind ends with its last holder."""
    states = [each for each in inspection.links() if each.id == number]
    told = [holders(each.owners) for each in states if each.owners]
    told += [path for each in states for path in each.pins]
    kind = states[0].kind.lower() if states else "such"
    by = f": {', '.join(told)}" if told else ""
    return BeewireError(
        f"link {number} ({kind}) ends only when nobody holds it any more{by}"
    )


# What no link holds.


def at_place(word: str, rest: list[str], program: int) -> int:
    """Detach what is at a place.

    Raises:
        UsageError: the words do not tell a place.
    """
    needed, may_follow, action = _PLACES[word]
    if not len(needed) <= len(rest) <= len(needed) + may_follow:
        more = " [...]" if may_follow else ""
        raise UsageError(
            f"`beewire detach {' '.join([word, *needed])}{more}` is how it is written"
        )
    place = " ".join([word, *rest])
    names = dict(named())  # a program that nothing holds is gone with its place
    found = action(rest, program)
    for number in found:
        print(f"took program {number}{names.get(number, '')} off {place}")
    if not found:
        print(
            f"nothing is attached at {place} that no link holds; `beewire links` lists "
            "those that links hold",
            file=sys.stderr,
        )
        return 1
    return 0


def xdp(rest: list[str], program: int) -> list[int]:
    """Take XDP programs off an interface."""
    return detach.xdp(rest[0], program_id=program)


def clsact(rest: list[str], program: int) -> list[int]:
    """Take filters off an interface."""
    interface, *directions = rest
    if unknown := set(directions) - {*_DIRECTIONS}:
        raise UsageError(f"{unknown.pop()!r} is neither ingress nor egress")
    return [
        number
        for direction in directions or _DIRECTIONS
        for number in detach.clsact(interface, direction, program_id=program)
    ]


def cgroup(rest: list[str], program: int) -> list[int]:
    """Take programs off a cgroup."""
    path, *names = rest
    hooks = [hook_of(name) for name in names] or _OF_CGROUPS
    found: list[int] = []
    for hook in hooks:
        with suppress(NotSupported):  # a hook that this kernel does not know
            found += detach.cgroup(path, hook, program_id=program)
    return found


def hook_of(name: str) -> AttachKind:
    """A hook of cgroups: "connect4", or "cgroup_inet4_connect" as `beewire ps` has it.

    Raises:
        UsageError: it is none.
    """
    found = next((kind for kind in _OF_CGROUPS if kind.name == name.upper()), None)
    if found is None:
        try:
            found = parse_section(f"cgroup/{name}").attach_kind
        except SpecError:
            found = None
    if found not in _OF_CGROUPS:
        raise UsageError(
            f"{name!r} is no hook of cgroups: write connect4, sock_create, getsockopt "
            "and the like, or as `beewire ps` has it"
        )
    return found


def lirc(rest: list[str], program: int) -> list[int]:
    """Take decoders off an infrared device."""
    return detach.lirc(rest[0], program_id=program)


def flow_dissector(_rest: list[str], _program: int) -> list[int]:
    """Take the flow dissector off this network namespace."""
    return detach.flow_dissector()


def sockets(rest: list[str], _program: int) -> list[int]:
    """Take programs off a map of sockets."""
    if not rest[0].isdecimal():
        raise UsageError(f"{rest[0]!r} is no id of a map: `beewire maps` lists them")
    found: list[int] = []
    with Map.from_id(int(rest[0])) as table:
        for hook in _OF_SOCKMAPS:
            with suppress(NotSupported):
                found += detach.sockmap(table, hook)
    return found


def named() -> Iterator[tuple[int, str]]:
    """The programs of this machine, and their names as they are told; none, if hidden."""
    try:
        for each in programs():
            yield each.id, f" ({each.name})" if each.name else ""
    except NotPermitted:
        return


Action = Callable[[list[str], int], list[int]]
# What is written behind the word, how many words may follow, and what is done.
_PLACES: dict[str, tuple[tuple[str, ...], int, Action]] = {
    "xdp": (("INTERFACE",), 0, xdp),
    "clsact": (("INTERFACE",), 1, clsact),
    "cgroup": (("PATH",), 1, cgroup),
    "flow_dissector": ((), 0, flow_dissector),
    "lirc": (("DEVICE",), 0, lirc),
    "map": (("ID",), 0, sockets),
}
