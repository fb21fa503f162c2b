"""What is known at a point of the program: which names are assigned, which are not None."""

from beewire.bpf import ir
from beewire.bpf.lang.types import IntType
from beewire.bpf.lang.values import Pointer, Reference, Value
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


class Link(Row):
    """`variable` has `reference`, or (not `owns`) a pointer that is good as long as it."""

    variable: Variable
    reference: Reference
    owns: bool


class Flow(Row):
    """Facts on one way through the program.

    `held` are the references that must be given back, `released` those that were; where
    ways meet, both hold what any of them has.
    """

    assigned: frozenset[Variable] = frozenset()
    sure: frozenset[Variable] = frozenset()  # is not None
    none: frozenset[Variable] = frozenset()  # is None
    held: frozenset[Reference] = frozenset()
    released: frozenset[Reference] = frozenset()
    links: frozenset[Link] = frozenset()

    def merge(self, other: "Flow") -> "Flow":
        """What holds on both ways."""
        if self == other:
            return self
        return Flow(
            self.assigned & other.assigned,
            self.sure & other.sure,
            self.none & other.none,
            self.held | other.held,
            self.released | other.released,
            self.links | other.links,
        )

    def assign(self, variable: Variable) -> "Flow":
        """After an assignment: nothing else is known of it."""
        one = {variable}
        assigned, sure, none, held, released, links = self
        if links:
            links = frozenset([each for each in links if each.variable is not variable])
        facts = (assigned | one, sure - one, none - one, held, released, links)
        return Flow._make(facts)

    def forget(self, variables: set[Variable]) -> "Flow":
        """Without knowledge of whether `variables` are None."""
        return self._replace(sure=self.sure - variables, none=self.none - variables)

    def drop(self, variable: Variable) -> "Flow":
        """As if the variable had never been assigned."""
        flow = self.assign(variable)
        return flow._replace(assigned=flow.assigned - {variable})

    def narrow(self, variable: Variable, *, is_none: bool) -> "Flow":
        """After a test for None, which has nothing to give back."""
        if not is_none:
            return self._replace(sure=self.sure | {variable})
        held = self.held - self.owned_by(variable) if self.held else self.held
        return self._replace(none=self.none | {variable}, held=held)

    # References.

    def owned_by(self, variable: Variable) -> frozenset[Reference]:
        """The references of which `variable` is one."""
        return frozenset([
            each.reference
            for each in self.links
            if each.variable is variable and each.owns
        ])  # fmt: skip

    def acquire(self, reference: Reference) -> "Flow":
        """Hold a reference. What an earlier round of a loop had of it is out of date."""
        stale = [each for each in self.links if each.reference is reference]
        flow = self
        for each in stale:
            flow = flow.drop(each.variable)
        return flow._replace(
            held=flow.held | {reference}, released=flow.released - {reference}
        )

    def release(self, references: frozenset[Reference]) -> "Flow":
        """Hold `references` no longer."""
        return self._replace(
            held=self.held - references, released=self.released | references
        )

    def link(self, variable: Variable, value: Pointer) -> "Flow":
        """Let `variable` have the references of `value`."""
        made = [Link(variable, each, value.owns) for each in value.references]
        return self._replace(links=self.links.union(made))

    def unlink(self, references: frozenset[Reference]) -> "Flow":
        """Let no variable have `references`."""
        kept = [each for each in self.links if each.reference not in references]
        return self._replace(links=frozenset(kept))


class Target:
    """A block that jumps go to; `flow` is what holds on all of them, None before any.

    A jump to one that was `started` is another round of a loop.
    """

    __slots__ = ("block", "flow", "started", "unreached")

    def __init__(self, name: str) -> None:
        self.block = ir.Block(name)
        self.flow: Flow | None = None
        # What would hold here, were the code that leads here not dead.
        self.unreached: Flow | None = None
        self.started = False

    def pass_by(self, flow: Flow) -> None:
        """Record a way in from dead code."""
        before = self.unreached
        self.unreached = flow if before is None else before.merge(flow)

    def enter(self, flow: Flow) -> None:
        """Record a way in."""
        self.flow = flow if self.flow is None else self.flow.merge(flow)


class Loop:
    """Where `break` and `continue` go, and how many cleanups lie outside the loop."""

    __slots__ = ("again", "cleanups", "done")

    def __init__(self, again: Target, done: Target, cleanups: int) -> None:
        self.again = again
        self.done = done
        self.cleanups = cleanups
