"""Attaches one program and waits to be killed: run by test_links_left_behind."""

import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from beewire.bpf import (
    FlowDissector,
    Netfilter,
    SkBuff,
    SkLookup,
    SkReuseport,
    SockAddr,
    SocketFilter,
    XdpChain,
    XdpContext,
    connect4,
    flow_dissector,
    lwt_out,
    netfilter,
    sk_lookup,
    sk_reuseport,
    socket_filter,
    tc,
    xdp,
)


@xdp
def on_xdp(ctx: XdpContext) -> None:
    pass


@tc
def on_tc(ctx: SkBuff) -> None:
    pass


@netfilter
def on_netfilter(ctx: Netfilter) -> None:
    pass


@sk_lookup
def on_lookup(ctx: SkLookup) -> None:
    pass


@flow_dissector
def on_dissect(ctx: FlowDissector) -> None:
    pass


@connect4
def on_connect(ctx: SockAddr) -> None:
    pass


@lwt_out
def on_route(ctx: SkBuff) -> None:
    pass


@socket_filter
def on_socket(ctx: SocketFilter) -> int:
    return ctx.length * 0  # drops


@sk_reuseport
def on_group(ctx: SkReuseport) -> int:
    return ctx.length * 0  # SK_DROP


def dissector_of_before() -> object:
    from beewire.bpf.kernel import attach_netns  # noqa: PLC0415

    return attach_netns(on_dissect.live, as_link=False)


def inherited() -> socket.socket:
    return socket.socket(fileno=int(sys.argv[2]))


def chain() -> object:
    made = XdpChain("bw-near")
    made.add(on_xdp)
    return made.link, made


WAYS: dict[str, Callable[[], Any]] = {
    "xdp": lambda: on_xdp.attach("bw-near"),
    "xdp chain": chain,
    "xdp.netlink": lambda: on_xdp.attach("bw-near", as_link=False),
    "tcx": lambda: on_tc.attach("bw-near", "ingress"),
    "clsact": lambda: on_tc.attach("bw-near", "ingress", as_link=False),
    "netfilter": lambda: on_netfilter.attach("input"),
    "netns sk_lookup": on_lookup.attach,
    "netns flow_dissector": on_dissect.attach,
    "netns.attach": dissector_of_before,
    "cgroup": lambda: on_connect.attach(sys.argv[2]),
    "cgroup.attach": lambda: on_connect.attach(sys.argv[2], as_link=False),
    "lwt": lambda: on_route.attach("10.97.0.2", "bw-near", via="10.98.0.2"),
    "socket_filter": lambda: on_socket.attach(inherited()),
    "sk_reuseport": lambda: on_group.attach(inherited()),
}

if __name__ == "__main__":
    link = WAYS[sys.argv[1]]()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    time.sleep(600)  # until it is killed
