"""Programs of the rarer networking hooks, and where they are attached."""

from __future__ import annotations

from beewire.bpf.author.program import F, Program, SkMsgProgram
from beewire.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from beewire.bpf.kernel import Link


class InterfaceProgram(Program[F]):
    """Runs for the packets of a network interface, beside other such programs."""

    takes = "interface"

    def attach(self, interface: str | int) -> Link:
        """Run it for `interface` (a name or an index) until the Link is closed.

        Raises:
            AttachError: There is no such interface, or it is not of that kind.
            NotPermitted: CAP_NET_ADMIN is missing.
        """
        from beewire.bpf.kernel import attach_tcx  # noqa: PLC0415

        return attach_tcx(self.live, interface)


class SkSkbProgram(SkMsgProgram[F]):
    """Runs for the data that sockets of a socket map receive."""


class NetfilterProgram(Program[F]):
    """Runs at a hook of netfilter, in the network namespace of this thread."""

    takes = "hook"

    def attach(self, hook: str, *, version: int = 4, priority: int = 0) -> Link:
        """Run it at prerouting, input, forward, output or postrouting.

        `version` is that of IP, 4 or 6. Lower priorities run first.

        Raises:
            AttachError: Another program has the priority.
            NotPermitted: CAP_NET_ADMIN is missing.
        """
        from beewire.bpf.kernel import attach_netfilter  # noqa: PLC0415

        return attach_netfilter(self.live, hook, version=version, priority=priority)
