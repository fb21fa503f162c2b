"""What the passes hand on: the function, what it is compiled for, what is known."""

from beewire.bpf.codegen import graph
from beewire.bpf.ir import BinOp, Block, Function, Op, Slot
from beewire.bpf.object.target import Target


class Work:
    """One function on its way through the passes.

    From SSA construction on `function.blocks` is a reverse postorder, `preds` are
    kept, and `dominators()` and `loops()` hold until `changed_edges()`.
    """

    __slots__ = (
        "_dominators",
        "_loops",
        "bounded",
        "frame",
        "function",
        "hopeless",
        "kinds",
        "places",
        "reserved",
        "target",
    )

    def __init__(self, function: Function, target: Target) -> None:
        self.function = function
        self.target = target
        self.places: dict[Slot, int] = {}  # distances from r10
        self.frame = 0  # bytes of stack
        self.bounded: set[Op] = set()  # what ends the rounds of a loop
        self.hopeless: list[Slot] = []  # slots that no stack holds
        # Types of operations, and kinds of arithmetic, that the front end made.
        self.kinds: set[type[Op] | BinOp] = set()
        self.reserved = 0  # bytes of stack that the kernel takes for itself
        self._dominators: graph.Dominators | None = None
        self._loops: dict[Block, set[Block]] | None = None

    def order(self) -> list[Block]:
        """Start anew from the edges: prune, link, and put in reverse postorder."""
        order = graph.prune(self.function)
        self.function.blocks = order
        self._dominators = self._loops = None
        return order

    def reorder(self) -> None:
        """Put the blocks in reverse postorder again; `preds` are right already."""
        self.function.blocks = graph.reverse_postorder(self.function.blocks[0])
        self._dominators = self._loops = None

    def dominators(self) -> graph.Dominators:
        """The dominator tree of `function.blocks`."""
        if self._dominators is None:
            self._dominators = graph.Dominators(self.function.blocks)
        return self._dominators

    def loops(self) -> dict[Block, set[Block]]:
        """The natural loops of `function.blocks` by their heads."""
        if self._loops is None:
            self._loops = graph.loops(self.function.blocks, self.dominators())
        return self._loops

    def changed_edges(self) -> None:
        """Forget what depended on the edges; what dominates a block stands before it.

        A loop that is entered in its middle, as its first test is decided, comes to
        have its head behind its body.
        """
        self._dominators = self._loops = None
        if not graph.is_ordered(self.function.blocks):
            self.function.blocks = graph.reverse_postorder(self.function.blocks[0])
