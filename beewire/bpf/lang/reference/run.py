"""One call of a function: its names, and how the constructs of its body are found."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.annotations import Several, wanted
from beewire.bpf.lang.builder import Frame
from beewire.bpf.lang.decl import GlobalDecl, PerCpuDecl
from beewire.bpf.lang.flow import Variable
from beewire.bpf.lang.reference.numbers import Number
from beewire.bpf.lang.reference.places import Place
from beewire.bpf.lang.reference.world import World
from beewire.bpf.lang.rounds import MAX_ROUNDS
from beewire.bpf.lang.types import IntType, Network
from beewire.bpf.lang.variables import outer
from beewire.errors import BeewireError

F = TypeVar("F", bound=Callable[..., Any])

EXPRESSIONS: dict[type[ast.expr], Callable[["Run", Any], Any]] = {}
STATEMENTS: dict[type[ast.stmt], Callable[["Run", Any], None]] = {}
# By what they belong to and their name: what `owner.name(...)` does.
METHODS: list[tuple[type, str, Callable[["Run", Any, ast.Call], Any]]] = []
# By the Python function's name: what a builtin of `calls` gives for evaluated arguments.
ANSWERS: dict[str, Callable[["Run", list[Any]], Any]] = {}
# Those that are given the nodes of their arguments: they name places.
BY_NODE: dict[str, Callable[["Run", ast.Call], Any]] = {}


def expression(kind: type[ast.expr]) -> Callable[[F], F]:
    """Mark the function that evaluates nodes of `kind`."""

    def mark(function: F) -> F:
        EXPRESSIONS[kind] = function
        return function

    return mark


def statement(kind: type[ast.stmt]) -> Callable[[F], F]:
    """Mark the function that runs nodes of `kind`."""

    def mark(function: F) -> F:
        STATEMENTS[kind] = function
        return function

    return mark


def method(owner: type, name: str) -> Callable[[F], F]:
    """Mark the function that evaluates `owner.name(...)`."""

    def mark(function: F) -> F:
        METHODS.append((owner, name, function))
        return function

    return mark


def answers(*names: str) -> Callable[[F], F]:
    """Mark the function that evaluates calls of the builtins called `names`."""

    def mark(function: F) -> F:
        ANSWERS.update(dict.fromkeys(names, function))
        return function

    return mark


def by_node(name: str) -> Callable[[F], F]:
    """Mark the function that evaluates calls of the builtin `name`, arguments included."""

    def mark(function: F) -> F:
        BY_NODE[name] = function
        return function

    return mark


class Leave(Exception):  # noqa: N818 - a way out, no error
    """`return`."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


class Break(Exception):  # noqa: N818 - a way out, no error
    """`break`."""


class Continue(Exception):  # noqa: N818 - a way out, no error
    """`continue`."""


class Facts(NamedTuple):
    """What the front end found out about the types of variables and of choices."""

    variables: dict[ast.FunctionDef, dict[str, Variable]]
    types: dict[ast.AST, IntType]


class Run:
    """One call of a function."""

    def __init__(self, facts: Facts, frame: Frame, world: World) -> None:
        self.facts = facts
        self.frame = frame
        self.world = world
        self.names: dict[str, Any] = {}
        self.rounds = 0
        self.variables = facts.variables.get(frame.definition, {})

    def assign(self, name: str, value: Any) -> Any:
        """Give a variable a value; an integer is cut to the variable's type."""
        if isinstance(value, Number):
            variable = self.variables.get(name)
            kind = variable.type if variable is not None else None
            if kind is not None:
                value = value.narrowed(kind)
        self.names[name] = value
        return value

    def expr(self, node: ast.expr) -> Any:
        """The value of an expression."""
        handler = EXPRESSIONS.get(type(node))
        if handler is None:
            raise BeewireError(f"evaluate() knows no {type(node).__name__}")
        return handler(self, node)

    def number(self, node: ast.expr) -> Number:
        """The value of an expression that is an integer."""
        value = self.expr(node)
        if not isinstance(value, Number):
            raise BeewireError(f"evaluate() wants an integer: {ast.unparse(node)}")
        return value

    def test(self, node: ast.expr) -> bool:
        """Whether an expression is not zero, or not None."""
        value = self.expr(node)
        return value.value != 0 if isinstance(value, Number) else value is not None

    def typed(self, node: ast.expr, value: Any) -> Any:
        """A choice between values has the type that fits all of them."""
        kind = self.facts.types.get(node)
        if kind is None or not isinstance(value, Number):
            return value
        return value.narrowed(kind)

    def body(self, statements: list[ast.stmt]) -> None:
        """Run statements."""
        for node in statements:
            handler = STATEMENTS.get(type(node))
            if handler is None:
                raise BeewireError(f"evaluate() knows no {type(node).__name__}")
            handler(self, node)

    def round(self) -> None:
        """Another round of a loop begins.

        Raises:
            BeewireError: The kernel would have ended the program by now.
        """
        self.rounds += 1
        if self.rounds > MAX_ROUNDS:
            name = self.frame.definition.name
            raise BeewireError(
                f"evaluate() ends {name}() after {MAX_ROUNDS} rounds of its loops, the "
                "most that the kernel runs"
            )

    def outside(self, name: str) -> Any:
        """What a name of the module stands for."""
        return seen(self, outer(self.frame, name))


def seen(run: Run, found: Any) -> Any:
    """A Python object as programs see it."""
    if isinstance(found, int):
        return Number(found if isinstance(found, Network) else int(found))
    if isinstance(found, GlobalDecl):
        return Place(run.world.variable(found), 0, found.type, shared=True)
    return found


def own_variable(run: Run, declared: PerCpuDecl) -> Place:
    """The running CPU's value of a per-CPU global."""
    return Place(run.world.own_variable(declared), 0, declared.item)


def perform(facts: Facts, frame: Frame, world: World, given: dict[str, Any]) -> Any:
    """Call a function with the values of its parameters; what it returns."""
    run = Run(facts, frame, world)
    for name, value in given.items():
        asked = wanted(frame, name)
        kind = asked.type if asked is not None else None
        if isinstance(value, Number) and isinstance(kind, IntType):
            value = value.narrowed(kind)  # noqa: PLW2901 - as the callee sees it
        run.names[name] = value
    try:
        run.body(frame.definition.body)
    except Leave as left:
        return _returned(frame, left.value)
    return None


def _returned(frame: Frame, value: Any) -> Any:
    asked = wanted(frame, "return")
    return value if asked is None else _narrowed(value, asked.type)


def _narrowed(value: Any, kind: Any) -> Any:
    if isinstance(value, tuple) and isinstance(kind, Several):
        parts = zip(value, kind.items, strict=True)
        return tuple(_narrowed(item, part.type) for item, part in parts)
    if isinstance(value, Number) and isinstance(kind, IntType):
        return value.narrowed(kind)
    return value
