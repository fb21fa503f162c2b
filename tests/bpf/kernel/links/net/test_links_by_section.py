"""Programs of object files: the section says what they are, the caller where."""

import socket
from collections.abc import Callable
from typing import Any

import pytest

from beewire.bpf import isa
from beewire.bpf.kernel import Link, Loaded, attach, features, load
from beewire.bpf.object import (
    MapKind,
    MapSpec,
    ObjectSpec,
    ProgramSpec,
    read,
    write,
)
from beewire.bpf.object.sections import parse_section
from beewire.errors import AttachError

pytestmark = pytest.mark.kernel

RunInside = Callable[[Callable[[], object]], None]

HERE = "bw-near"
SECTIONS: dict[str, tuple[str, dict[str, Any], str]] = {
    "xdp": (HERE, {}, "xdp"),
    "xdp.frags": (HERE, {}, "xdp"),
    "tc": (HERE, {"direction": "egress"}, "tcx"),
    "classifier": (HERE, {"direction": "ingress", "as_link": False}, "clsact"),
    "tcx/ingress": (HERE, {}, "tcx"),
    "tcx/egress": (HERE, {}, "tcx"),
    "tc/ingress": (HERE, {}, "tcx"),
    "tc/egress": (HERE, {"as_link": False}, "clsact"),
    "netfilter": ("input", {"priority": 1}, "netfilter"),
    "flow_dissector": ("/proc/thread-self/ns/net", {}, "netns"),
    "sk_lookup": ("/proc/thread-self/ns/net", {}, "netns"),
    "lwt_in": ("10.97.1.0/24", {"interface": HERE}, "lwt"),
    "lwt_out": ("10.97.2.0/24", {"interface": HERE}, "lwt"),
    "lwt_xmit": ("10.97.3.0/24", {"interface": HERE}, "lwt"),
    "lwt_seg6local": ("fd97::9/128", {"interface": HERE}, "lwt"),
    **dict.fromkeys(
        (
            *("sockops", "cgroup_skb/ingress", "cgroup_skb/egress", "cgroup/dev"),
            *("cgroup/sock_create", "cgroup/sock_release", "cgroup/sock"),
            *("cgroup/post_bind4", "cgroup/post_bind6", "cgroup/bind4"),
            *("cgroup/bind6", "cgroup/connect4", "cgroup/connect6"),
            *("cgroup/connect_unix", "cgroup/sendmsg4", "cgroup/sendmsg6"),
            *("cgroup/sendmsg_unix", "cgroup/recvmsg4", "cgroup/recvmsg6"),
            *("cgroup/recvmsg_unix", "cgroup/getpeername4", "cgroup/getpeername6"),
            *("cgroup/getpeername_unix", "cgroup/getsockname4"),
            *("cgroup/getsockname6", "cgroup/getsockname_unix", "cgroup/sysctl"),
            *("cgroup/getsockopt", "cgroup/setsockopt"),
        ),
        ("cgroup", {}, "cgroup"),
    ),
    "socket": ("socket", {}, "socket_filter"),
    "sk_reuseport": ("socket", {}, "sk_reuseport"),
    "sk_reuseport/migrate": ("socket", {}, "sk_reuseport"),
    "sk_msg": ("map", {}, "sockmap"),
    "sk_skb/stream_parser": ("map", {}, "sockmap"),
    "sk_skb/stream_verdict": ("map", {}, "sockmap"),
    "sk_skb/verdict": ("map", {}, "sockmap"),
}
OTHERS = ("cgroup", "socket", "map")
OLDER = {"tcx": "clsact", "sockmap": "sockmap.attach"}
# Run alike by kernels that do not know the type of attachment.
UNTYPED = ("tc/egress", "sk_reuseport")


def as_file(section: str, make: Callable[..., ProgramSpec]) -> ObjectSpec:
    """An object with one program and a map of sockets, written and read again."""
    hook = parse_section(section)
    program = make(
        isa.mov_imm(0, 1),
        isa.exit_insn(),
        kind=hook.kind,
        attach_kind=hook.attach_kind,
        section=section,
    )
    program.flags = hook.flags
    spec = ObjectSpec("foreign")
    spec.programs["program"] = program
    spec.maps["s"] = MapSpec(
        "s", kind=MapKind.SOCKMAP, key_size=4, value_size=4, max_entries=1
    )
    return read(write(spec))


OF_NETWORK = [each for each in SECTIONS if SECTIONS[each][0] not in OTHERS]
OF_OTHERS = [each for each in SECTIONS if SECTIONS[each][0] in OTHERS]


@pytest.mark.thorough
@pytest.mark.usefixtures("far")
@pytest.mark.parametrize("section", OF_NETWORK)
def test_a_section_of_the_network_says_how(
    make_program: Callable[..., ProgramSpec],
    load_now: Callable[..., Loaded],
    inside: RunInside,
    section: str,
) -> None:
    where, options, kind = SECTIONS[section]
    kind = available(section, kind)
    loaded = load_now(as_file(section, make_program))
    links: list[Link] = []

    inside(lambda: links.append(attach(loaded.programs["program"], where, **options)))
    with links[0] as link:
        found = link.kind

    assert found in (kind, OLDER.get(kind))


def available(section: str, kind: str) -> str:
    """The kind of link that this kernel has for it."""
    hook = parse_section(section).attach_kind
    if hook is not None and not features.attach_kind(hook).available:
        if section in UNTYPED:
            return kind
        if kind not in OLDER:
            pytest.skip(f"this kernel has no {hook.name}")
        kind = OLDER[kind]
    return kind


@pytest.mark.parametrize("section", OF_OTHERS)
def test_a_section_of_sockets_and_cgroups_says_how(
    make_program: Callable[..., ProgramSpec],
    load_now: Callable[..., Loaded],
    cgroup: str,
    section: str,
) -> None:
    where, options, kind = SECTIONS[section]
    kind = available(section, kind)
    loaded = load_now(as_file(section, make_program))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", 0))
        places = {"cgroup": cgroup, "socket": sock, "map": loaded.maps["s"]}

        with attach(loaded.programs["program"], places[where], **options) as link:
            found = link.kind

    assert found in (kind, OLDER.get(kind))


@pytest.mark.parametrize("section", ["xdp/devmap", "xdp/cpumap"])
def test_what_stands_in_a_table_is_told(
    make_program: Callable[..., ProgramSpec], section: str
) -> None:
    with (
        load(as_file(section, make_program)) as loaded,
        pytest.raises(AttachError, match="put it into an entry of a"),
    ):
        attach(loaded.programs["program"], "lo")
