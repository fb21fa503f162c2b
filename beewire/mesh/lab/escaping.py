"""Which of a pod's connections go past its sidecar: a reproducer.

conntrack asks NAT rules about a connection's first packet only. What the sidecar itself
dials is not redirected; when its server resets that connection, conntrack remembers it for
another 10 s (nf_conntrack_tcp_timeout_close), and takes the application's next connection
from the same source port to the same server for it. No rule is asked, and it goes straight
to the server, past the sidecar.

    with Lab() as lab:
        print(escapes(lab, Iptables()))
"""

import contextlib
import socket

from beewire.mesh.lab.interception import Interception
from beewire.mesh.lab.patience import PATIENCE
from beewire.mesh.lab.place import Place
from beewire.mesh.lab.pods import Lab
from beewire.mesh.lab.tcp import reset_at_close

FIRST_SOURCE = 30001  # below ip_local_port_range: nobody else gets it
CONNECTIONS = 20
OUTBOUND, PORT = 15001, 80
TIMEOUT_S = 25.0 * PATIENCE


def escapes(lab: Lab, interception: Interception) -> int:
    """Dial pod B from pod A's application; how many of 20 reach it without the sidecar.

    Raises:
        OSError: a connection failed altogether.
    """
    with (
        interception.install(lab.a),
        lab.a.proxy.listen("0.0.0.0", OUTBOUND),
        lab.b.app.listen("0.0.0.0", PORT) as server,
        contextlib.ExitStack() as stack,
    ):
        server.settimeout(TIMEOUT_S)
        sources = range(FIRST_SOURCE, FIRST_SOURCE + CONNECTIONS)
        for source in sources:
            with _dial(lab, lab.a.proxy, source), server.accept()[0] as accepted:
                reset_at_close(accepted)
        for source in sources:
            stack.enter_context(_dial(lab, lab.a.app, source))
        # A connection that is made waits here already.
        server.setblocking(False)
        reached = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                stack.enter_context(server.accept()[0])
                reached += 1
        return reached


def _dial(lab: Lab, place: Place, source: int) -> socket.socket:
    def dial() -> socket.socket:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.settimeout(TIMEOUT_S)
        sock.bind((lab.a.address, source))
        sock.connect((lab.b.address, PORT))
        return sock

    return place.call(dial)
