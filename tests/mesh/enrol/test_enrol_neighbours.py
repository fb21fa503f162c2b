"""Beside others: programs on cgroups above, on interfaces, in the namespace."""

import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from beewire.bpf import (
    Array,
    SkBuff,
    SkLookup,
    SockAddr,
    XdpContext,
    cgroup_skb_egress,
    connect4,
    htonl,
    htons,
    ip4,
    load,
    sk_lookup,
    tcx_egress,
    tcx_ingress,
    u64,
    xdp,
)
from beewire.bpf.author.loaded import Loaded
from beewire.bpf.kernel import cgroup2_mount
from beewire.bpf.kernel.links.query import query
from beewire.bpf.object import AttachKind
from beewire.errors import NotSupported
from beewire.mesh.enrol import HOOKS, Node
from beewire.mesh.lab import Lab, SidecarConfig, nginx, received, sidecar
from tests.mesh.enrolling import target

pytestmark = pytest.mark.mesh

SERVICE = ip4("10.96.0.10")
BACKEND = ip4("10.77.2.2")
LOOPBACK = htonl(0x7F000000)
DENIED = htons(81)
SO_ORIGINAL_DST = 80
RAW = 9000

seen = Array[u64](max_entries=4, name="bw_seen")
SERVICES, SIDECARS, PACKETS, FRAMES = range(4)


@connect4
def balance(ctx: SockAddr) -> int:
    """Cilium's socket load balancing: a Service becomes one of its pods at connect()."""
    if ctx.user_ip4 == SERVICE:
        seen[SERVICES] += 1
        ctx.user_ip4 = BACKEND
    elif ctx.user_ip4 & htonl(0xFF000000) == LOOPBACK:
        seen[SIDECARS] += 1
    return 1


@connect4
def forbid(ctx: SockAddr) -> int:
    """A policy at connect(), on one port."""
    return 0 if ctx.user_port == DENIED else 1


@cgroup_skb_egress
def watch(ctx: SkBuff) -> int:  # noqa: ARG001 - the hook passes it
    """Calico's and systemd's accounting of packets."""
    seen[PACKETS] += 1
    return 1


@xdp
def look(ctx: XdpContext) -> int:  # noqa: ARG001 - the hook passes it
    """An XDP program that was there before."""
    seen[FRAMES] += 1
    return 2  # XDP_PASS


@tcx_ingress
def arrive(ctx: SkBuff) -> int:  # noqa: ARG001 - the hook passes it
    """tc, on the way in."""
    seen[FRAMES] += 1
    return -1  # TCX_NEXT


@tcx_egress
def leave(ctx: SkBuff) -> int:  # noqa: ARG001 - the hook passes it
    """tc, on the way out."""
    seen[FRAMES] += 1
    return -1


@sk_lookup
def pass_on(ctx: SkLookup) -> int:  # noqa: ARG001 - the hook passes it
    """Another program of the namespace, which leaves everything as it is."""
    return 1


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


@pytest.fixture
def node() -> Iterator[Node]:
    with Node.load() as made:
        yield made


@pytest.fixture
def theirs() -> Iterator[Loaded]:
    programs = (balance, forbid, watch, look, arrive, leave, pass_on)
    with load(programs) as loaded:
        yield loaded


def dial(lab: Lab, where: str = "10.96.0.10", port: int = 80) -> tuple[str, int]:
    """What the sidecar of pod A is told that its application dialled."""
    with lab.a.proxy.listen("0.0.0.0", 15001) as listener:
        listener.settimeout(30)
        with lab.a.app.connect(where, port), listener.accept()[0] as sock:
            raw = sock.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
    return socket.inet_ntoa(raw[4:8]), int.from_bytes(raw[2:4])


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_a_load_balancer_above_comes_after_us(
    lab: Lab, node: Node, theirs: Loaded, first: str
) -> None:
    parent = lab.run.cgroup().path
    if first == "theirs":
        link = theirs[balance].attach(parent)
        pod = node.enrol(target(lab.a))
    else:
        pod = node.enrol(target(lab.a))
        link = theirs[balance].attach(parent)
    with link, pod:
        assert dial(lab) == ("10.96.0.10", 80)

        assert theirs[seen][SERVICES] == 0
        assert theirs[seen][SIDECARS] == 1
        told = [each for each in pod.neighbours() if each.name == "balance"]
        assert [(n.hook, n.above, n.comes_first) for n in told] == [
            ("outbound4", True, False)
        ]


def test_a_load_balancer_above_serves_the_sidecar(
    lab: Lab, node: Node, theirs: Loaded
) -> None:
    """What the sidecar dials is nobody's but the node's to translate."""
    with (
        theirs[balance].attach(lab.run.cgroup().path),
        node.enrol(target(lab.a)),
        lab.b.app.listen("0.0.0.0", RAW),
        lab.a.proxy.connect("10.96.0.10", RAW),
    ):
        assert theirs[seen][SERVICES] == 1


def test_a_program_above_with_preorder_is_told(
    lab: Lab, node: Node, theirs: Loaded
) -> None:
    try:
        link = theirs[balance].attach(lab.run.cgroup().path, preorder=True)
    except NotSupported:
        pytest.skip("this kernel has no BPF_F_PREORDER")
    with link, node.enrol(target(lab.a)) as pod:
        assert dial(lab) == ("10.77.2.2", 80)

        (told,) = pod.neighbours()
        assert told.comes_first
        assert "(balance) on a cgroup above, attached with BPF_F_PREORDER, runs" in str(
            told
        )


def test_a_program_that_was_on_the_pod_before_is_told(
    lab: Lab, node: Node, theirs: Loaded
) -> None:
    with (
        theirs[balance].attach(lab.a.cgroup.path),
        theirs[pass_on].attach(lab.a.namespace.path),
        node.enrol(target(lab.a)) as pod,
    ):
        told = {each.name: each for each in pod.neighbours()}

    assert told["balance"].comes_first
    assert not told["balance"].above
    assert told["pass_on"].hook == "inbound"


def test_a_pod_that_is_alone_has_no_neighbours(lab: Lab, node: Node) -> None:
    with node.enrol(target(lab.a)) as pod:
        above = query_names(lab.run.cgroup().path)

        assert [each for each in pod.neighbours() if each.name not in above] == []


def query_names(cgroup: Path) -> set[str]:
    """Programs that this machine has further up, whoever put them there."""
    fd = os.open(cgroup, os.O_RDONLY)
    try:
        found: set[str] = set()
        for hook in HOOKS:
            kind = hook.program.attach_kind or AttachKind.CGROUP_SOCK_OPS
            attached = query(fd, kind, effective=True)
            found |= {each.name for each in attached.programs} if attached else set()
    finally:
        os.close(fd)
    return found


def test_a_policy_above_still_refuses(lab: Lab, node: Node, theirs: Loaded) -> None:
    with (
        theirs[forbid].attach(lab.run.cgroup().path),
        node.enrol(target(lab.a)),
        pytest.raises(PermissionError),
    ):
        lab.a.proxy.connect(lab.b.address, 81)


def test_requests_pass_beside_programs_of_others(
    lab: Lab, node: Node, theirs: Loaded
) -> None:
    def attach() -> list[object]:
        return [
            theirs[look].attach("eth0"),
            theirs[arrive].attach("eth0"),
            theirs[leave].attach("eth0"),
        ]

    parent = lab.run.cgroup().path
    links = lab.a.namespace.run(attach) + lab.b.namespace.run(lambda: attach()[1:])
    with (
        theirs[balance].attach(parent),
        theirs[watch].attach(parent),
        node.enrol(target(lab.a)),
        node.enrol(target(lab.b)),
        sidecar(lab.a),
        sidecar(lab.b, SidecarConfig()),
        nginx(lab.b),
        lab.a.app.connect(lab.b.address, 80) as sock,
    ):
        sock.sendall(b"GET / HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")
        answered = received(sock).lower()
        counted = theirs[seen]

        assert b"x-bw-outbound: a" in answered
        assert b"x-bw-inbound: b" in answered
        assert counted[PACKETS] > 0
        assert counted[FRAMES] > 0
    assert links


def test_the_node_is_left_as_it_is(lab: Lab, node: Node) -> None:
    before = node_state()
    with node.enrol(target(lab.a)) as pod:
        during = node_state()
        assert pod.netns
    after = node_state()

    assert before == during == after


def node_state() -> dict[str, object]:
    """What is the whole machine's: programs at its root and interfaces, its settings."""
    root = os.open(cgroup2_mount() or "/sys/fs/cgroup", os.O_RDONLY)
    netns = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        programs = {
            kind.name: _programs(root, kind)
            for kind in AttachKind
            if kind.name.startswith("CGROUP_")
        }
        programs["SK_LOOKUP"] = _programs(netns, AttachKind.SK_LOOKUP)
        for index, name in socket.if_nameindex():
            for kind in (AttachKind.TCX_INGRESS, AttachKind.TCX_EGRESS):
                programs[f"{name} {kind.name}"] = _programs(index, kind)
    finally:
        os.close(root)
        os.close(netns)
    return {**programs, "sysctl": _settings(), "tables": _tables()}


def _programs(target: int, kind: AttachKind) -> list[int]:
    attached = query(target, kind)
    return [each.id for each in attached.programs] if attached else []


def _settings() -> str:
    # Values that the machine itself changes are no settings.
    busy = ("random", "nf_conntrack_count", "flush", "neigh", "route")
    found = hashlib.sha256()
    for path in sorted(Path("/proc/sys/net").rglob("*")):
        if path.is_file() and not any(word in str(path) for word in busy):
            try:
                found.update(str(path).encode() + path.read_bytes())
            except OSError:
                continue
    return found.hexdigest()


def _tables() -> tuple[str, str, str]:
    names = ("route", "if_inet6", "ip_tables_names")
    paths = [Path("/proc/self/net") / name for name in names]
    texts = [path.read_text() if path.exists() else "" for path in paths]
    return texts[0], texts[1], texts[2]
