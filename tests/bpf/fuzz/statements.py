"""Random statements that lead control, and assign variables."""

from collections.abc import Callable

from tests.bpf.fuzz.expressions import OPERATORS, Expressions
from tests.bpf.fuzz.shapes import KINDS

Make = Callable[[int, int], None]
ROUNDS = 4  # of a loop at most: the kernel walks every one of them


class Statements(Expressions):
    """Makes statements; `depth` is how much deeper blocks may nest."""

    def simple(self) -> list[Make]:
        """What makes statements without blocks."""
        return [*[self.assign] * 3, *[self.change] * 3, self.exchange, self.flag]

    def compound(self) -> list[Make]:
        """What makes statements with blocks."""
        makers: list[Make] = [
            self.if_,
            self.if_,
            self.for_,
            self.while_,
            self.match,
            self.long,
        ]
        return [*makers, self.early, self.crowd]

    def block(self, indent: int, depth: int, length: int) -> None:
        """Statements one after another."""
        makers = self.simple()
        if depth > 0:
            makers += self.compound()
        for _ in range(length):
            self.rng.choice(makers)(indent, depth - 1)

    def inner(self, indent: int, depth: int) -> None:
        """A block whose new names are unknown after it."""
        self.scoped(lambda: self.block(indent, depth, self.rng.randrange(1, 3)))
        self.line(indent, "pass")

    # Variables.

    def assign(self, indent: int, _depth: int) -> None:
        """A new variable."""
        kind = self.rng.choice(KINDS)
        value, name = self.typed(kind[0], 3), self.fresh()
        if kind[1:] == "64" and self.chance(0.5):
            self.line(indent, f"{name} = {value.text}")
        else:
            self.use("annotated variable")
            self.line(indent, f"{name}: {kind} = {value.text}")
        self.names[name] = kind

    def change(self, indent: int, _depth: int) -> None:
        """`x op= a`."""
        sign = self.rng.choice("ui")
        names = self.variables(sign)
        if not names:
            return
        symbol = self.rng.choice(OPERATORS)
        self.use("augmented assignment")
        amount = self.shift() if symbol in {"<<", ">>"} else self.leaf(sign)
        self.line(indent, f"{self.rng.choice(names)} {symbol}= {amount.text}")

    def exchange(self, indent: int, _depth: int) -> None:
        """`a, b = b, a`."""
        sign = self.rng.choice("ui")
        names = self.variables(sign)
        if len(names) < 2:
            return
        self.use("tuple assignment")
        one, other = self.rng.sample(names, 2)
        self.line(indent, f"{one}, {other} = {other}, {self.typed(sign, 1).text}")

    def flag(self, indent: int, _depth: int) -> None:
        """A bool that is tested later."""
        name = self.fresh("b")
        self.use("bool")
        self.line(indent, f"{name}: bool = bool({self.test(1)})")
        self.flags.append(name)

    def crowd(self, indent: int, _depth: int) -> None:
        """More values at once than there are registers."""
        self.use("spills")
        kinds = [self.rng.choice(KINDS) for _ in range(self.rng.randrange(10, 16))]
        names = []
        for kind in kinds:
            name = self.fresh()
            self.line(indent, f"{name}: {kind} = {self.typed(kind[0], 1).text}")
            self.names[name] = kind
            names.append(name)
        self.rng.shuffle(names)
        total = self.fresh()
        self.line(indent, f"{total}: u64 = {' ^ '.join(f'u64({n})' for n in names)}")
        for name in names:
            del self.names[name]
        self.names[total] = "u64"

    # Control.

    def if_(self, indent: int, depth: int) -> None:
        """`if`, `elif`, `else`."""
        self.use("if")
        self.line(indent, f"if {self.test(2)}:")
        self.inner(indent + 1, depth)
        if self.chance(0.3):
            self.use("elif")
            self.line(indent, f"elif {self.test(1)}:")
            self.inner(indent + 1, depth)
        if self.chance(0.5):
            self.use("else")
            self.line(indent, "else:")
            self.inner(indent + 1, depth)

    def for_(self, indent: int, depth: int) -> None:
        """`for i in range(...)`."""
        if self.inside > (0 if self.chance(0.8) else 1):
            return
        self.use("for")
        low, high = sorted((self.rng.randrange(4), self.rng.randrange(ROUNDS)))
        forms = [f"{high}", f"{low}, {high}, 2", f"{high}, {low}, -1"]
        forms.append(f"{self.name('u').text} & 3")
        bounds, name = self.rng.choice(forms), self.fresh()
        self.line(indent, f"for {name} in range({bounds}):")
        kind = "i64" if bounds.endswith("-1") else "u64"
        self._loop(indent, depth, {name: kind})

    def while_(self, indent: int, depth: int) -> None:
        """`while` with a counter that ends it."""
        if self.inside > (0 if self.chance(0.8) else 1):
            return
        self.use("while")
        name = self.fresh()
        self.line(indent, f"{name} = {self.name('u').text} & {ROUNDS - 1}")
        self.line(indent, f"while {name} > 0:")
        self.line(indent + 1, f"{name} -= 1")
        self._loop(indent, depth, {name: "u64"})

    def long(self, indent: int, _depth: int) -> None:
        """A loop that is too long for the kernel to follow."""
        if self.inside or self.chance(0.7):
            return
        self.use("long loop")
        name, total = self.fresh(), self.fresh()
        end = f"{self.name('u').text} & {self.rng.choice((127, 255))}"
        self.line(indent, f"{total}: u64 = {self.typed('u', 1).text}")
        self.line(indent, f"for {name} in range({end}):")
        symbol = self.rng.choice(("+", "^", "*", "-"))
        self.line(indent + 1, f"{total} {symbol}= {name} + {self.name('u').text}")
        if self.chance(0.3):
            self.use("break")
            self.line(indent + 1, f"if {total} & 31 == {self.rng.randrange(32)}:")
            self.line(indent + 2, "break")
        self.names[total] = "u64"

    def _loop(self, indent: int, depth: int, counter: dict[str, str]) -> None:
        def body() -> None:
            self.names |= counter
            self.fixed |= counter.keys()
            self.block(indent + 1, depth, self.rng.randrange(1, 3))
            if self.chance(0.4):
                word = self.rng.choice(("break", "continue"))
                self.use(word)
                self.line(indent + 1, f"if {self.test(1)}:")
                self.line(indent + 2, word)
            self.scoped(lambda: self.block(indent + 1, 0, 1))
            self.line(indent + 1, "pass")

        self.inside += 1
        self.scoped(body)
        self.inside -= 1
        if self.chance(0.2):
            self.use("else of a loop")
            self.line(indent, "else:")
            self.inner(indent + 1, 0)

    def match(self, indent: int, depth: int) -> None:
        """`match` with alternatives, guards and enums."""
        self.use("match")
        self.line(indent, f"match {self.typed('u', 2).text} & 7:")
        heads = ["1 | 2", "5", "Color.BLUE"]
        self.rng.shuffle(heads)
        for head in heads[: self.rng.randrange(1, 4)]:
            guard = ""
            if self.chance(0.3):
                self.use("guard")
                guard = f" if {self.test(1)}"
            if head.startswith("Color"):
                self.use("enum")
            self.line(indent + 1, f"case {head}{guard}:")
            self.inner(indent + 2, depth)
        if self.chance(0.6):
            name = self.fresh()
            self.line(indent + 1, f"case {name}:")
            self.line(indent + 2, f"counter.value ^= {name}")
            self.inner(indent + 2, depth)

    def early(self, indent: int, _depth: int) -> None:
        """A return amid the function."""
        if not self.nested and not self.inside and self.chance(0.3):
            self.use("tail call")
            self.line(indent, f"if {self.test(1)}:")
            self.line(indent + 1, "goto(other)")
            return
        self.use("early return")
        self.line(indent, f"if {self.test(1)}:")
        self.leave(indent + 1)

    def leave(self, indent: int) -> None:
        """`return` of what the function gives."""
        value = self.typed(self.returns[0], 2)
        self.line(indent, f"return {self.returns}({value.text})")
