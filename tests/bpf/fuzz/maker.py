"""The text of a program in the making: its lines, what is in scope, what it uses."""

import random
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from tests.bpf.fuzz.shapes import LITERALS, Path, Shape, bits, paths


class Value(NamedTuple):
    """An expression; `literal` adapts to what it meets."""

    text: str
    sign: str
    bits: int = 64
    literal: bool = False


class Struct(NamedTuple):
    """A struct in scope; `shared` where `+=` is atomic, `own` where it is a local."""

    text: str
    shape: Shape
    shared: bool = False
    own: bool = False


class Function(NamedTuple):
    """A function that can be called: kinds of its parameters and of its result."""

    name: str
    kinds: tuple[str, ...]
    result: str
    takes: str = ""  # the name of the struct that comes first
    gives: str = ""  # the name of the struct that it returns


class Maker:
    """Random choices, and the text that comes of them."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.lines: list[str] = []
        self.used: Counter[str] = Counter()
        self.names: dict[str, str] = {}
        self.fixed: set[str] = set()  # counters of loops, and constants
        self.flags: list[str] = []  # variables of type bool
        self.structs: list[Struct] = []
        self.locals: dict[str, str] = {}  # arrays of four, by the kind of the elements
        self.pinned: set[str] = set()  # structs that a name refers to a part of
        self.shapes: dict[str, Shape] = {}
        self.functions: list[Function] = []
        self.returns = "u32"
        self.hook = "xdp"
        self.inside = 0  # loops
        self.nested = False  # in a function rather than the program
        self.room = 200  # bytes of structs on the stack that may still be made
        self._count = 0

    @property
    def packed(self) -> bool:
        """Whether a struct of the program is packed."""
        return any("packed" in shape.options for shape in self.shapes.values())

    # Text.

    def use(self, construct: str) -> None:
        """Note that the program has this construct."""
        self.used[construct] += 1

    def line(self, indent: int, text: str) -> None:
        """Append a line."""
        self.lines.append(f"{'    ' * indent}{text}")

    def fresh(self, letter: str = "v") -> str:
        """A name that is not taken."""
        self._count += 1
        return f"{letter}{self._count}"

    def chance(self, part: float) -> bool:
        """Whether something happens, in `part` of all cases."""
        return self.rng.random() < part

    def scoped(self, make: Callable[[], None]) -> None:
        """What `make` defines is unknown after it."""
        names, structs = dict(self.names), list(self.structs)
        fixed, flags = set(self.fixed), list(self.flags)
        arrays = dict(self.locals)
        make()
        self.names, self.structs, self.locals = names, structs, arrays
        self.fixed, self.flags = fixed, flags

    # Values.

    def literal(self, sign: str, width: int = 64) -> Value:
        """A number that fits."""
        limit = (1 << width) >> (sign == "i")
        number = self.rng.choice([n for n in LITERALS if n < limit])
        if sign == "i" and self.chance(0.4):
            number = -number
        return Value(f"({number})" if number < 0 else str(number), sign, 64, True)

    def name(self, sign: str) -> Value:
        """A variable of this sign."""
        found = [(n, k) for n, k in self.names.items() if k[0] == sign]
        name, kind = self.rng.choice(found)
        return Value(name, sign, bits(kind))

    def variables(self, sign: str) -> list[str]:
        """Variables that may be assigned."""
        return [
            name
            for name, kind in self.names.items()
            if kind[0] == sign and name not in self.fixed
        ]

    def index(self, count: int) -> str:
        """An index that is surely inside."""
        if self.chance(0.5):
            return str(self.rng.randrange(-count, count))
        self.use("variable index")
        return f"{self.name('u').text} & {count - 1}"

    def place(self, sign: str) -> tuple[str, str, Struct] | None:
        """An integer in a struct: its text, its kind, and the struct."""
        if not self.structs:
            return None
        struct = self.rng.choice(self.structs)
        found = self.path(struct, sign)
        return None if found is None else (*found, struct)

    def path(self, struct: Struct, sign: str) -> tuple[str, str] | None:
        """An integer in this struct: its text, and its kind."""
        fitting = [
            path
            for path in paths(struct.shape)
            if path.kind[0] == sign and (path.is_plain or not struct.shared)
        ]
        if not fitting:
            return None
        path = self.rng.choice(fitting)
        if not path.is_plain:
            self.use("bit-field")
        return f"{struct.text}{self._at(path)}", path.kind

    def _at(self, path: Path) -> str:
        if "." in path.text[1:]:
            self.use("union" if ".either." in path.text else "nested struct")
        if path.length:
            self.use("array element")
            return path.text.format(self.index(path.length))
        return path.text
