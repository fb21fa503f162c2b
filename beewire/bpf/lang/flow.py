"""What is known at a point of the program: which names are assigned, which are not None."""

from beewire.bpf import ir
from beewire.bpf.lang.types import IntType
from beewire.bpf.lang.values import Value
from beewire.rows import Row


class Variable:
    """A name of a function's source.

    `declared` is its annotation's type. `template` is a value of its kind (its `op` is
    stale, `local` holds the present one), None until the first assignment. `adapts`: it
    got literals only so far. `gone` says why the name can no longer be used.
    """

    __slots__ = (
        "adapts",
        "broken",
        "declared",
        "fixed",
        "flag",
        "gone",
        "local",
        "name",
        "template",
        "type",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.declared: IntType | None = None
        self.type: IntType | None = None
        self.template: Value | None = None
        self.local: ir.Local | None = None
        # Of a reference that has one: see Memory.flag.
        self.flag: ir.Local | None = None
        self.adapts = False
        self.gone = ""
        # The statement that should have made it was refused.
        self.broken = False
        # The `with` target: assigned once.
        self.fixed = False


class Flow(Row):
    """Facts on one way through the program."""

    assigned: frozenset[Variable] = frozenset()
    sure: frozenset[Variable] = frozenset()  # is not None
    none: frozenset[Variable] = frozenset()  # is None

    def merge(self, other: "Flow") -> "Flow":
        """What holds on both ways."""
        if self == other:
            return self
        return Flow(
            self.assigned & other.assigned,
            self.sure & other.sure,
            self.none & other.none,
        )

    def assign(self, variable: Variable) -> "Flow":
        """After an assignment: nothing else is known of it."""
        one = {variable}
        return Flow(self.assigned | one, self.sure - one, self.none - one)

    def forget(self, variables: set[Variable]) -> "Flow":
        """Without knowledge of whether `variables` are None."""
        return Flow(self.assigned, self.sure - variables, self.none - variables)

    def drop(self, variable: Variable) -> "Flow":
        """As if the variable had never been assigned."""
        one = {variable}
        return Flow(self.assigned - one, self.sure - one, self.none - one)

    def narrow(self, variable: Variable, *, is_none: bool) -> "Flow":
        """After a test for None."""
        if is_none:
            return self._replace(none=self.none | {variable})
        return self._replace(sure=self.sure | {variable})


class Target:
    """A block that jumps go to; `flow` is what holds on all of them, None before any."""

    __slots__ = ("block", "flow")

    def __init__(self, name: str) -> None:
        self.block = ir.Block(name)
        self.flow: Flow | None = None

    def enter(self, flow: Flow) -> None:
        """Record a way in."""
        self.flow = flow if self.flow is None else self.flow.merge(flow)
