"""Programs of the rarer networking hooks, and where they are attached."""

from __future__ import annotations

from beewire.bpf.author.program import F, Program, SkMsgProgram, neighbour
from beewire.hints import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beewire.bpf.kernel import HasFileno, Link
    from beewire.bpf.kernel.links.order import Neighbour


class InterfaceProgram(Program[F]):
    """Runs for the packets of a network interface, beside other such programs."""

    takes = "interface"

    def attach(  # noqa: PLR0913 - where it is, and where among the others
        self,
        interface: str | int,
        *,
        before: Neighbour | Program[Any] | None = None,
        after: Neighbour | Program[Any] | None = None,
        revision: int = 0,
        as_link: bool = True,
        priority: int = 0,
        handle: int = 0,
    ) -> Link:
        """Run it for `interface` (a name or an index) until the Link is closed.

        It runs after those that are there, or `before` or `after` one of them: a Link,
        a Program, `LinkId(n)`, `ProgramId(n)`, or "all". Before Linux 6.6, and with
        `as_link=False`, it is a filter of clsact with a `priority` (1 runs first) and a
        `handle`, which stays when the process dies: `link.kind` says "clsact".

        Raises:
            AttachError: There is no such interface or neighbour, or it is no netkit.
            NotPermitted: CAP_NET_ADMIN is missing.
        """
        from beewire.bpf.kernel import attach_tcx  # noqa: PLC0415

        return attach_tcx(
            self.live,
            interface,
            before=neighbour(before),
            after=neighbour(after),
            revision=revision,
            as_link=as_link,
            priority=priority,
            handle=handle,
        )


class TcProgram(Program[F]):
    """Runs for the packets that a network interface receives, or sends."""

    takes = "interface"

    def attach(  # noqa: PLR0913 - as above
        self,
        interface: str | int,
        direction: str,
        *,
        before: Neighbour | Program[Any] | None = None,
        after: Neighbour | Program[Any] | None = None,
        revision: int = 0,
        as_link: bool = True,
        priority: int = 0,
        handle: int = 0,
    ) -> Link:
        """Run it for "ingress" or "egress" of `interface` until the Link is closed.

        The rest is as for `@tcx_ingress`.

        Raises:
            AttachError: There is no such interface, direction or neighbour.
            NotPermitted: CAP_NET_ADMIN is missing.
        """
        from beewire.bpf.kernel import attach_tcx  # noqa: PLC0415

        return attach_tcx(
            self.live,
            interface,
            direction,
            before=neighbour(before),
            after=neighbour(after),
            revision=revision,
            as_link=as_link,
            priority=priority,
            handle=handle,
        )


class SkSkbProgram(SkMsgProgram[F]):
    """Runs for the data that sockets of a socket map receive."""


class SocketFilterProgram(Program[F]):
    """Runs for the packets that a socket receives."""

    takes = "socket"

    def attach(self, sock: int | HasFileno, *, lock: bool = False) -> Link:
        """Run it for `sock` (a socket or a descriptor) until the Link is closed.

        The socket holds it, and one only: a filter that is there gives way. `lock`
        forbids to change the filter from now on.

        Raises:
            AttachError: It is no socket, or its filter is locked.
        """
        from beewire.bpf.kernel import attach_socket_filter  # noqa: PLC0415

        return attach_socket_filter(self.live, sock, lock=lock)


class ReuseportProgram(Program[F]):
    """Chooses the socket of a SO_REUSEPORT group."""

    takes = "socket"

    def attach(self, sock: int | HasFileno) -> Link:
        """Let it choose for the group that `sock` is of, until the Link is closed.

        The group holds it, and one only: a program that is there gives way.

        Raises:
            AttachError: It is no socket, or SO_REUSEPORT is not set.
        """
        from beewire.bpf.kernel import attach_reuseport  # noqa: PLC0415

        return attach_reuseport(self.live, sock)


class RouteProgram(Program[F]):
    """Runs for the packets of a route."""

    takes = "route"

    def attach(
        self,
        destination: str,
        interface: str | int,
        *,
        via: str = "",
        table: int = 254,
        metric: int = 0,
        headroom: int = 0,
    ) -> Link:
        """Make a route to `destination` ("10.1.0.0/16") whose packets it sees.

        The route goes through `interface` (a name or an index), by the next hop `via`,
        and ends with the Link. `headroom` is how many bytes an lwt_xmit program may put
        before a packet. The route stays when the process dies.

        Raises:
            AttachError: There is no such interface, or such a route already.
            NotPermitted: CAP_NET_ADMIN is missing.
        """
        from beewire.bpf.kernel import attach_route  # noqa: PLC0415

        return attach_route(
            self.live,
            destination,
            interface,
            via=via,
            table=table,
            metric=metric,
            headroom=headroom,
        )


class NetfilterProgram(Program[F]):
    """Runs at a hook of netfilter, in the network namespace of this thread."""

    takes = "hook"

    def attach(
        self,
        hook: str,
        *,
        version: int = 4,
        priority: int = 0,
        defragment: bool = False,
    ) -> Link:
        """Run it at prerouting, input, forward, output or postrouting.

        `version` is that of IP, 4 or 6. Lower priorities run first. With `defragment` it
        sees whole packets (Linux 6.6).

        Raises:
            AttachError: Another program has the priority.
            NotPermitted: CAP_NET_ADMIN is missing.
        """
        from beewire.bpf.kernel import attach_netfilter  # noqa: PLC0415

        return attach_netfilter(
            self.live,
            hook,
            version=version,
            priority=priority,
            defragment=defragment,
        )


class LircProgram(Program[F]):
    """Decodes what infrared receivers see."""

    takes = "device"

    def attach(self, device: str) -> Link:
        """Run it for each pulse and space of `device` ("/dev/lirc0"), until it is closed.

        The device holds it: it stays when the process dies.

        Raises:
            AttachError: There is no such device, or it tells no raw pulses.
            NotPermitted: CAP_NET_ADMIN is missing, or the right to open the device.
        """
        from beewire.bpf.kernel import attach_lirc  # noqa: PLC0415

        return attach_lirc(self.live, device)
