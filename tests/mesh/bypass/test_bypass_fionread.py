"""FIONREAD of a joined application's socket: how nginx knows that there is more to read.

nginx waits for edges of epoll and reads no further once FIONREAD says 0: what it does not
count is read when it is told again, a second later (test_bypass_waking).
"""

from contextlib import ExitStack

import pytest

from beewire.mesh.config import Bypass
from beewire.mesh.enrol import Node
from beewire.mesh.lab import Lab
from tests.mesh.bypass.joined import (
    PORT,
    Pair,
    Way,
    accept,
    dial,
    enrolled,
    read,
    waiting,
)

pytestmark = [pytest.mark.mesh]


@pytest.mark.xfail(
    strict=False, reason="the kernel does not count what came to a joined socket by TCP"
)
def test_what_came_by_tcp_before_accept_is_counted(lab: Lab, node: Node) -> None:
    with ExitStack() as stack:
        stack.enter_context(enrolled(node, lab.b, Bypass.ALL))
        listener = stack.enter_context(lab.b.app.listen("0.0.0.0", PORT))
        way = Way(lab.b.address, source="127.0.0.6")
        near = dial(lab.b.proxy, way)
        near.sendall(bytes(1000))
        pair = Pair(near, accept(listener))
        stack.callback(pair.close)
        read(pair.far, 100)
        left = waiting(pair.far)

    assert left == 900
