"""Several XDP programs on one interface, in an order of our own.

with XdpChain("eth0") as chain:
    chain.add(count, priority=10)
    chain.add(drop_bad, priority=20)
"""

from __future__ import annotations

from beewire.bpf import kernel
from beewire.bpf.author.bound import home_of
from beewire.hints import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beewire.bpf.author.program import XdpProgram
    from beewire.bpf.kernel.links.xdp_chain import ChainMember

XDP_PASS = 2


class XdpChain(kernel.XdpChain):
    """The XDP programs of one interface; a context manager that ends all of them."""

    def add(
        self,
        program: XdpProgram[Any],
        *,
        priority: int = 50,
        go_on: tuple[int, ...] = (XDP_PASS,),
    ) -> ChainMember:
        """Let `program` run in the chain, until what it gives is closed.

        Lower priorities run first, those of one priority in the order of coming. After a
        result in `go_on` the next program runs; any other is what becomes of the packet.
        Packets meet the chain as it was or as it is, never something between.

        Raises:
            CompileError: It cannot be compiled.
            VerifierError: The kernel refuses it, or the chain with it.
            AttachError: The interface refuses the chain: `attach` says why.
            NotPermitted: A capability is missing.
        """
        declared = program.origin or program
        loaded = home_of(program).part_of(declared)
        return self.add_loaded(loaded, declared.name, priority=priority, go_on=go_on)
